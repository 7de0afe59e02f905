/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The library for applications of the lightweight kernel. Applications run at CPL 3, one thread per
 * vCPU, with the vCPU's channel in their address space; everything that is not computation goes
 * through it. Nothing here blocks in the kernel.
 */
#ifndef LWK_LWK_H
#define LWK_LWK_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sidevisor/platform.h>
#include <sidevisor/services.h>

/* What the kernel has room for. A stack's lowest 4 KiB are not there: overflow is a page fault. */
#define LWK_MAX_VCPUS 1024u
#define LWK_STACK_BYTES 65536ull

/* --- the machine ----------------------------------------------------------------------------- */

/* A copy of what the VM process told the kernel; constant. */
extern struct sv_boot lwk_boot;

/* Stacks lie behind the image, one after the other. */
extern char lwk_image_end[];
static inline uint64_t lwk_stacks(void)
{
	return ((uint64_t)lwk_image_end + LWK_STACK_BYTES - 1) & ~(LWK_STACK_BYTES - 1);
}

/* Number of this vCPU: which stack we are on says it. */
static inline unsigned lwk_vcpu(void)
{
	uint64_t sp;

	__asm__("mov %%rsp, %0" : "=r"(sp));
	return (unsigned)((sp - lwk_stacks()) / LWK_STACK_BYTES);
}
static inline unsigned lwk_vcpus(void)
{
	return lwk_boot.vcpus;
}

/* End the VM with this status. Does not return. */
__attribute__((noreturn)) void lwk_exit(int status);

/* key=value on the command line: a number (decimal or 0x…), or a word. */
uint64_t lwk_arg_u64(const char *key, uint64_t otherwise);
bool lwk_arg_is(const char *key, const char *value);
bool lwk_arg_word(const char *word); /* a word without '=' */
bool lwk_arg_has(const char *key);   /* either */

/* --- clock ----------------------------------------------------------------------------------- */

static inline uint64_t lwk_tsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
}
uint64_t lwk_ticks_to_ns(uint64_t ticks);

/* --- the channel of this vCPU ---------------------------------------------------------------- */

/*
 * How many requests fit now; at least @want if there is room for that many. (The sidecore's word, which
 * costs a line transfer, is looked at only when @want would not fit.)
 */
unsigned lwk_channel_room(unsigned want);
/*
 * Send @n requests, in order. They must fit (lwk_channel_room). Rings the doorbell if the sidecore
 * sleeps. The tags are the caller's.
 */
void lwk_submit(const struct sv_req *req, unsigned n);
/* Take one completion if it is there. */
bool lwk_reap(struct sv_cpl *cpl);
/* Wait for one completion. Crashes the application after 10 s without one. */
void lwk_wait(struct sv_cpl *cpl);
/* Send one and wait for its answer. Nothing else may be in flight. Return: the status. */
uint32_t lwk_call(uint16_t service, uint16_t opcode, const uint64_t arg[5], struct sv_cpl *cpl);

/* --- console --------------------------------------------------------------------------------- */

/* %s %c %d %u %x %p and the l modifier; whole lines of different vCPUs do not mix. */
void lwk_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* --- memory ---------------------------------------------------------------------------------- */

/*
 * @bytes of zeroed memory, aligned to @align (a power of two), never given back: for what lives as
 * long as the application. NULL: none left. Any vCPU.
 */
void *lwk_alloc(size_t bytes, size_t align);
/* As in C; sizes are rounded up to powers of two. Any vCPU may free what any other took. */
void *malloc(size_t bytes);
void free(void *p);

/* --- threads: one per vCPU ------------------------------------------------------------------- */

/* Run @fn(arg) on vCPU @vcpu (not 0). Return: false when it runs something already. */
bool lwk_thread_start(unsigned vcpu, void (*fn)(void *arg), void *arg);
void lwk_thread_join(unsigned vcpu);

struct lwk_barrier {
	uint32_t n, arrived, phase;
};
void lwk_barrier_wait(struct lwk_barrier *b);

/* Where vCPUs share cores, let another one of ours have this core. An exit to the VM process. */
void lwk_give_way(void);

/* One turn of a waiting loop: PAUSE, and now and then lwk_give_way(). */
static inline void lwk_relax(unsigned *turns)
{
	__builtin_ia32_pause();
	if (++*turns % 2048 == 0)
		lwk_give_way();
}

/*
 * Halt this vCPU until an interrupt or another vCPU's lwk_wake(); one that came before counts. Traps
 * and exits: for waits of milliseconds.
 */
void lwk_halt(void);
void lwk_wake(unsigned vcpu);

/* --- calls into the kernel (a trap: slow; see kernel/traps.c) -------------------------------- */

enum lwk_kcall {
	LWK_KCALL_EXIT = 1,	/* rdi = status */
	LWK_KCALL_EARLY = 2,	/* rdi = character for the early console */
	LWK_KCALL_TIMER = 3,	/* rdi = ticks of the local APIC timer until one interrupt */
	LWK_KCALL_PRIVILEGED = 4, /* with `msrprobe` on the command line: rdi = 0 WRMSR, 1 RDMSR, 2 store; rsi = where */
	LWK_KCALL_HALT = 5,	/* until an interrupt */
	LWK_KCALL_WAKE = 6,	/* rdi = vCPU */
	LWK_KCALL_HYPERCALL = 7, /* KVM_HC_MAP_GPA_RANGE: ticks that it took, 0: refused */
	LWK_KCALL_ROOT = 16,	/* run on the root that this vCPU has activated (lwk/paging.h) */
	LWK_KCALL_FLUSH = 17,	/* flush the TLB here, and have all other vCPUs do it */
};
uint64_t lwk_kcall(enum lwk_kcall nr, uint64_t rdi, uint64_t rsi);
/* Timer interrupts this vCPU has taken. */
uint64_t lwk_timer_interrupts(void);

/* --- ports (the application has IOPL 3) ------------------------------------------------------ */

static inline void lwk_out32(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}
static inline void lwk_out8(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}
static inline uint32_t lwk_in32(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

/* --- strings --------------------------------------------------------------------------------- */

void *memset(void *d, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strncmp(const char *a, const char *b, size_t n);

#endif
