/* SPDX-License-Identifier: BSD-3-Clause */
/* Linux bzImages made by hand: both entries, placement, and headers that make no sense. */
#include <criterion/criterion.h>

#include <asm/bootparam.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "layout.h"
#include "loader.h"
#include "machine_by_hand.h"

#define SETUP_SECTS 3u
#define CODE_AT ((SETUP_SECTS + 1) * 512u)
#define CODE_BYTES 8192u
#define SIGNATURE_BYTES 100u

static uint8_t file[CODE_AT + CODE_BYTES + SIGNATURE_BYTES];
static struct setup_header *h = (struct setup_header *)(void *)(file + 0x1f1);
static size_t file_bytes;

/* Protocol 2.15, 64-bit entry, relocatable, prefers 16 MiB, needs 24 MiB to begin with. */
static void make(void)
{
	memset(file, 0, sizeof(file));
	memset(file + CODE_AT, 0x33, CODE_BYTES);
	memset(file + CODE_AT + CODE_BYTES, 0x44, SIGNATURE_BYTES);
	file_bytes = sizeof(file);
	file[0x200] = 0xeb;
	file[0x201] = 0x6a;
	h->setup_sects = SETUP_SECTS;
	h->boot_flag = 0xaa55;
	memcpy(&h->header, "HdrS", 4);
	h->version = 0x20f;
	h->syssize = CODE_BYTES / 16;
	h->loadflags = LOADED_HIGH;
	h->initrd_addr_max = 0x7fffffff;
	h->kernel_alignment = 2 * MIB;
	h->min_alignment = 21;
	h->relocatable_kernel = 1;
	h->xloadflags = XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G;
	h->cmdline_size = 2047;
	h->payload_offset = 512;
	h->payload_length = 4096;
	h->pref_address = 16 * MIB;
	h->init_size = 24 * MIB;
}

static int load(struct by_hand *m, struct sv_entry *e, struct sv_error *err)
{
	m->config.kernel = by_hand_file("bzImage", file, file_bytes);
	memset(e, 0, sizeof(*e));
	err->text[0] = 0;
	return sv_loader_load(&m->vm, 0xe0000, e, err);
}

static struct boot_params *loaded(struct by_hand *m, struct sv_entry *e)
{
	struct sv_error err;

	cr_assert_eq(load(m, e, &err), 0, "%s", err.text);
	cr_assert_eq(e->arg, LAYOUT_ZERO_PAGE);
	return sv_vm_ptr(&m->vm, e->arg, sizeof(struct boot_params));
}

static void refused_on(struct by_hand *m, const char *word)
{
	struct sv_error err;
	struct sv_entry e;

	cr_expect_lt(load(m, &e, &err), 0, "accepted, expected: %s", word);
	cr_expect(strstr(err.text, word), "'%s' does not say '%s'", err.text, word);
	cr_expect(by_hand_untouched(m), "memory was written before: %s", word);
	by_hand_free(m);
}

static void refused(const char *word)
{
	refused_on(by_hand_new(64 * MIB, 0, 1), word);
}

/* A cpio archive of one trailer, padded to @bytes with zeroes. */
static const char *make_initrd(size_t bytes)
{
	const unsigned name_bytes = 11;
	char trailer[128] = "070701";
	const char *path;

	for (unsigned i = 0; i < 13; i++)
		snprintf(trailer + 6 + 8 * i, 9, "%08X", i == 11 ? name_bytes : 0);
	memcpy(trailer + 110, "TRAILER!!!", name_bytes);
	path = by_hand_file("initrd", trailer, sizeof(trailer));
	cr_assert(bytes >= sizeof(trailer) && truncate(path, (off_t)bytes) == 0);
	return path;
}

