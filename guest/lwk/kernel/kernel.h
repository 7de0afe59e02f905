/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lightweight kernel: brings every vCPU to CPL 3 and stays out of the way. Everything here runs
 * at CPL 0, few instructions of it: on hosts without VMX or SVM each is interpreted.
 */
#ifndef LWK_KERNEL_H
#define LWK_KERNEL_H

#include <lwk/lwk.h>

#define LWK_KERNEL_STACK 1024u /* entry.S knows it */

/* Selectors of the kernel's GDT. */
#define KERNEL_CS 0x08u
#define KERNEL_DS 0x10u
#define USER_DS 0x1bu
#define USER_CS 0x23u
#define TSS_SEL 0x28u

#define VECTORS 64u
#define TIMER_VECTOR 0x30u
#define WAKE_VECTOR 0x31u
#define FLUSH_VECTOR 0x32u
#define FLUSH_CALL_VECTOR 0x33u /* INT from CPL 3, where that works: lib/paging.c */
#define SPURIOUS_VECTOR 0x3fu

/* What the entry of traps.c finds on the kernel stack. */
struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error_code;
	uint64_t rip, cs, rflags, rsp, ss;
};

/* paging.c: the kernel's page tables; returns CR3. vCPU 0 alone. */
uint64_t kernel_build_page_tables(const struct sv_boot *boot);
/* traps.c: the IDT, shared. vCPU 0 alone. */
void kernel_build_idt(void);
void kernel_load_idt(void);
/* LWK_KCALL_PRIVILEGED is open. Written once, before any application runs. */
extern bool kernel_msr_probe;
/* Number of the vCPU we run on, kept in its GDT. */
unsigned kernel_vcpu(void);
__attribute__((noreturn)) void kernel_crash(uint32_t vector, uint64_t error_code,
	const struct trap_frame *f, const char *cause);

/* The machine is not one that this kernel can run on: say why and end with status 1. */
__attribute__((noreturn)) void kernel_refuse(const char *why);
/* x2APIC ID of a vCPU that has come up; ~0 before. */
uint32_t kernel_apic_id(uint64_t vcpu);

/* Called by entry.S. */
__attribute__((noreturn)) void kernel_main(const struct sv_boot *boot, uint64_t vcpu);
void kernel_trap(struct trap_frame *f);

/* entry.S */
extern char kernel_stacks[];
extern char trap_stubs[];
__attribute__((noreturn)) void kernel_enter_user(uint64_t rip, uint64_t rsp, uint64_t vcpu);

/* the application's side (lib/start.c) */
extern uint64_t lwk_timer_count[];
extern uint64_t lwk_flush_wanted, lwk_flush_done[];
extern char lwk_probe_read_at[], lwk_probe_write_at[], lwk_probe_failed[];
void lwk_user_start(unsigned vcpu);

static inline void out32(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}
static inline void out8(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}
static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}
static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}

#endif
