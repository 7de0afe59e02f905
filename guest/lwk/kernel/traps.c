/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Exceptions, interrupts, and calls of the application into the kernel.
 *
 * A kernel call is UD2 with LWK_CALL_MAGIC in the upper half of RAX: an exception enters CPL 0 on
 * every KVM, which neither SYSCALL nor INT does on the software-MMU ones.
 */
#include "kernel.h"

#include <lwk/lwk.h>
#include <sidevisor/paging.h>

#define LWK_CALL_MAGIC 0x4c574b43u /* "LWKC" */
#define VECTOR_UD 6u
#define VECTOR_PF 14u
#define INVLPG_MAX 64u
#define CR0_WP (1ull << 16)
#define HC_MAP_GPA_RANGE 12u
#define VENDOR_AMD 0x68747541u	 /* "Auth", EBX of CPUID leaf 0 */
#define VENDOR_HYGON 0x6f677948u /* "Hygo" */

#define MSR_X2APIC_EOI 0x80bu
#define MSR_X2APIC_ICR 0x830u
#define MSR_X2APIC_LVT_TIMER 0x832u
#define MSR_X2APIC_TIMER_COUNT 0x838u
#define MSR_X2APIC_TIMER_DIVIDE 0x83eu

static uint64_t idt[VECTORS][2] __attribute__((aligned(64)));
static uint8_t woken[LWK_MAX_VCPUS]; /* an interrupt came since the last halt; the vCPU's own */

void kernel_build_idt(void)
{
	for (unsigned v = 0; v < VECTORS; v++) {
		uint64_t at = (uint64_t)trap_stubs + v * 16;

		/* present, interrupt gate, from any privilege level below */
		idt[v][0] = (at & 0xffff) | (uint64_t)KERNEL_CS << 16 | 0x8eull << 40 |
			    (at >> 16 & 0xffff) << 48;
		if (v == FLUSH_CALL_VECTOR)
			idt[v][0] |= 3ull << 45; /* from CPL 3, too */
		idt[v][1] = at >> 32;
	}
}

void kernel_load_idt(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) idtr = {sizeof(idt) - 1, (uint64_t)idt};

	__asm__ volatile("lidt %0" : : "m"(idtr));
}

static const char *const causes[] = {[0] = "divide error", [1] = "debug trap", [3] = "breakpoint",
	[4] = "overflow", [5] = "bound range exceeded", [6] = "invalid instruction",
	[7] = "no floating-point unit", [8] = "double fault", [10] = "invalid TSS",
	[11] = "segment not present", [12] = "stack fault", [13] = "general protection fault",
	[14] = "page fault", [16] = "floating-point error", [17] = "unaligned access",
	[18] = "machine check", [19] = "vector floating-point error"};

static uint64_t read_cr2(void)
{
	uint64_t cr2;

	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	return cr2;
}

static const char *page_fault_cause(uint64_t error_code, uint64_t address)
{
	uint64_t in_stacks = address - lwk_stacks();

	if (in_stacks < LWK_MAX_VCPUS * LWK_STACK_BYTES && in_stacks % LWK_STACK_BYTES < 4096 &&
		!(error_code & 1))
		return "stack overflow";
	if (address < 4096)
		return "null pointer";
	if (error_code & 16)
		return "page fault: instruction fetch";
	if (error_code & 1)
		return error_code & 2 ? "page fault: write not permitted"
				      : "page fault: read not permitted";
	return error_code & 2 ? "page fault: write to unmapped memory"
			      : "page fault: read of unmapped memory";
}

