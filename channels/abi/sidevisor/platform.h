/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How sidevisor starts an ELF guest that carries the sidevisor note (the LWK), and the ports of
 * the machine that such a guest may use. Freestanding. docs/abi.md is the guest author's text.
 *
 * Every vCPU starts at the ELF entry point at CPL0 in long mode: paging on, the boot page tables
 * map RAM (at most SV_BOOT_MAPPED bytes of it), the channel window, the doorbells and the MMIO pages
 * named below one to one (2 MiB pages, writable, user-accessible), a flat GDT of the loader's at SV_BOOT_GDT_GPA, no IDT,
 * interrupts off, RDI = guest-physical address of struct sv_boot, RSI = number of this vCPU, RSP
 * undefined. No INIT/SIPI takes place: all vCPUs enter at once.
 */
#ifndef SIDEVISOR_PLATFORM_H
#define SIDEVISOR_PLATFORM_H

#include "channel.h"

#define SV_BOOT_MAGIC 0x31544f4f42565353ull /* "SSVBOOT1" */
#define SV_BOOT_VERSION 1u
#define SV_BOOT_MAX_VCPUS 1024u
#define SV_BOOT_CMDLINE_BYTES 2048u

/* ELF note that marks such a guest: name "sidevisor", this type, a 4-byte ABI version. */
#define SV_ELF_NOTE_TYPE 0x53560001u

/* Guest-physical layout below 1 MiB used by the loader; the guest's ELF lies at 1 MiB or above. */
#define SV_BOOT_GDT_GPA 0x1000ull
#define SV_BOOT_INFO_GPA 0x2000ull
#define SV_BOOT_PT_GPA 0x8000ull /* boot page tables: up to 32 frames */
#define SV_BOOT_MAPPED (4ull << 30) /* mapped one to one at most; the kernel may map the rest itself */

/* Kernel-mode selectors of the boot GDT. */
#define SV_BOOT_CS 0x08u
#define SV_BOOT_DS 0x10u

/*
 * Ports of the machine for such guests. EXIT: 4 bytes, the exit status of the guest. CRASH: 4
 * bytes, the number of the vCPU whose struct sv_crash in struct sv_boot is filled in. EARLY: one
 * byte of early console. NOP: 1, 2 or 4 bytes, no effect: an exit to the VM process and back.
 * BENCH: for the measurements in bench/ alone. YIELD: any size: the vCPU's thread gives its core to
 * another that waits for it. PAGING: 4 bytes, the address / 64 of a struct sv_paging_call: the request
 * to the paging service (sidevisor/paging.h) is served in the exit.
 */
#define SV_PORT_EXIT 0x5e0u
#define SV_PORT_CRASH 0x5e4u
#define SV_PORT_EARLY 0x5e8u
#define SV_PORT_NOP 0x5ecu
#define SV_PORT_BENCH 0x5f0u
#define SV_PORT_YIELD 0x5f4u
#define SV_PORT_PAGING 0x5f8u

/* A page of MMIO without effect: reads give zero, writes vanish; an exit to the VM process. */
#define SV_MMIO_NOP_GPA 0xfe000000ull
/* An ioeventfd that nobody waits for: an exit to the kernel and back. 4 bytes. */
#define SV_MMIO_KICK_GPA 0xfe001000ull

/* Why a guest crashed: filled by the guest's kernel before it writes SV_PORT_CRASH. */
struct sv_crash {
	uint32_t vcpu;
	uint32_t vector; /* of the exception */
	uint64_t error_code;
	uint64_t rip, rsp, rflags, cr2;
	uint32_t cpl; /* privilege level it happened at */
	uint32_t reserved0;
	char cause[64]; /* NUL-terminated */
};

struct sv_boot {
	uint64_t magic;
	uint32_t version;
	uint32_t vcpus;
	uint64_t memory_bytes; /* RAM is [0, memory_bytes) below 3 GiB, the rest from 4 GiB up */
	uint64_t memory_low_bytes;
	uint64_t memory_high_bytes; /* from 4 GiB up */
	uint64_t initrd_gpa, initrd_bytes;
	uint64_t channel_gpa;    /* of vCPU 0's channel: read-write memory outside of RAM, 2 MiB aligned */
	uint64_t channel_stride; /* bytes from one vCPU's channel to the next */
	uint64_t tsc_hz;
	uint64_t flags; /* SV_BOOT_F_* */
	/*
	 * Direct paging, 0: none. Tables lie in [tables_gpa, tables_gpa + tables_bytes), multiples of 2 MiB,
	 * which begins with struct sv_paging_page. A store of 8 bytes at trap_gpa + X is a request to
	 * store them at tables_gpa + X.
	 */
	uint64_t tables_gpa, tables_bytes, trap_gpa;
	uint64_t reserved;
	struct sv_crash crash;
	char cmdline[SV_BOOT_CMDLINE_BYTES];
};

/* vCPUs have no core of their own: waiting loops should write SV_PORT_YIELD now and then. */
#define SV_BOOT_F_OVERCOMMIT (1ull << 0)
/* RAM in which nothing was loaded is not zero: it holds what a memory source gives. */
#define SV_BOOT_F_SOURCE (1ull << 1)

SV_ABI_ASSERT(offsetof(struct sv_boot, vcpus) == 12, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_boot, initrd_gpa) == 40, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_boot, channel_gpa) == 56, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_boot, tsc_hz) == 72, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_boot, tables_gpa) == 88, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_boot, crash) == 120, "ABI");
SV_ABI_ASSERT(sizeof(struct sv_crash) == 120, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_boot, cmdline) == 240, "ABI");

#endif
