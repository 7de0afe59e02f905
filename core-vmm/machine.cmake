set(SV_VMM_MACHINE ask.c bus.c console.c exits.c kvm.c memory.c memory_populate.c node.c paging.c regs.c stats.c steps.c vcpu.c vmm.c)
