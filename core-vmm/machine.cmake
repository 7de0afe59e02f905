set(SV_VMM_MACHINE ask.c backing.c bus.c console.c exits.c kvm.c memory.c memory_populate.c node.c paging.c reclaim.c regs.c rejoin.c stage2.c stats.c steps.c vcpu.c vmm.c)