void kernel_crash(uint32_t vector, uint64_t error_code, const struct trap_frame *f,
	const char *cause)
{
	struct sv_crash *c = &((struct sv_boot *)SV_BOOT_INFO_GPA)->crash;
	static uint32_t taken;
	unsigned i;

	/* The first crash is the one to report; the others wait for the end. */
	while (__atomic_exchange_n(&taken, 1, __ATOMIC_ACQ_REL))
		for (;;)
			__asm__ volatile("cli; hlt");
	c->vcpu = kernel_vcpu();
	c->vector = vector;
	c->error_code = error_code;
	c->rip = f->rip;
	c->rsp = f->rsp;
	c->rflags = f->rflags;
	c->cr2 = vector == VECTOR_PF ? read_cr2() : 0;
	c->cpl = (uint32_t)f->cs & 3;
	for (i = 0; i < sizeof(c->cause) - 1 && cause[i]; i++)
		c->cause[i] = cause[i];
	c->cause[i] = 0;
	out32(SV_PORT_CRASH, c->vcpu);
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* Things that only CPL 0 may do, for the hostile probe: what goes wrong is the guest's own crash. */
static uint64_t privileged(uint64_t what, uint64_t where)
{
	uint64_t cr0;

	switch (what) {
	case 0:
		wrmsr((uint32_t)where, 0x5a5a5a5a);
		return 0;
	case 1:
		return rdmsr((uint32_t)where);
	case 2: /* whatever the page tables say */
		__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
		__asm__ volatile("mov %0, %%cr0" : : "r"(cr0 & ~CR0_WP) : "memory");
		*(volatile uint64_t *)where = ~0ull;
		__asm__ volatile("mov %0, %%cr0" : : "r"(cr0) : "memory");
		return 0;
	default:
		return 0;
	}
}

/* Hypercalls are CPL 0's: so is the clock that times this one. */
static uint64_t timed_hypercall(void)
{
	uint32_t a = 0, b, c, d;
	uint64_t rax = HC_MAP_GPA_RANGE, start;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
	start = __builtin_ia32_rdtsc();
	if (b == VENDOR_AMD || b == VENDOR_HYGON)
		__asm__ volatile("vmmcall" : "+a"(rax) : "b"(0x1000ull), "c"(1ull), "d"(0ull) : "memory");
	else
		__asm__ volatile("vmcall" : "+a"(rax) : "b"(0x1000ull), "c"(1ull), "d"(0ull) : "memory");
	return rax == 0 ? __builtin_ia32_rdtsc() - start : 0;
}

/*
 * Interrupts are off here (interrupt gates) until STI, which takes effect after the HLT behind it: what
 * comes after the look at `woken` ends the halt.
 */
static void halt(unsigned vcpu)
{
	if (!__atomic_exchange_n(&woken[vcpu], 0, __ATOMIC_ACQ_REL))
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	__atomic_store_n(&woken[vcpu], 0, __ATOMIC_RELEASE);
}

/* Order: what this vCPU reports as flushed was asked for before it flushed. */
static void flush_here(unsigned vcpu)
{
	uint64_t wanted = __atomic_load_n(&lwk_flush_wanted, __ATOMIC_ACQUIRE), cr3;

	__asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=&r"(cr3) : : "memory");
	__atomic_store_n(&lwk_flush_done[vcpu], wanted, __ATOMIC_RELEASE);
}

/* RDI = address, RSI = how many pages of 4 KiB from there; 0 or many: everything. This vCPU alone. */
static void flush_range(uint64_t va, uint64_t pages)
{
	if (!pages || pages > INVLPG_MAX) {
		flush_here(kernel_vcpu());
		return;
	}
	for (; pages; pages--, va += 4096)
		__asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

static void flush_everywhere(void)
{
	unsigned me = kernel_vcpu();

	for (uint64_t i = 0; i < lwk_boot.vcpus; i++)
		if (i != me && kernel_apic_id(i) != ~0u)
			wrmsr(MSR_X2APIC_ICR, (uint64_t)kernel_apic_id(i) << 32 | FLUSH_VECTOR);
	flush_here(me);
}

/* The root that the host wrote down for us: no word of the application's. */
static uint64_t load_root(void)
{
	const struct sv_paging_page *page = (const struct sv_paging_page *)lwk_boot.tables_gpa;
	unsigned me = kernel_vcpu();
	uint64_t root;

	if (!lwk_boot.tables_bytes || me >= SV_PAGING_PAGE_VCPUS)
		return ~0ull;
	root = __atomic_load_n(&page->root[me], __ATOMIC_ACQUIRE);
	if (!root)
		return ~0ull;
	__asm__ volatile("mov %0, %%cr3" : : "r"(root) : "memory");
	return 0;
}

static uint64_t kernel_call(uint32_t nr, uint64_t rdi, uint64_t rsi)
{
	switch (nr) {
	case LWK_KCALL_EXIT:
		out32(SV_PORT_EXIT, (uint32_t)rdi);
		for (;;)
			__asm__ volatile("cli; hlt");
	case LWK_KCALL_EARLY:
		__asm__ volatile("outb %b0, %w1" : : "a"(rdi), "Nd"(SV_PORT_EARLY));
		return 0;
	case LWK_KCALL_TIMER:
		wrmsr(MSR_X2APIC_TIMER_DIVIDE, 0xb);
		wrmsr(MSR_X2APIC_LVT_TIMER, TIMER_VECTOR);
		wrmsr(MSR_X2APIC_TIMER_COUNT, rdi);
		return 0;
	case LWK_KCALL_PRIVILEGED:
		return kernel_msr_probe ? privileged(rdi, rsi) : ~0ull;
	case LWK_KCALL_HALT:
		halt(kernel_vcpu());
		return 0;
	case LWK_KCALL_WAKE:
		if (kernel_apic_id(rdi) != ~0u)
			wrmsr(MSR_X2APIC_ICR, (uint64_t)kernel_apic_id(rdi) << 32 | WAKE_VECTOR);
		return 0;
	case LWK_KCALL_HYPERCALL:
		return timed_hypercall();
	case LWK_KCALL_ROOT:
		return load_root();
	case LWK_KCALL_FLUSH:
		flush_everywhere();
		return 0;
	}
	return ~0ull;
}

/* A #GP of the hostile probe's own RDMSR or WRMSR (2 bytes, 0f 30 or 0f 32): go on behind it. */
static bool skip_msr_fault(struct trap_frame *f)
{
	const uint8_t *at = (const uint8_t *)f->rip;

	if ((f->cs & 3) || f->vector != 13 || at[0] != 0x0f || (at[1] != 0x30 && at[1] != 0x32))
		return false;
	f->rip += 2;
	return true;
}

/* A page fault of lwk_probe_read() or lwk_probe_write(): that is their answer. */
static bool answer_probe(struct trap_frame *f)
{
	if (f->vector != VECTOR_PF || !(f->cs & 3) ||
		(f->rip != (uint64_t)lwk_probe_read_at && f->rip != (uint64_t)lwk_probe_write_at))
		return false;
	f->rip = (uint64_t)lwk_probe_failed;
	return true;
}

void kernel_trap(struct trap_frame *f)
{
	if (f->vector == VECTOR_UD && (f->cs & 3) && f->rax >> 32 == LWK_CALL_MAGIC) {
		f->rip += 2;
		f->rax = kernel_call((uint32_t)f->rax, f->rdi, f->rsi);
	} else if (f->vector == FLUSH_CALL_VECTOR) {
		flush_range(f->rdi, f->rsi);
	} else if (f->vector >= 32) {
		unsigned vcpu = kernel_vcpu();

		woken[vcpu] = 1;
		lwk_timer_count[vcpu] += f->vector == TIMER_VECTOR;
		if (f->vector == FLUSH_VECTOR)
			flush_here(vcpu);
		if (f->vector != SPURIOUS_VECTOR)
			wrmsr(MSR_X2APIC_EOI, 0);
	} else if (!skip_msr_fault(f) && !answer_probe(f)) {
		const char *cause = f->vector == VECTOR_PF ? page_fault_cause(f->error_code, read_cr2())
				    : f->vector < 20	   ? causes[f->vector]
							   : NULL;

		kernel_crash((uint32_t)f->vector, f->error_code, f, cause ? cause : "exception");
	}
}
