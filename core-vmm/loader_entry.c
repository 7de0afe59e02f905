/* SPDX-License-Identifier: BSD-3-Clause */
/* What a kernel finds in memory at its entry: memory map, command line, GDT, page tables. */
#include "loader_image.h"

#include <errno.h>
#include <string.h>

#define GDT_CODE32 0x00cf9b000000ffffull
#define GDT_CODE64 0x00af9b000000ffffull
#define GDT_DATA 0x00cf93000000ffffull

unsigned sv_mem_map(const struct sv_vm *vm, struct sv_mem_range map[MEM_MAP_MAX])
{
	unsigned n = 0;

	map[n++] = (struct sv_mem_range){0, LAYOUT_EBDA, MEM_RAM};
	map[n++] = (struct sv_mem_range){LAYOUT_EBDA, 0xa0000 - LAYOUT_EBDA, MEM_RESERVED};
	map[n++] = (struct sv_mem_range){LAYOUT_BIOS, LAYOUT_BIOS_BYTES, MEM_RESERVED};
	map[n++] = (struct sv_mem_range){LAYOUT_HIMEM, vm->ram_low_bytes - LAYOUT_HIMEM, MEM_RAM};
	map[n++] = (struct sv_mem_range){LAYOUT_ECAM, LAYOUT_ECAM_BYTES, MEM_RESERVED};
	if (vm->ram_high_bytes)
		map[n++] = (struct sv_mem_range){LAYOUT_HIGH, vm->ram_high_bytes, MEM_RAM};
	return n;
}

int sv_cmdline_check(const struct sv_vm *vm, uint64_t max, struct sv_error *err)
{
	size_t n = vm->config->cmdline ? strlen(vm->config->cmdline) : 0;

	if (max > PAGE - 1)
		max = PAGE - 1;
	if (n > max)
		return sv_fail(err, E2BIG,
			"command line: %zu characters, this kernel takes at most %llu; shorten it", n,
			(unsigned long long)max);
	return 0;
}

void sv_cmdline_write(struct sv_vm *vm)
{
	const char *text = vm->config->cmdline ? vm->config->cmdline : "";
	size_t n = strlen(text) + 1;
	char *p = sv_vm_ptr(vm, LAYOUT_CMDLINE, n);

	SV_BUG_ON(!p || n > PAGE);
	memcpy(p, text, n);
}

void sv_boot_gdt(struct sv_vm *vm, bool long_mode, struct sv_entry *entry)
{
	const uint64_t gdt[4] = {0, 0, long_mode ? GDT_CODE64 : GDT_CODE32, GDT_DATA};
	void *p = sv_vm_ptr(vm, LAYOUT_BOOT_GDT, sizeof(gdt));

	SV_BUG_ON(!p);
	memcpy(p, gdt, sizeof(gdt));
	entry->gdt_gpa = LAYOUT_BOOT_GDT;
	entry->gdt_limit = sizeof(gdt) - 1;
	entry->cs = 0x10;
	entry->ds = 0x18;
}

/* The table that *slot points to, made when there is none. */
static uint64_t *next_table(struct sv_page_tables *pt, uint64_t *slot)
{
	if (!(*slot & PTE_PRESENT)) {
		if (pt->used == pt->frames)
			return NULL;
		*slot = (pt->gpa + PAGE * pt->used++) | PTE_PRESENT | PTE_WRITE | pt->flags;
	}
	return sv_vm_ptr(pt->vm, align_down(*slot, PAGE), PAGE);
}

static uint64_t *table_of(struct sv_page_tables *pt, uint64_t gpa)
{
	uint64_t *table = sv_vm_ptr(pt->vm, pt->gpa, PAGE);

	if (pt->used == 0)
		pt->used = 1; /* the root */
	for (unsigned shift = 39; table && shift > 21; shift -= 9)
		table = next_table(pt, &table[gpa >> shift & 511]);
	return table;
}

int sv_page_tables_map(struct sv_page_tables *pt, uint64_t gpa, uint64_t bytes)
{
	uint64_t end = align_up(gpa + bytes, HUGE_2M), *table = NULL;

	for (uint64_t at = align_down(gpa, HUGE_2M); at < end; at += HUGE_2M) {
		if (!table || (at & (GIB - 1)) == 0)
			table = table_of(pt, at);
		if (!table)
			return -ENOSPC;
		table[at >> 21 & 511] = at | PTE_PRESENT | PTE_WRITE | PTE_HUGE | pt->flags;
	}
	return 0;
}
