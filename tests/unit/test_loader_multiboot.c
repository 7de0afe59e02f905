/* SPDX-License-Identifier: BSD-3-Clause */
/* Multiboot 1 kernels, by ELF headers and by addresses in the header. */
#include <criterion/criterion.h>

#include <string.h>

#include "elf_file.h"
#include "layout.h"
#include "loader.h"
#include "machine_by_hand.h"

#define MAGIC 0x1badb002u
#define ADDRESSES (1u << 16)
#define HEADER_AT 0x800u

static struct elf_file f;

static void header(uint8_t *at, uint32_t flags, const uint32_t *rest)
{
	const uint32_t w[3] = {MAGIC, flags, 0u - MAGIC - flags};

	memcpy(at, w, sizeof(w));
	if (rest)
		memcpy(at + 12, rest, 20);
}

/* A flat file of 8 KiB that is to lie at 4 MiB, with 4 KiB of BSS. */
static uint8_t flat[8192];

static void make_flat(void)
{
	const uint32_t at = 4 << 20;
	const uint32_t rest[5] = {at + HEADER_AT, at, at + 8192, at + 12288, at + 0x20};

	memset(flat, 0x55, sizeof(flat));
	header(flat + HEADER_AT, ADDRESSES | 3, rest);
}

static int load(struct by_hand *m, struct sv_entry *e, struct sv_error *err)
{
	memset(e, 0, sizeof(*e));
	err->text[0] = 0;
	return sv_loader_load(&m->vm, 0xe0000, e, err);
}

static void refused_file(const char *path, const char *word)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);
	struct sv_error err;
	struct sv_entry e;

	m->config.kernel = path;
	cr_expect_lt(load(m, &e, &err), 0, "accepted, expected: %s", word);
	cr_expect(strstr(err.text, word), "'%s' does not say '%s'", err.text, word);
	cr_expect(by_hand_untouched(m), "memory was written before: %s", word);
	by_hand_free(m);
}

static void refused(const char *word)
{
	refused_file(by_hand_file("flat", flat, sizeof(flat)), word);
}

static uint32_t word_at(const struct by_hand *m, uint64_t gpa)
{
	uint32_t v;

	memcpy(&v, sv_vm_ptr(&m->vm, gpa, 4), 4);
	return v;
}

static void check_info(const struct by_hand *m, uint64_t info)
{
	uint32_t flags = word_at(m, info), mods, map, end;
	uint64_t bytes, ram = 0;

	cr_assert_geq(info, 4096);
	cr_assert((flags & (1 | 4 | 8 | 64)) == (1 | 4 | 8 | 64));
	cr_assert_eq(word_at(m, info + 4), LAYOUT_EBDA / 1024);
	cr_assert_eq(word_at(m, info + 8), 63 * 1024);
	cr_assert_str_eq(sv_vm_ptr(&m->vm, word_at(m, info + 16), 8), "a=b test");
	cr_assert_eq(word_at(m, info + 20), 1);
	mods = word_at(m, info + 24);
	cr_assert_eq(word_at(m, mods + 4) - word_at(m, mods), 6);
	cr_assert_eq(word_at(m, mods) % 4096, 0);
	cr_assert(!memcmp(sv_vm_ptr(&m->vm, word_at(m, mods), 6), "module", 6));
	map = word_at(m, info + 48);
	end = map + word_at(m, info + 44);
	for (; map < end; map += word_at(m, map) + 4) {
		memcpy(&bytes, sv_vm_ptr(&m->vm, map + 12, 8), 8);
		ram += word_at(m, map + 20) == 1 ? bytes : 0;
	}
	cr_assert_eq(map, end);
	cr_assert_eq(ram, 64 * MIB - (MIB - LAYOUT_EBDA));
}

static struct by_hand *machine(const char *kernel)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);

	m->config.kernel = kernel;
	m->config.cmdline = "a=b test";
	m->config.initrd = by_hand_file("module", "module", 6);
	return m;
}

Test(loader_multiboot, loads_by_the_addresses_of_the_header)
{
	struct by_hand *m;
	struct sv_entry e;
	struct sv_error err;

	make_flat();
	m = machine(by_hand_file("flat", flat, sizeof(flat)));
	cr_assert_eq(load(m, &e, &err), 0, "%s", err.text);
	cr_assert(e.mode == SV_ENTRY_MULTIBOOT && e.rip == 4 * MIB + 0x20);
	cr_assert(!memcmp(sv_vm_ptr(&m->vm, 4 * MIB, sizeof(flat)), flat, sizeof(flat)));
	cr_assert(by_hand_zero(m, 4 * MIB + 8192, 4096));
	check_info(m, e.arg);
	by_hand_free(m);
}

