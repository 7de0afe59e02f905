set(SV_VMM_DEVICES balloon.c devices.c foreign.c fwcfg.c ioapic.c irq.c links.c msix.c output.c pci.c platform.c power.c rtc.c
	serial.c vhost_kernel.c vhost_user_front.c virtio_pci.c virtio_pci_create.c
	virtio_pci_run.c)
