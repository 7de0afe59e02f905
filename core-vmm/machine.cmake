set(SV_VMM_MACHINE bus.c)
