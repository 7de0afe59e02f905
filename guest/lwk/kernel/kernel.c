/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernel.h"

#define MSR_APIC_BASE 0x1bu
#define APIC_BASE_X2APIC 0xc00ull /* enabled, x2APIC mode */
#define MSR_X2APIC_SPURIOUS 0x80fu
#define APIC_ENABLE 0x100u
#define CR4_OSFXSR (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)

/* The 64-bit task state segment: only the kernel's stack matters. */
struct tss {
	uint32_t reserved0;
	uint64_t rsp0, rsp1, rsp2, reserved1, ist[7], reserved2;
	uint16_t reserved3, iomap;
} __attribute__((packed));

/*
 * Every vCPU has a task state segment; all share the I/O permission bitmap behind them, which is zero:
 * every port is the application's. (IOPL 3 would say the same, but not every KVM keeps it at CPL 3.)
 */
static struct {
	struct {
		struct tss tss;
		uint64_t pad[3];
	} __attribute__((packed)) of[LWK_MAX_VCPUS];
	uint8_t ports[65536 / 8];
	uint8_t end; /* all ones, as the processor wants it */
} tasks __attribute__((aligned(64)));

static uint64_t gdts[LWK_MAX_VCPUS][8] __attribute__((aligned(64)));
static uint64_t cr3;
static uint32_t ready; /* vCPU 0 has built what all share */

static void load_gdt(unsigned vcpu)
{
	struct tss *tss = &tasks.of[vcpu].tss;
	uint64_t base = (uint64_t)tss, *gdt = gdts[vcpu];
	uint64_t limit = (uint64_t)&tasks.end - base;
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) gdtr = {sizeof(gdts[0]) - 1, (uint64_t)gdt};

	tss->rsp0 = (uint64_t)kernel_stacks + (vcpu + 1ull) * LWK_KERNEL_STACK;
	tss->iomap = (uint16_t)((uint64_t)tasks.ports - base);
	tasks.end = 0xff;
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

static void enable_apic(void)
{
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2APIC);
	wrmsr(MSR_X2APIC_SPURIOUS, APIC_ENABLE | SPURIOUS_VECTOR);
}

static void enable_sse(void)
{
	uint64_t cr4;

	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_OSFXSR | CR4_OSXMMEXCPT));
}

/* Stacks of the applications: from the end of the image up, one per vCPU. */
static uint64_t user_stack_top(unsigned vcpu)
{
	uint64_t base = ((uint64_t)lwk_image_end + 0xffff) & ~0xffffull;

	return base + (vcpu + 1ull) * LWK_USER_STACK - 8;
}

static void copy_boot(const struct sv_boot *boot)
{
	void *d = &lwk_boot;
	const void *s = boot;
	uint64_t n = sizeof(*boot);

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
}

void kernel_main(const struct sv_boot *boot, uint64_t vcpu)
{
	if (vcpu >= LWK_MAX_VCPUS)
		for (;;)
			__asm__ volatile("hlt");
	if (vcpu == 0) {
		cr3 = kernel_build_page_tables(boot);
		kernel_build_idt();
		copy_boot(boot);
		__atomic_store_n(&ready, 1, __ATOMIC_RELEASE);
	}
	while (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE))
		__asm__ volatile("pause");
	load_gdt((unsigned)vcpu);
	kernel_load_idt();
	__asm__ volatile("mov %0, %%cr3" : : "r"(cr3) : "memory");
	enable_sse();
	enable_apic();
	kernel_enter_user((uint64_t)lwk_user_start, user_stack_top((unsigned)vcpu), vcpu);
}
