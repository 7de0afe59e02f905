/* SPDX-License-Identifier: BSD-3-Clause */
/* ELF kernels with the PVH note: 32-bit entry with a start info structure. */
#include "loader_image.h"

#include <errno.h>
#include <string.h>

#define START_MAGIC 0x336ec578u
#define START_VERSION 1u
#define SEGMENTS_FROM 0x30000ull /* below it are the structures of this loader */

struct start_info {
	uint32_t magic, version, flags, modules;
	uint64_t modlist_gpa, cmdline_gpa, rsdp_gpa, memmap_gpa;
	uint32_t memmap_entries, reserved;
};

struct start_module {
	uint64_t gpa, bytes, cmdline_gpa, reserved;
};

struct start_range {
	uint64_t gpa, bytes;
	uint32_t type, reserved;
};

_Static_assert(sizeof(struct start_info) == 56, "PVH start info");
_Static_assert(sizeof(struct start_module) == 32, "PVH module");
_Static_assert(sizeof(struct start_range) == 24, "PVH memory map");

struct start {
	struct start_info info;
	struct start_module module;
	struct start_range map[MEM_MAP_MAX];
};

static int decode(struct sv_load *l, struct sv_error *err)
{
	const struct sv_elf *elf = l->elf;
	int rc;

	if (!sv_elf_contains(elf, elf->pvh_entry) || elf->pvh_entry >= LAYOUT_HIGH)
		return sv_fail(err, ENOEXEC,
			"kernel %s: its PVH entry point %#llx lies in no segment; build or download it "
			"again", l->kernel.path, (unsigned long long)elf->pvh_entry);
	rc = sv_elf_check(&l->kernel, elf, l->vm, SEGMENTS_FROM, false, err);
	if (rc == 0)
		rc = sv_cmdline_check(l->vm, PAGE - 1, err);
	if (rc == 0)
		rc = sv_initrd_open(&l->initrd, l->vm, false, err);
	if (rc == 0)
		rc = sv_initrd_place_top(&l->initrd, l->vm, sv_elf_end(elf), UINT64_MAX, false, err);
	return rc;
}

static void write_start(struct sv_load *l)
{
	struct start *s = sv_vm_ptr(l->vm, LAYOUT_ZERO_PAGE, sizeof(*s));
	struct sv_mem_range map[MEM_MAP_MAX];
	unsigned n = sv_mem_map(l->vm, map);

	SV_BUG_ON(!s);
	memset(s, 0, sizeof(*s));
	s->info = (struct start_info){
		.magic = START_MAGIC,
		.version = START_VERSION,
		.cmdline_gpa = LAYOUT_CMDLINE,
		.rsdp_gpa = l->rsdp,
		.memmap_gpa = LAYOUT_ZERO_PAGE + offsetof(struct start, map),
		.memmap_entries = n,
	};
	if (l->initrd.present) {
		s->info.modules = 1;
		s->info.modlist_gpa = LAYOUT_ZERO_PAGE + offsetof(struct start, module);
		s->module = (struct start_module){l->initrd.gpa, l->initrd.img.size, 0, 0};
	}
	for (unsigned i = 0; i < n; i++)
		s->map[i] = (struct start_range){map[i].gpa, map[i].bytes, map[i].type, 0};
}

int sv_load_pvh(struct sv_load *l, struct sv_error *err)
{
	int rc = decode(l, err);

	if (rc == 0)
		rc = sv_elf_load(&l->kernel, l->elf, l->vm, err);
	if (rc == 0)
		rc = sv_initrd_load(&l->initrd, l->vm, err);
	if (rc < 0)
		return rc;
	sv_cmdline_write(l->vm);
	write_start(l);
	l->entry->mode = SV_ENTRY_PVH;
	l->entry->rip = l->elf->pvh_entry;
	l->entry->arg = LAYOUT_ZERO_PAGE;
	l->entry->cr3 = 0;
	sv_boot_gdt(l->vm, false, l->entry);
	return 0;
}