Test(loader_linux, enters_64_bit_kernels_in_long_mode)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);
	const uint64_t *pml4, *pdpt, *pd;
	struct sv_entry e;

	make();
	loaded(m, &e);
	cr_assert(e.mode == SV_ENTRY_LINUX64 && e.rip == 16 * MIB + 0x200);
	cr_assert(e.cs == 0x10 && e.ds == 0x18 && e.gdt_limit == 31);
	pml4 = sv_vm_ptr(&m->vm, e.cr3, 4096);
	for (uint64_t gpa = 0; gpa < LAYOUT_HIGH; gpa += 2 * MIB) {
		pdpt = sv_vm_ptr(&m->vm, pml4[0] & ~0xfffull, 4096);
		pd = sv_vm_ptr(&m->vm, pdpt[gpa >> 30] & ~0xfffull, 4096);
		cr_assert_eq(pd[gpa >> 21 & 511], gpa | 0x83);
	}
	by_hand_free(m);
}

Test(loader_linux, enters_by_32_bits_on_request_and_when_there_is_no_other_entry)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);
	struct sv_entry e;

	make();
	m->config.boot32 = true;
	loaded(m, &e);
	cr_assert(e.mode == SV_ENTRY_LINUX32 && e.rip == 16 * MIB && e.cr3 == 0);
	m->config.boot32 = false;
	h->xloadflags = 0;
	loaded(m, &e);
	cr_assert_eq(e.mode, SV_ENTRY_LINUX32);
	by_hand_free(m);
}

Test(loader_linux, tells_the_kernel_what_it_needs_to_know)
{
	struct by_hand *m = by_hand_new(128 * MIB, 256 * MIB, 1);
	const struct boot_params *bp;
	const struct setup_data *sd;
	struct sv_entry e;
	uint64_t ram = 0;

	make();
	m->config.cmdline = "root=/dev/vda";
	m->config.initrd = make_initrd(10000);
	bp = loaded(m, &e);
	cr_assert_eq(bp->hdr.type_of_loader, 0xff);
	cr_assert_eq(bp->hdr.code32_start, 16 * MIB);
	cr_assert_str_eq(sv_vm_ptr(&m->vm, bp->hdr.cmd_line_ptr, 14), "root=/dev/vda");
	cr_assert_eq(bp->acpi_rsdp_addr, 0xe0000);
	cr_assert_eq(bp->sentinel, 0);
	cr_assert_eq(bp->hdr.ramdisk_size, 10000);
	cr_assert_eq(bp->hdr.ramdisk_image % 4096, 0);
	cr_assert(bp->hdr.ramdisk_image + 10000ull <= 128 * MIB);
	cr_assert(!memcmp(sv_vm_ptr(&m->vm, bp->hdr.ramdisk_image, 6), "070701", 6));
	for (unsigned i = 0; i < bp->e820_entries; i++) {
		if (i > 0)
			cr_assert(bp->e820_table[i].addr >=
				  bp->e820_table[i - 1].addr + bp->e820_table[i - 1].size);
		if (bp->e820_table[i].type == 1)
			ram += bp->e820_table[i].size;
	}
	cr_assert_eq(ram, 384 * MIB - (MIB - LAYOUT_EBDA));
	sd = sv_vm_ptr(&m->vm, bp->hdr.setup_data, sizeof(*sd) + 32);
	cr_assert(sd && sd->type == SETUP_RNG_SEED && sd->len == 32 && sd->next == 0);
	by_hand_free(m);
}

Test(loader_linux, loads_the_protected_mode_code_and_nothing_behind_it)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);
	struct sv_entry e;
	const uint8_t *code;

	make();
	loaded(m, &e);
	code = sv_vm_ptr(&m->vm, 16 * MIB, CODE_BYTES + 1);
	cr_assert(code[0] == 0x33 && code[CODE_BYTES - 1] == 0x33 && code[CODE_BYTES] == 0);
	by_hand_free(m);
}

Test(loader_linux, needs_room_at_the_preferred_address_whether_it_can_move_or_not)
{
	make();
	refused_on(by_hand_new(32 * MIB, 0, 1), "at least --memory 40M");
	make();
	h->relocatable_kernel = 0;
	refused_on(by_hand_new(32 * MIB, 0, 1), "at least --memory 40M");
}

Test(loader_linux, a_relocatable_kernel_is_aligned_as_it_asks)
{
	struct by_hand *m = by_hand_new(128 * MIB, 0, 1);
	struct sv_entry e;

	make();
	h->kernel_alignment = 32 * MIB;
	loaded(m, &e);
	cr_assert_eq(e.rip, 32 * MIB + 0x200);
	by_hand_free(m);
}