Test(loader_multiboot, load_end_and_bss_end_may_be_left_out)
{
	const uint32_t at = 4 << 20;
	const uint32_t rest[5] = {at + 0x100, at, 0, 0, at + 0x20};
	struct by_hand *m;
	struct sv_entry e;
	struct sv_error err;

	make_flat();
	memset(flat, 0x55, sizeof(flat));
	header(flat + HEADER_AT, ADDRESSES, rest); /* the image begins 0x100 before the header */
	m = machine(by_hand_file("flat", flat, sizeof(flat)));
	cr_assert_eq(load(m, &e, &err), 0, "%s", err.text);
	cr_assert(!memcmp(sv_vm_ptr(&m->vm, 4 * MIB, 6400), flat + 0x700, 6400));
	cr_assert(by_hand_zero(m, 4 * MIB + 6400, 8192 - 6400));
	by_hand_free(m);
}

Test(loader_multiboot, loads_elf_at_physical_addresses_and_translates_the_entry)
{
	struct by_hand *m;
	struct sv_entry e;
	struct sv_error err;

	elf_file_make(&f, 4 * MIB);
	header(f.bytes + HEADER_AT, 3, NULL);
	f.ph[0].p_vaddr = 0xffffffff80000000ull + 4 * MIB;
	f.eh->e_entry = f.ph[0].p_vaddr + 0x40;
	m = machine(elf_file_write(&f, "elf"));
	cr_assert_eq(load(m, &e, &err), 0, "%s", err.text);
	cr_assert(e.mode == SV_ENTRY_MULTIBOOT && e.rip == 4 * MIB + 0x40);
	cr_assert_eq(*(uint8_t *)sv_vm_ptr(&m->vm, 5 * MIB, 1), 0x22);
	check_info(m, e.arg);
	by_hand_free(m);
}

Test(loader_multiboot, loads_32_bit_elf)
{
	static uint8_t file[0x3000];
	Elf32_Ehdr *eh = (Elf32_Ehdr *)(void *)file;
	Elf32_Phdr *ph = (Elf32_Phdr *)(void *)(file + sizeof(*eh));
	struct by_hand *m;
	struct sv_entry e;
	struct sv_error err;

	memcpy(eh->e_ident, ELFMAG "\1\1\1", 7);
	eh->e_type = ET_EXEC;
	eh->e_machine = EM_386;
	eh->e_entry = 0x400010;
	eh->e_phoff = sizeof(*eh);
	eh->e_phentsize = sizeof(*ph);
	eh->e_phnum = 1;
	*ph = (Elf32_Phdr){PT_LOAD, 0x1000, 0x400000, 0x400000, 0x2000, 0x3000, 7, 4096};
	header(file + 0x1004, 0, NULL);
	m = machine(by_hand_file("elf32", file, sizeof(file)));
	cr_assert_eq(load(m, &e, &err), 0, "%s", err.text);
	cr_assert_eq(e.rip, 0x400010);
	by_hand_free(m);
}

Test(loader_multiboot, refuses_features_that_are_not_there)
{
	make_flat();
	header(flat + HEADER_AT, ADDRESSES | 4, NULL);
	refused("video");
}

Test(loader_multiboot, refuses_headers_that_make_no_sense)
{
	const uint32_t at = 4 << 20;
	const struct {
		uint32_t rest[5];
		const char *word;
	} cases[] = {
		{{at, at + 4096, at + 8192, 0, at}, "load address"},
		{{at + 4096, at, at + 8192, 0, at}, "load address"},
		{{at + HEADER_AT, at, at - 1, 0, at}, "ends before"},
		{{at + HEADER_AT, at, at + 8193, 0, at}, "truncated"},
		{{at + HEADER_AT, at, at + 8192, at + 1, at}, "BSS"},
		{{at + HEADER_AT, at, at + 8192, 0, at - 1}, "entry point"},
		{{at + HEADER_AT, at, at + 8192, 0xfffffff0, at}, "no RAM"},
		{{0x8000 + HEADER_AT, 0x8000, 0, 0, 0x8000}, "lowest address"},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		make_flat();
		header(flat + HEADER_AT, ADDRESSES, cases[i].rest);
		refused(cases[i].word);
	}
	make_flat();
	header(flat + HEADER_AT, 0, NULL);
	refused("not an ELF file");
}

Test(loader_multiboot, the_header_must_lie_in_the_first_8_kib_and_add_up)
{
	make_flat();
	flat[HEADER_AT + 8] ^= 1;
	refused("not a kernel");
	memset(flat, 0, sizeof(flat));
	header(flat + sizeof(flat) - 14, 0, NULL);
	refused("not a kernel");
}

Test(loader_multiboot, every_truncation_is_refused)
{
	make_flat();
	for (size_t cut = 1; cut < sizeof(flat); cut += 53)
		refused_file(by_hand_file("flat", flat, cut),
			cut < HEADER_AT + 12 ? "not a kernel" : "truncated");
}
