/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the loaders of loader.h share: files that are not believed, the memory map, GDT and page
 * tables of an entry, and the initrd.
 *
 * A loader decodes first (reads into memory of its own, checks, decides) and writes guest memory
 * only when nothing but the file itself can fail any more. Guest memory is fresh, all zero.
 */
#ifndef CORE_VMM_LOADER_IMAGE_H
#define CORE_VMM_LOADER_IMAGE_H

#include <stddef.h>

#include "layout.h"
#include "loader.h"

#define PAGE 4096ull
#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define HUGE_2M (2 * MIB)

static inline uint64_t align_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) & ~(to - 1);
}

static inline uint64_t align_down(uint64_t v, uint64_t to)
{
	return v & ~(to - 1);
}

/* --- loader.c: files ------------------------------------------------------------------------- */

/* A kernel or initrd, open for reading. It may shrink at any moment: reads say so, nothing faults. */
struct sv_image {
	int fd;
	uint64_t size;	  /* when it was opened */
	const char *what; /* "kernel" or "initrd" */
	const char *path;
};

/* Return: 0, or -errno with a sentence (missing, no permission, not a regular file, empty). */
int sv_image_open(struct sv_image *img, const char *what, const char *path, struct sv_error *err);
void sv_image_close(struct sv_image *img);
/* All of [off, off + len), which the caller checked against img->size. Return: 0 or -errno. */
int sv_image_read(const struct sv_image *img, uint64_t off, void *buf, uint64_t len,
	struct sv_error *err);
/* The same into guest RAM. */
int sv_image_load(const struct sv_image *img, struct sv_vm *vm, uint64_t off, uint64_t gpa,
	uint64_t len, struct sv_error *err);
/* The sentence for a file that ends before @need bytes. */
int sv_image_truncated(const struct sv_image *img, uint64_t need, struct sv_error *err);
/* The sentence for a file that must lie in [gpa, gpa + len) where there is not enough RAM. */
int sv_image_too_large(const struct sv_image *img, const struct sv_vm *vm, uint64_t gpa,
	uint64_t len, struct sv_error *err);

/* --- loader_entry.c: what the entry finds in memory ------------------------------------------- */

enum { MEM_RAM = 1, MEM_RESERVED = 2 }; /* as in e820, multiboot and PVH memory maps */
#define MEM_MAP_MAX 8u

struct sv_mem_range {
	uint64_t gpa, bytes;
	uint32_t type;
};

/* The memory map of the firmware, ascending. Return: how many ranges. */
unsigned sv_mem_map(const struct sv_vm *vm, struct sv_mem_range map[MEM_MAP_MAX]);

/*
 * Command line of the configuration into LAYOUT_CMDLINE. @max: longest that the kernel takes,
 * without the terminating zero.
 */
int sv_cmdline_check(const struct sv_vm *vm, uint64_t max, struct sv_error *err);
void sv_cmdline_write(struct sv_vm *vm);

/* GDT with code at 0x10 and data at 0x18 at LAYOUT_BOOT_GDT; fills the GDT fields of *entry. */
void sv_boot_gdt(struct sv_vm *vm, bool long_mode, struct sv_entry *entry);

/* Page tables under construction: four levels of 2 MiB pages in @frames frames from @gpa up. */
struct sv_page_tables {
	struct sv_vm *vm;
	uint64_t gpa;
	unsigned frames, used;
	uint64_t flags; /* beside present and writable */
};

#define PTE_PRESENT 0x01ull
#define PTE_WRITE 0x02ull
#define PTE_USER 0x04ull
#define PTE_HUGE 0x80ull

/* Map every 2 MiB page that [gpa, gpa + bytes) touches, one to one. Return: 0 or -ENOSPC. */
int sv_page_tables_map(struct sv_page_tables *pt, uint64_t gpa, uint64_t bytes);

/* --- loader_elf.c ------------------------------------------------------------------------------ */

#define ELF_SEGMENTS 64u

struct sv_segment {
	uint64_t offset, vaddr, gpa, filesz, memsz;
};

/* A decoded ELF executable: segments ascending in guest-physical memory, none overlapping. */
struct sv_elf {
	uint64_t entry; /* guest-physical */
	bool entry_ok;	/* it lies in a segment */
	unsigned n;
	struct sv_segment seg[ELF_SEGMENTS];
	bool lwk; /* carries the sidevisor note */
	uint32_t lwk_version;
	bool pvh; /* carries the note of a PVH entry */
	uint64_t pvh_entry;
};

/* Decode and check. Return: 0, or -errno with a sentence. */
int sv_elf_decode(const struct sv_image *img, struct sv_elf *elf, struct sv_error *err);
/* Does every segment lie in RAM between @low and the end of low RAM (or, @high, in high RAM)? */
int sv_elf_check(const struct sv_image *img, const struct sv_elf *elf, const struct sv_vm *vm,
	uint64_t low, bool high, struct sv_error *err);
int sv_elf_load(const struct sv_image *img, const struct sv_elf *elf, struct sv_vm *vm,
	struct sv_error *err);
bool sv_elf_contains(const struct sv_elf *elf, uint64_t gpa);
/* Where the highest segment below 4 GiB ends. */
uint64_t sv_elf_end(const struct sv_elf *elf);

/* --- loader_initrd.c --------------------------------------------------------------------------- */

struct sv_initrd {
	bool present;
	struct sv_image img;
	uint64_t gpa; /* where it was placed */
};

/*
 * Open the initrd of the configuration, if there is one. @linux: it must be something that Linux
 * unpacks, complete. Return: 0, or -errno with a sentence.
 */
int sv_initrd_open(struct sv_initrd *rd, const struct sv_vm *vm, bool for_linux,
	struct sv_error *err);
void sv_initrd_close(struct sv_initrd *rd);
/* Is the file a whole archive that Linux can unpack (initrd_check.c)? */
int sv_initrd_check(const struct sv_image *img, struct sv_error *err);
/* At the top of low RAM, between @low and @max (the last address it may occupy). */
int sv_initrd_place_top(struct sv_initrd *rd, const struct sv_vm *vm, uint64_t low, uint64_t max,
	bool high, struct sv_error *err);
/* On the first page after @low. */
int sv_initrd_place_after(struct sv_initrd *rd, const struct sv_vm *vm, uint64_t low,
	struct sv_error *err);
int sv_initrd_load(const struct sv_initrd *rd, struct sv_vm *vm, struct sv_error *err);

/* --- the formats -------------------------------------------------------------------------------- */

/* How sv_loader_load() calls each: @elf is decoded when the file is ELF, NULL otherwise. */
struct sv_load {
	struct sv_vm *vm;
	struct sv_image kernel;
	struct sv_initrd initrd;
	struct sv_elf *elf;
	uint64_t rsdp;
	struct sv_entry *entry;
};

/* The first bytes of the file say what it is. */
bool sv_linux_probe(const uint8_t *head, size_t n);
/* Offset of the multiboot header. Return: -1 when there is none. */
long sv_multiboot_probe(const uint8_t *head, size_t n);

int sv_load_linux(struct sv_load *l, struct sv_error *err);
int sv_load_lwk(struct sv_load *l, struct sv_error *err);
int sv_load_pvh(struct sv_load *l, struct sv_error *err);
int sv_load_multiboot(struct sv_load *l, const uint8_t *header, long header_offset,
	struct sv_error *err);

#endif