Test(loader_linux, old_protocols_load_at_1_mib_with_short_command_lines)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);
	static char line[300];
	struct sv_entry e;

	make();
	h->version = 0x204;
	loaded(m, &e);
	cr_assert(e.mode == SV_ENTRY_LINUX32 && e.rip == MIB);
	by_hand_free(m);
	m = by_hand_new(64 * MIB, 0, 1);
	memset(line, 'x', 256);
	m->config.cmdline = line;
	refused_on(m, "at most 255");
}

Test(loader_linux, the_initrd_stays_below_the_kernels_limit)
{
	struct by_hand *m = by_hand_new(128 * MIB, 0, 1);
	const struct boot_params *bp;
	struct sv_entry e;

	make();
	h->initrd_addr_max = 100 * MIB - 1;
	m->config.initrd = make_initrd(MIB);
	bp = loaded(m, &e);
	cr_assert_eq(bp->hdr.ramdisk_image, 99 * MIB);
	by_hand_free(m);
}

Test(loader_linux, the_initrd_goes_above_4_gib_only_where_the_kernel_can)
{
	struct by_hand *m = by_hand_new(48 * MIB, 64 * MIB, 1);
	const struct boot_params *bp;
	struct sv_entry e;
	uint64_t at;

	make();
	m->config.initrd = make_initrd(30 * MIB);
	bp = loaded(m, &e);
	at = bp->hdr.ramdisk_image | (uint64_t)bp->ext_ramdisk_image << 32;
	cr_assert_eq(at, LAYOUT_HIGH + 34 * MIB);
	by_hand_free(m);
	m = by_hand_new(48 * MIB, 64 * MIB, 1);
	m->config.initrd = make_initrd(30 * MIB);
	h->xloadflags = XLF_KERNEL_64;
	refused_on(m, "initrd");
}

Test(loader_linux, refuses_a_kernel_or_initrd_that_is_too_large)
{
	struct by_hand *m;

	make();
	h->init_size = 100 * MIB;
	refused("at least --memory 116M");
	make();
	h->init_size = 0xffffffff;
	refused("no RAM");
	make();
	m = by_hand_new(64 * MIB, 0, 1);
	m->config.initrd = make_initrd(25 * MIB);
	refused_on(m, "initrd");
}

Test(loader_linux, refuses_an_initrd_that_is_none)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);

	make();
	m->config.initrd = by_hand_file("initrd", "this is a text file", 19);
	refused_on(m, "not an initrd");
	m = by_hand_new(64 * MIB, 0, 1);
	m->config.initrd = by_hand_file("initrd", "", 0);
	refused_on(m, "is empty");
}

Test(loader_linux, refuses_headers_that_make_no_sense)
{
	make();
	h->boot_flag = 0;
	refused("broken header");
	make();
	file[0x201] = 0;
	refused("broken header");
	make();
	h->version = 0x201;
	refused("2.02 or newer");
	make();
	h->loadflags = 0;
	refused("bzImage");
	make();
	h->kernel_alignment = 3;
	refused("alignment");
	make();
	h->kernel_alignment = 0x80000000;
	refused("alignment");
	make();
	h->relocatable_kernel = 0;
	h->pref_address = 0x8000;
	refused("load address");
	make();
	h->pref_address = UINT64_MAX - 4095;
	h->relocatable_kernel = 0;
	refused("no RAM");
	make();
	h->payload_length = 0xffffffff;
	refused("truncated");
	make();
	h->syssize = 0xffffffff;
	refused("truncated");
}

Test(loader_linux, refuses_a_command_line_that_is_too_long)
{
	static char line[3000];
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);

	memset(line, 'x', 2048);
	m->config.cmdline = line;
	make();
	refused_on(m, "at most 2047");
}

Test(loader_linux, every_truncation_is_refused)
{
	make();
	for (size_t cut = 1; cut < CODE_AT + CODE_BYTES - 15; cut += 61) {
		struct by_hand *m = by_hand_new(64 * MIB, 0, 1);

		file_bytes = cut;
		refused_on(m, cut < 0x206 ? "not a kernel" : "truncated");
	}
}
