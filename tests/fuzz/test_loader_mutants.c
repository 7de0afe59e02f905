/* SPDX-License-Identifier: BSD-3-Clause */
/* Good files with a few bytes changed, by a fixed seed: nothing breaks, some still load. */
#include <criterion/criterion.h>

#include <asm/bootparam.h>
#include <stdio.h>
#include <string.h>

#include <sidevisor/platform.h>

#include "elf_file.h"
#include "loader_once.h"

#define ROUNDS 20000u

static uint8_t seed[ELF_FILE_BYTES], mutant[ELF_FILE_BYTES];
static size_t seed_bytes, header_bytes;
static uint64_t state = 0x9e3779b97f4a7c15ull;

static uint32_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16);
}

/* Values that loaders stumble over. */
static uint64_t odd_value(void)
{
	static const uint64_t odd[] = {0, 1, 0x7f, 0x80, 0xff, 0xfff, 0x1000, 0x7fffffff, 0x80000000,
		0xfffff000, 0xffffffff, 0x100000000ull, 0x7fffffffffffffffull, UINT64_MAX - 0xfff,
		UINT64_MAX};

	return next() % 3 ? odd[next() % (sizeof(odd) / sizeof(odd[0]))]
			  : (uint64_t)next() << 32 | next();
}

static void mutate(size_t *size)
{
	memcpy(mutant, seed, seed_bytes);
	*size = next() % 8 ? seed_bytes : next() % (seed_bytes + 1);
	for (unsigned n = 1 + next() % 4; n > 0; n--) {
		size_t width = 1u << next() % 4, at = next() % (header_bytes - width);
		uint64_t v = next() % 2 ? odd_value() : 0;

		if (next() % 2)
			at &= ~(width - 1);
		if (v || next() % 4 == 0)
			memcpy(mutant + at, &v, width);
		else
			mutant[at] ^= (uint8_t)(1u << next() % 8);
	}
}

static void try(int initrd)
{
	unsigned accepted = 0;
	size_t size;

	cr_assert(loader_once(seed, seed_bytes, initrd, 0), "the seed itself does not load");
	for (unsigned i = 0; i < ROUNDS; i++) {
		mutate(&size);
		accepted += (unsigned)loader_once(mutant, size, initrd, i & 1);
	}
	cr_assert(accepted > 0 && accepted < ROUNDS, "%u accepted", accepted);
}

static void take_elf(struct elf_file *f)
{
	memcpy(seed, f->bytes, f->size);
	seed_bytes = f->size;
	header_bytes = 0x500;
}

Test(loader_mutants, guest_abi_elf)
{
	static struct elf_file f;
	const uint32_t version = SV_BOOT_VERSION;

	elf_file_make(&f, 2 << 20);
	elf_file_note(&f, "sidevisor", SV_ELF_NOTE_TYPE, &version, 4);
	take_elf(&f);
	try(0);
}

Test(loader_mutants, pvh_elf)
{
	static struct elf_file f;
	const uint64_t entry = (2 << 20) + 8;

	elf_file_make(&f, 2 << 20);
	elf_file_note(&f, "Xen", 18, &entry, 8);
	take_elf(&f);
	try(0);
}

Test(loader_mutants, multiboot)
{
	const uint32_t at = 2 << 20;
	const uint32_t h[8] = {0x1badb002, 0x10003, 0u - 0x1badb002 - 0x10003, at + 64, at, at + 4096,
		at + 8192, at + 16};

	memcpy(seed + 64, h, sizeof(h));
	seed_bytes = 4096;
	header_bytes = 128;
	try(0);
}

Test(loader_mutants, bzimage)
{
	struct setup_header *h = (struct setup_header *)(void *)(seed + 0x1f1);

	seed[0x200] = 0xeb;
	seed[0x201] = 0x6a;
	h->setup_sects = 1;
	h->boot_flag = 0xaa55;
	memcpy(&h->header, "HdrS", 4);
	h->version = 0x20f;
	h->syssize = 64;
	h->loadflags = LOADED_HIGH;
	h->xloadflags = XLF_KERNEL_64;
	h->cmdline_size = 2047;
	h->kernel_alignment = 0x200000;
	h->relocatable_kernel = 1;
	h->init_size = 0x100000;
	seed_bytes = 2048;
	header_bytes = 0x280;
	try(0);
}

static void add_entry(const char *name, unsigned bytes)
{
	char head[128] = "070701";

	for (unsigned i = 0; i < 13; i++)
		snprintf(head + 6 + 8 * i, 9, "%08X",
			i == 11 ? (unsigned)strlen(name) + 1 : i == 6 ? bytes : 0);
	memcpy(seed + seed_bytes, head, 110);
	strcpy((char *)seed + seed_bytes + 110, name);
	seed_bytes = (seed_bytes + 110 + strlen(name) + 1 + 3) & ~(size_t)3;
	seed_bytes = (seed_bytes + bytes + 3) & ~(size_t)3;
}

Test(loader_mutants, cpio_initrd)
{
	add_entry("init", 1000);
	add_entry("dev/console", 0);
	add_entry("TRAILER!!!", 0);
	header_bytes = seed_bytes;
	try(1);
}

Test(loader_mutants, zstd_initrd)
{
	memcpy(seed, "\x28\xb5\x2f\xfd\x04\x58\x00\x20\x00", 9);
	memcpy(seed + 9 + 1024, "\x01\x10\x00", 3);
	seed_bytes = 9 + 1024 + 3 + 512 + 4;
	header_bytes = seed_bytes;
	try(1);
}
