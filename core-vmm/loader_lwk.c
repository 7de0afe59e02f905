/* SPDX-License-Identifier: BSD-3-Clause */
/* ELF guests with the sidevisor note: the protocol of sidevisor/platform.h. */
#include "loader_image.h"

#include <errno.h>
#include <string.h>

#include <sidevisor/platform.h>

#include "memory.h"

#define PT_FRAMES 32u
#define DOORBELL_STRIDE 4096ull

static int map_all(struct sv_vm *vm, struct sv_error *err)
{
	struct sv_page_tables pt = {
		.vm = vm, .gpa = SV_BOOT_PT_GPA, .frames = PT_FRAMES, .flags = PTE_USER};
	uint64_t high = SV_BOOT_MAPPED - vm->ram_low_bytes;
	int rc;

	if (high > vm->ram_high_bytes)
		high = vm->ram_high_bytes;
	rc = sv_page_tables_map(&pt, 0, vm->ram_low_bytes);
	if (rc == 0 && high)
		rc = sv_page_tables_map(&pt, LAYOUT_HIGH, high);
	if (rc == 0)
		rc = sv_page_tables_map(&pt, SV_MMIO_NOP_GPA, 2 * PAGE);
	if (rc == 0 && vm->window_bytes)
		rc = sv_page_tables_map(&pt, vm->window_gpa, vm->window_bytes);
	if (rc == 0)
		rc = sv_page_tables_map(&pt, vm->doorbell_gpa, vm->nvcpus * DOORBELL_STRIDE);
	if (rc < 0)
		return sv_fail(err, -rc,
			"the boot page tables do not fit; use fewer vCPUs or smaller channels");
	return 0;
}

static void write_gdt(struct sv_vm *vm, struct sv_entry *entry)
{
	static const uint64_t gdt[] = {0, 0x00af9b000000ffffull, 0x00cf93000000ffffull};
	void *p = sv_vm_ptr(vm, SV_BOOT_GDT_GPA, sizeof(gdt));

	SV_BUG_ON(!p);
	memcpy(p, gdt, sizeof(gdt));
	entry->gdt_gpa = SV_BOOT_GDT_GPA;
	entry->gdt_limit = sizeof(gdt) - 1;
	entry->cs = SV_BOOT_CS;
	entry->ds = SV_BOOT_DS;
}

static void write_boot(struct sv_load *l)
{
	struct sv_vm *vm = l->vm;
	struct sv_boot *boot = sv_vm_ptr(vm, SV_BOOT_INFO_GPA, sizeof(*boot));

	SV_BUG_ON(!boot);
	*boot = (struct sv_boot){
		.magic = SV_BOOT_MAGIC,
		.version = SV_BOOT_VERSION,
		.vcpus = vm->nvcpus,
		.memory_bytes = vm->ram_low_bytes + vm->ram_high_bytes,
		.memory_low_bytes = vm->ram_low_bytes,
		.memory_high_bytes = vm->ram_high_bytes,
		.initrd_gpa = l->initrd.gpa,
		.initrd_bytes = l->initrd.present ? l->initrd.img.size : 0,
		.channel_gpa = vm->window_gpa,
		.channel_stride = sv_memory_channel_stride(vm),
		.tsc_hz = vm->tsc_hz,
		.tables_gpa = vm->tables_gpa,
		.tables_bytes = vm->tables_bytes,
		.trap_gpa = vm->trap_gpa,
		.flags = (vm->config->overcommit ? SV_BOOT_F_OVERCOMMIT : 0) |
			 (vm->config->source.path ? SV_BOOT_F_SOURCE : 0),
	};
	if (vm->config->cmdline)
		strncpy(boot->cmdline, vm->config->cmdline, sizeof(boot->cmdline) - 1);
}

static int decode(struct sv_load *l, struct sv_error *err)
{
	const struct sv_elf *elf = l->elf;
	int rc;

	if (elf->lwk_version != SV_BOOT_VERSION)
		return sv_fail(err, EPROTO,
			"kernel %s: made for version %u of the guest ABI, this sidevisor has version %u; "
			"rebuild it", l->kernel.path, elf->lwk_version, SV_BOOT_VERSION);
	if (!elf->entry_ok)
		return sv_fail(err, ENOEXEC,
			"kernel %s: its entry point %#llx lies in no segment; correct its linker script",
			l->kernel.path, (unsigned long long)elf->entry);
	if (l->vm->nvcpus > SV_BOOT_MAX_VCPUS)
		return sv_fail(err, EINVAL, "--vcpus %u: the guest ABI has at most %u",
			l->vm->nvcpus, SV_BOOT_MAX_VCPUS);
	rc = sv_elf_check(&l->kernel, elf, l->vm, LAYOUT_HIMEM, false, err);
	if (rc == 0)
		rc = sv_cmdline_check(l->vm, SV_BOOT_CMDLINE_BYTES - 1, err);
	if (rc == 0)
		rc = sv_initrd_open(&l->initrd, l->vm, false, err);
	if (rc == 0)
		rc = sv_initrd_place_top(&l->initrd, l->vm, sv_elf_end(elf), UINT64_MAX, false, err);
	return rc;
}

int sv_load_lwk(struct sv_load *l, struct sv_error *err)
{
	int rc = decode(l, err);

	if (rc == 0)
		rc = map_all(l->vm, err);
	if (rc == 0)
		rc = sv_elf_load(&l->kernel, l->elf, l->vm, err);
	if (rc == 0)
		rc = sv_initrd_load(&l->initrd, l->vm, err);
	if (rc < 0)
		return rc;
	l->entry->mode = SV_ENTRY_LWK;
	l->entry->rip = l->elf->entry;
	l->entry->arg = SV_BOOT_INFO_GPA;
	l->entry->cr3 = SV_BOOT_PT_GPA;
	write_gdt(l->vm, l->entry);
	write_boot(l);
	return 0;
}
