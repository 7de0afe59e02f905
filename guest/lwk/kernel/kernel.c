/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernel.h"

#define MSR_APIC_BASE 0x1bu
#define APIC_BASE_X2APIC 0xc00ull /* enabled, x2APIC mode */
#define MSR_X2APIC_ID 0x802u
#define MSR_X2APIC_SPURIOUS 0x80fu
#define APIC_ENABLE 0x100u
#define CR4_OSFXSR (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define CR4_OSXSAVE (1ull << 18)
#define CPUID_XSAVE (1u << 26)
#define CPUID_NX (1u << 20)
#define MSR_EFER 0xc0000080u
#define EFER_NXE (1ull << 11)
#define XCR0_VECTORS 0xe7u /* x87, SSE, AVX, AVX-512 */

/* The 64-bit task state segment: only the kernel's stack matters. */
struct tss {
	uint32_t reserved0;
	uint64_t rsp0, rsp1, rsp2, reserved1, ist[7], reserved2;
	uint16_t reserved3, iomap;
} __attribute__((packed));

#define GROUP 256u

/*
 * Every vCPU has a task state segment; GROUP of them share the I/O permission bitmap behind them, which
 * is zero: every port is the application's. (IOPL 3 would say the same, but not every KVM keeps it at
 * CPL 3. The offset of the bitmap has 16 bits, hence the groups.)
 */
static struct {
	struct {
		struct tss tss;
		uint64_t pad[3];
	} __attribute__((packed)) of[GROUP];
	uint8_t ports[65536 / 8];
	uint8_t end; /* all ones, as the processor wants it */
} tasks[LWK_MAX_VCPUS / GROUP] __attribute__((aligned(64)));

static uint64_t gdts[LWK_MAX_VCPUS][8] __attribute__((aligned(64)));
static uint32_t apic_ids[LWK_MAX_VCPUS]; /* + 1 */
static uint64_t cr3;
static uint32_t ready; /* vCPU 0 has built what all share */

static void load_gdt(unsigned vcpu)
{
	struct tss *tss = &tasks[vcpu / GROUP].of[vcpu % GROUP].tss;
	uint8_t *ports = tasks[vcpu / GROUP].ports;
	uint64_t base = (uint64_t)tss, *gdt = gdts[vcpu];
	uint64_t limit = (uint64_t)&tasks[vcpu / GROUP].end - base;
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) gdtr = {sizeof(gdts[0]) - 1, (uint64_t)gdt};

	tss->rsp0 = (uint64_t)kernel_stacks + (vcpu + 1ull) * LWK_KERNEL_STACK;
	tss->iomap = (uint16_t)((uint64_t)ports - base);
	tasks[vcpu / GROUP].end = 0xff;
	gdt[1] = 0x00af9b000000ffffull; /* code, CPL 0 */
	gdt[2] = 0x00cf93000000ffffull; /* data, CPL 0 */
	gdt[3] = 0x00cff3000000ffffull; /* data, CPL 3 */
	gdt[4] = 0x00affb000000ffffull; /* code, CPL 3 */
	gdt[5] = limit | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
	gdt[6] = base >> 32;
	gdt[7] = vcpu; /* no descriptor: kernel_vcpu() reads it */
	__asm__ volatile("lgdt %0" : : "m"(gdtr));
	__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%ss" : : "r"((uint64_t)KERNEL_DS));
	__asm__ volatile("ltr %w0" : : "r"(TSS_SEL));
}

unsigned kernel_vcpu(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) gdtr;

	__asm__ volatile("sgdt %0" : "=m"(gdtr));
	return (unsigned)((const uint64_t *)gdtr.base)[7];
}

uint32_t kernel_apic_id(uint64_t vcpu)
{
	return vcpu < LWK_MAX_VCPUS ? __atomic_load_n(&apic_ids[vcpu], __ATOMIC_ACQUIRE) - 1 : ~0u;
}

static void enable_apic(uint64_t vcpu)
{
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2APIC);
	wrmsr(MSR_X2APIC_SPURIOUS, APIC_ENABLE | SPURIOUS_VECTOR);
	__atomic_store_n(&apic_ids[vcpu], (uint32_t)rdmsr(MSR_X2APIC_ID) + 1, __ATOMIC_RELEASE);
}

/* Pages from which nothing is executed: the applications' choice (lwk/paging.h). */
static void enable_no_execute(void)
{
	uint32_t a = 0x80000001, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	if (d & CPUID_NX)
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
}

/* SSE, and what else of AVX and AVX-512 there is: the applications' alone, nothing here uses it. */
static void enable_vectors(void)
{
	uint32_t a = 1, b, c = 0, d, lo, hi;
	uint64_t cr4;

	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	if (c & CPUID_XSAVE)
		cr4 |= CR4_OSXSAVE;
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
	if (!(c & CPUID_XSAVE))
		return;
	a = 0xd;
	c = 0;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	lo = a & XCR0_VECTORS;
	hi = 0;
	__asm__ volatile("xsetbv" : : "a"(lo), "d"(hi), "c"(0));
}

static void copy_boot(const struct sv_boot *boot)
{
	void *d = &lwk_boot;
	const void *s = boot;
	uint64_t n = sizeof(*boot);

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
}

bool kernel_msr_probe;

void kernel_refuse(const char *why)
{
	static const char text[] = "lwk: this machine does not suit: ";

	for (const char *s = text; *s; s++)
		out8(SV_PORT_EARLY, (uint8_t)*s);
	for (const char *s = why; *s; s++)
		out8(SV_PORT_EARLY, (uint8_t)*s);
	out8(SV_PORT_EARLY, '\n');
	out32(SV_PORT_EXIT, 1);
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void build_shared(const struct sv_boot *boot)
{
	if (boot->magic != SV_BOOT_MAGIC || boot->version != SV_BOOT_VERSION)
		kernel_refuse("another version of the boot contract");
	if (boot->vcpus > LWK_MAX_VCPUS)
		kernel_refuse("more vCPUs than the kernel has stacks for");
	cr3 = kernel_build_page_tables(boot);
	kernel_build_idt();
	copy_boot(boot);
	kernel_msr_probe = lwk_arg_word("msrprobe");
	__atomic_store_n(&ready, 1, __ATOMIC_RELEASE);
}

void kernel_main(const struct sv_boot *boot, uint64_t vcpu)
{
	if (vcpu == 0)
		build_shared(boot);
	while (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE)) {
		if (boot->flags & SV_BOOT_F_OVERCOMMIT)
			out32(SV_PORT_YIELD, 0);
		__asm__ volatile("pause");
	}
	load_gdt((unsigned)vcpu);
	kernel_load_idt();
	__asm__ volatile("mov %0, %%cr3" : : "r"(cr3) : "memory");
	enable_no_execute();
	enable_vectors();
	enable_apic(vcpu);
	kernel_enter_user((uint64_t)lwk_user_start, lwk_stacks() + (vcpu + 1) * LWK_STACK_BYTES - 8,
		vcpu);
}
