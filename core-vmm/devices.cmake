set(SV_VMM_DEVICES devices.c fwcfg.c ioapic.c irq.c output.c platform.c power.c)
