/* SPDX-License-Identifier: BSD-3-Clause */
/* Multiboot 1: ELF kernels and kernels that give their addresses in the header. */
#include "loader_image.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HEADER_MAGIC 0x1badb002u
#define SEARCH_BYTES 8192u
#define HEADER_PAGE_ALIGN (1u << 0)
#define HEADER_MEMORY (1u << 1)
#define HEADER_VIDEO (1u << 2)
#define HEADER_ADDRESSES (1u << 16)
#define HEADER_REQUIRED 0xffffu

#define INFO_MEMORY (1u << 0)
#define INFO_CMDLINE (1u << 2)
#define INFO_MODULES (1u << 3)
#define INFO_MEM_MAP (1u << 6)
#define INFO_LOADER (1u << 9)

#define SEGMENTS_FROM 0x30000ull /* below it are the structures of this loader */

struct header {
	uint32_t magic, flags, checksum;
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

struct info {
	uint32_t flags, mem_lower_kib, mem_upper_kib, boot_device, cmdline, mods_count, mods_addr;
	uint32_t syms[4], mmap_bytes, mmap_addr, drives_bytes, drives_addr, config_table, loader_name;
	uint32_t apm_table, vbe[4], framebuffer[7];
};

struct module {
	uint32_t start, end, string, reserved;
};

struct range {
	uint32_t size; /* of what follows */
	uint64_t gpa, bytes;
	uint32_t type;
} __attribute__((packed));

/* Everything that the information structure points to, on one page. */
struct area {
	struct info info;
	struct module module;
	struct range map[MEM_MAP_MAX];
	char loader[16], initrd[256];
};

_Static_assert(sizeof(struct info) == 116, "multiboot information");
_Static_assert(sizeof(struct range) == 24, "multiboot memory map");
_Static_assert(sizeof(struct area) <= PAGE, "one page");

#define AREA_AT(field) ((uint32_t)(LAYOUT_ZERO_PAGE + offsetof(struct area, field)))

long sv_multiboot_probe(const uint8_t *head, size_t n)
{
	if (n > SEARCH_BYTES)
		n = SEARCH_BYTES;
	for (size_t at = 0; at + 12 <= n; at += 4) {
		uint32_t w[3];

		memcpy(w, head + at, sizeof(w));
		if (w[0] == HEADER_MAGIC && w[0] + w[1] + w[2] == 0)
			return (long)at;
	}
	return -1;
}

static int bad(const struct sv_load *l, const char *what, struct sv_error *err)
{
	return sv_fail(err, ENOEXEC, "kernel %s: broken multiboot header: %s; build it again",
		l->kernel.path, what);
}

/* The header says where the file goes: one segment, made to look like that of an ELF file. */
static int decode_addresses(struct sv_load *l, const struct header *h, long header_at,
	struct sv_elf *elf, struct sv_error *err)
{
	uint64_t before = (uint64_t)h->header_addr - h->load_addr, end = h->load_end_addr, bss_end;
	struct sv_segment *s = &elf->seg[0];

	if (h->load_addr > h->header_addr || before > (uint64_t)header_at)
		return bad(l, "its load address does not match its place in the file", err);
	s->offset = (uint64_t)header_at - before;
	s->gpa = s->vaddr = h->load_addr;
	if (end == 0)
		end = h->load_addr + (l->kernel.size - s->offset);
	if (end < h->load_addr)
		return bad(l, "it ends before it begins", err);
	s->filesz = end - h->load_addr;
	if (s->filesz > l->kernel.size - s->offset)
		return sv_image_truncated(&l->kernel, s->offset + s->filesz, err);
	bss_end = h->bss_end_addr ? h->bss_end_addr : end;
	if (bss_end < end)
		return bad(l, "its BSS ends before its data", err);
	s->memsz = bss_end - h->load_addr;
	elf->n = 1;
	elf->entry = h->entry_addr;
	elf->entry_ok = sv_elf_contains(elf, h->entry_addr);
	return 0;
}

static int decode(struct sv_load *l, const uint8_t *header, long header_at, struct sv_elf *elf,
	struct sv_error *err)
{
	struct header h = {0};
	bool addresses;
	int rc;

	memcpy(&h, header, 12);
	addresses = h.flags & HEADER_ADDRESSES;
	if ((h.flags & HEADER_REQUIRED) & ~(HEADER_PAGE_ALIGN | HEADER_MEMORY))
		return sv_fail(err, ENOTSUP,
			"kernel %s: its multiboot header asks for features %#x, this machine has memory "
			"information and aligned modules only (no video mode)", l->kernel.path,
			h.flags & HEADER_REQUIRED);
	if (addresses) {
		rc = sv_image_read(&l->kernel, (uint64_t)header_at, &h, sizeof(h), err);
		if (rc == 0)
			rc = decode_addresses(l, &h, header_at, elf, err);
		if (rc < 0)
			return rc;
	} else if (l->elf) {
		*elf = *l->elf;
	} else {
		return bad(l, "not an ELF file, and no load addresses either", err);
	}
	if (!elf->entry_ok || elf->entry >= LAYOUT_HIGH)
		return bad(l, "its entry point lies outside of it", err);
	rc = sv_elf_check(&l->kernel, elf, l->vm, SEGMENTS_FROM, false, err);
	if (rc == 0)
		rc = sv_cmdline_check(l->vm, PAGE - 1, err);
	if (rc == 0)
		rc = sv_initrd_open(&l->initrd, l->vm, false, err);
	if (rc == 0)
		rc = sv_initrd_place_after(&l->initrd, l->vm,
			sv_elf_end(elf) > LAYOUT_HIMEM ? sv_elf_end(elf) : LAYOUT_HIMEM, err);
	return rc;
}

static void write_info(struct sv_load *l)
{
	struct area *a = sv_vm_ptr(l->vm, LAYOUT_ZERO_PAGE, sizeof(*a));
	struct sv_mem_range map[MEM_MAP_MAX];
	unsigned n = sv_mem_map(l->vm, map);

	SV_BUG_ON(!a);
	memset(a, 0, sizeof(*a));
	a->info = (struct info){
		.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MEM_MAP | INFO_LOADER,
		.mem_lower_kib = LAYOUT_EBDA / 1024,
		.mem_upper_kib = (uint32_t)((l->vm->ram_low_bytes - LAYOUT_HIMEM) / 1024),
		.cmdline = LAYOUT_CMDLINE,
		.mmap_bytes = n * (uint32_t)sizeof(struct range),
		.mmap_addr = AREA_AT(map),
		.loader_name = AREA_AT(loader),
		.mods_addr = AREA_AT(module),
	};
	strcpy(a->loader, "sidevisor");
	if (l->initrd.present) {
		a->info.mods_count = 1;
		a->module = (struct module){(uint32_t)l->initrd.gpa,
			(uint32_t)(l->initrd.gpa + l->initrd.img.size), AREA_AT(initrd), 0};
		snprintf(a->initrd, sizeof(a->initrd), "%.255s", l->initrd.img.path);
	}
	for (unsigned i = 0; i < n; i++)
		a->map[i] = (struct range){sizeof(struct range) - 4, map[i].gpa, map[i].bytes,
			map[i].type};
}

int sv_load_multiboot(struct sv_load *l, const uint8_t *header, long header_offset,
	struct sv_error *err)
{
	struct sv_elf elf = {0};
	int rc = decode(l, header, header_offset, &elf, err);

	if (rc == 0)
		rc = sv_elf_load(&l->kernel, &elf, l->vm, err);
	if (rc == 0)
		rc = sv_initrd_load(&l->initrd, l->vm, err);
	if (rc < 0)
		return rc;
	sv_cmdline_write(l->vm);
	write_info(l);
	l->entry->mode = SV_ENTRY_MULTIBOOT;
	l->entry->rip = elf.entry;
	l->entry->arg = LAYOUT_ZERO_PAGE;
	l->entry->cr3 = 0;
	sv_boot_gdt(l->vm, false, l->entry);
	return 0;
}
