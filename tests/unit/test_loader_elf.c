/* SPDX-License-Identifier: BSD-3-Clause */
/* ELF kernels: the guest ABI's own, PVH, and what is not acceptable of either. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sidevisor/platform.h>

#include "elf_file.h"
#include "layout.h"
#include "loader.h"
#include "machine_by_hand.h"

#define PVH_NOTE 18u

static struct elf_file f;

static void make_lwk(uint64_t gpa)
{
	const uint32_t version = SV_BOOT_VERSION;

	elf_file_make(&f, gpa);
	elf_file_note(&f, "Other", 7, "whatever", 8);
	elf_file_note(&f, "sidevisor", SV_ELF_NOTE_TYPE, &version, 4);
}

static void make_pvh(uint64_t gpa)
{
	const uint64_t entry = gpa + 32;

	elf_file_make(&f, gpa);
	elf_file_note(&f, "Xen", PVH_NOTE, &entry, 8);
}

static int load(struct by_hand *m, uint64_t rsdp, struct sv_entry *e, struct sv_error *err)
{
	if (!m->config.kernel)
		m->config.kernel = elf_file_write(&f, "kernel");
	memset(e, 0, sizeof(*e));
	err->text[0] = 0;
	return sv_loader_load(&m->vm, rsdp, e, err);
}

/* Must fail with a sentence that has @word, and leave guest memory alone. */
static void refused_on(struct by_hand *m, const char *word)
{
	struct sv_error err;
	struct sv_entry e;

	cr_expect_lt(load(m, 0, &e, &err), 0, "accepted, expected: %s", word);
	cr_expect(strstr(err.text, word), "'%s' does not say '%s'", err.text, word);
	cr_expect(by_hand_untouched(m), "memory was written before: %s", word);
	by_hand_free(m);
}

static void refused(const char *word)
{
	refused_on(by_hand_new(64 * MIB, 0, 2), word);
}

static bool mapped(const struct by_hand *m, uint64_t cr3, uint64_t gpa)
{
	uint64_t at = cr3, e = 0;

	for (unsigned shift = 39; shift >= 21; shift -= 9) {
		const uint64_t *t = sv_vm_ptr(&m->vm, at, 4096);

		cr_assert(t != NULL);
		e = t[gpa >> shift & 511];
		if ((e & 7) != 7)
			return false;
		at = e & ~0xfffull;
	}
	return (e & 0x80) && (e & ~0x1fffffull) == (gpa & ~0x1fffffull);
}

Test(loader_elf, lwk_is_loaded_and_finds_its_boot_information)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 3);
	const struct sv_boot *b;
	struct sv_entry e;
	struct sv_error err;

	make_lwk(2 * MIB);
	m->config.cmdline = "hello world";
	m->config.overcommit = true;
	m->config.initrd = by_hand_file("initrd", "any bytes", 9);
	cr_assert_eq(load(m, 0, &e, &err), 0, "%s", err.text);
	cr_assert(e.mode == SV_ENTRY_LWK && e.rip == 2 * MIB + 16 && e.arg == SV_BOOT_INFO_GPA);
	cr_assert(e.cs == SV_BOOT_CS && e.ds == SV_BOOT_DS && e.gdt_gpa == SV_BOOT_GDT_GPA);
	cr_assert_eq(*(uint8_t *)sv_vm_ptr(&m->vm, 2 * MIB + 4095, 1), 0x11);
	cr_assert_eq(*(uint8_t *)sv_vm_ptr(&m->vm, 3 * MIB + 99, 1), 0x22);
	cr_assert(by_hand_zero(m, 3 * MIB + 100, 8192));
	b = sv_vm_ptr(&m->vm, SV_BOOT_INFO_GPA, sizeof(*b));
	cr_assert(b->magic == SV_BOOT_MAGIC && b->version == SV_BOOT_VERSION && b->vcpus == 3);
	cr_assert(b->memory_bytes == 64 * MIB && b->memory_low_bytes == 64 * MIB);
	cr_assert_eq(b->memory_high_bytes, 0);
	cr_assert(b->channel_gpa == m->vm.window_gpa && b->channel_stride >= 4096);
	cr_assert(b->tsc_hz == m->vm.tsc_hz && b->flags == SV_BOOT_F_OVERCOMMIT);
	cr_assert_str_eq(b->cmdline, "hello world");
	cr_assert_eq(b->initrd_bytes, 9);
	cr_assert(!memcmp(sv_vm_ptr(&m->vm, b->initrd_gpa, 9), "any bytes", 9));
	by_hand_free(m);
}

Test(loader_elf, lwk_page_tables_map_what_the_abi_says)
{
	struct by_hand *m = by_hand_new(3072 * MIB, 2048 * MIB, 2);
	struct sv_entry e;
	struct sv_error err;

	make_lwk(2 * MIB);
	cr_assert_eq(load(m, 0, &e, &err), 0, "%s", err.text);
	cr_assert(mapped(m, e.cr3, 0) && mapped(m, e.cr3, 3072 * MIB - 1));
	cr_assert(mapped(m, e.cr3, LAYOUT_HIGH) && mapped(m, e.cr3, LAYOUT_HIGH + 1024 * MIB - 1));
	cr_assert(!mapped(m, e.cr3, LAYOUT_HIGH + 1024 * MIB));
	cr_assert(!mapped(m, e.cr3, LAYOUT_PCI32));
	cr_assert(mapped(m, e.cr3, SV_MMIO_NOP_GPA) && mapped(m, e.cr3, SV_MMIO_KICK_GPA));
	cr_assert(mapped(m, e.cr3, m->vm.window_gpa));
	cr_assert(mapped(m, e.cr3, m->vm.window_gpa + m->vm.window_bytes - 1));
	cr_assert(mapped(m, e.cr3, m->vm.doorbell_gpa));
	by_hand_free(m);
}

Test(loader_elf, lwk_page_tables_fit_for_the_largest_machine)
{
	struct by_hand *m = by_hand_new(3072 * MIB, 4096 * MIB, 1024);
	struct sv_entry e;
	struct sv_error err;

	make_lwk(2 * MIB);
	m->vm.window_gpa = 1ull << 39; /* 512 GiB: another top-level entry */
	m->vm.window_bytes = 1024 * MIB;
	m->vm.doorbell_gpa = m->vm.window_gpa + 1024 * MIB;
	cr_assert_eq(load(m, 0, &e, &err), 0, "%s", err.text);
	cr_assert(mapped(m, e.cr3, m->vm.window_gpa + m->vm.window_bytes - 1));
	cr_assert(mapped(m, e.cr3, m->vm.doorbell_gpa + 1023 * 4096));
	by_hand_free(m);
}

Test(loader_elf, is_lwk_tells_the_guest_abi_from_others)
{
	struct sv_error err;

	make_lwk(2 * MIB);
	cr_assert_eq(sv_loader_is_lwk(elf_file_write(&f, "lwk"), &err), 1);
	make_pvh(2 * MIB);
	cr_assert_eq(sv_loader_is_lwk(elf_file_write(&f, "pvh"), &err), 0);
	cr_assert_eq(sv_loader_is_lwk(by_hand_file("text", "no", 2), &err), 0);
	cr_assert_lt(sv_loader_is_lwk("/nonexistent/kernel", &err), 0);
	cr_assert(strstr(err.text, "/nonexistent/kernel"));
}

Test(loader_elf, pvh_start_info_tells_memory_modules_command_line_and_rsdp)
{
	struct by_hand *m = by_hand_new(64 * MIB, 32 * MIB, 1);
	const uint8_t *s, *mod, *map;
	struct sv_entry e;
	struct sv_error err;
	uint64_t v, ram = 0;
	uint32_t n;

	make_pvh(16 * MIB);
	m->config.cmdline = "console=ttyS0";
	m->config.initrd = by_hand_file("initrd", "0123456789", 10);
	cr_assert_eq(load(m, 0xe0000, &e, &err), 0, "%s", err.text);
	cr_assert(e.mode == SV_ENTRY_PVH && e.rip == 16 * MIB + 32 && e.cs && e.ds);
	s = sv_vm_ptr(&m->vm, e.arg, 56);
	memcpy(&n, s, 4);
	cr_assert_eq(n, 0x336ec578);
	memcpy(&n, s + 4, 4);
	cr_assert_eq(n, 1);
	memcpy(&n, s + 12, 4);
	cr_assert_eq(n, 1);
	memcpy(&v, s + 16, 8);
	mod = sv_vm_ptr(&m->vm, v, 32);
	memcpy(&v, mod, 8);
	cr_assert(!memcmp(sv_vm_ptr(&m->vm, v, 10), "0123456789", 10));
	memcpy(&v, mod + 8, 8);
	cr_assert_eq(v, 10);
	memcpy(&v, s + 24, 8);
	cr_assert_str_eq(sv_vm_ptr(&m->vm, v, 14), "console=ttyS0");
	memcpy(&v, s + 32, 8);
	cr_assert_eq(v, 0xe0000);
	memcpy(&v, s + 40, 8);
	memcpy(&n, s + 48, 4);
	map = sv_vm_ptr(&m->vm, v, 24ull * n);
	cr_assert(map != NULL);
	for (unsigned i = 0; i < n; i++) {
		if (map[24 * i + 16] != 1)
			continue;
		memcpy(&v, map + 24 * i + 8, 8);
		ram += v;
	}
	cr_assert_eq(ram, 96 * MIB - (MIB - LAYOUT_EBDA));
	by_hand_free(m);
}

Test(loader_elf, refuses_what_is_missing_or_not_a_file)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);
	char fifo[128];

	m->config.kernel = "/nonexistent/kernel";
	refused_on(m, "no such file");
	m = by_hand_new(64 * MIB, 0, 1);
	m->config.kernel = by_hand_dir();
	refused_on(m, "is a directory");
	m = by_hand_new(64 * MIB, 0, 1);
	m->config.kernel = "/dev/null";
	refused_on(m, "not a regular file");
	m = by_hand_new(64 * MIB, 0, 1);
	snprintf(fifo, sizeof(fifo), "%s/fifo", by_hand_dir());
	cr_assert_eq(mkfifo(fifo, 0600), 0);
	m->config.kernel = fifo;
	refused_on(m, "not a regular file");
	m = by_hand_new(64 * MIB, 0, 1);
	m->config.kernel = by_hand_file("empty", "", 0);
	refused_on(m, "is empty");
	m = by_hand_new(64 * MIB, 0, 1);
	m->config.kernel = by_hand_file("text", "just text, longer than a header", 31);
	refused_on(m, "not a kernel");
}

Test(loader_elf, refuses_an_unreadable_file)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);

	make_lwk(2 * MIB);
	m->config.kernel = elf_file_write(&f, "secret");
	chmod(m->config.kernel, 0);
	if (geteuid() == 0) /* who may read everything; this process is this test's own */
		cr_assert_eq(seteuid(65534), 0);
	refused_on(m, "permission denied");
	if (getuid() == 0)
		cr_assert_eq(seteuid(0), 0);
}

Test(loader_elf, refuses_elf_without_a_note_it_knows)
{
	elf_file_make(&f, 2 * MIB);
	elf_file_note(&f, "Linux", 257, "note", 4);
	refused("without sidevisor note, PVH note or multiboot header");
}

Test(loader_elf, refuses_overlapping_segments)
{
	make_lwk(2 * MIB);
	f.ph[1].p_paddr = 2 * MIB + 4095;
	refused("overlap");
	make_lwk(2 * MIB);
	f.ph[1].p_paddr = 2 * MIB - 8192;
	refused("overlap");
}

Test(loader_elf, accepts_segments_that_touch_in_any_order)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);
	struct sv_entry e;
	struct sv_error err;

	make_lwk(2 * MIB);
	f.ph[1].p_paddr = f.ph[1].p_vaddr = 2 * MIB - 8192 - 100;
	cr_assert_eq(load(m, 0, &e, &err), 0, "%s", err.text);
	by_hand_free(m);
}

Test(loader_elf, refuses_segments_out_of_range)
{
	make_lwk(2 * MIB);
	f.ph[1].p_paddr = 64 * MIB - 4096;
	refused("too large");
	make_lwk(2 * MIB);
	f.ph[1].p_memsz = UINT64_MAX;
	refused("wraps");
	make_lwk(2 * MIB);
	f.ph[1].p_memsz = 1ull << 62;
	refused("no RAM");
	make_lwk(2 * MIB);
	f.ph[1].p_paddr = 5ull << 30;
	refused("no RAM");
	make_lwk(2 * MIB);
	f.ph[0].p_paddr = f.ph[0].p_vaddr = 0x8000;
	f.eh->e_entry = 0x8010;
	refused("lowest address");
	make_pvh(2 * MIB);
	f.ph[1].p_paddr = 0x7000;
	refused("lowest address");
}

Test(loader_elf, refuses_segments_beyond_the_file)
{
	make_lwk(2 * MIB);
	f.ph[1].p_offset = UINT64_MAX - 10;
	refused("truncated");
	make_lwk(2 * MIB);
	f.ph[1].p_filesz = f.ph[1].p_memsz = 1 << 20;
	refused("truncated");
	make_lwk(2 * MIB);
	f.ph[1].p_filesz = f.ph[1].p_memsz + 1;
	refused("larger in the file");
}

Test(loader_elf, refuses_headers_that_make_no_sense)
{
	make_lwk(2 * MIB);
	f.eh->e_ident[EI_DATA] = ELFDATA2MSB;
	refused("little-endian");
	make_lwk(2 * MIB);
	f.eh->e_machine = EM_AARCH64;
	refused("not for x86");
	make_lwk(2 * MIB);
	f.eh->e_type = ET_REL;
	refused("not an executable");
	make_lwk(2 * MIB);
	f.eh->e_phnum = 0;
	refused("program headers");
	make_lwk(2 * MIB);
	f.eh->e_phnum = 0xffff;
	refused("program headers");
	make_lwk(2 * MIB);
	f.eh->e_phentsize = 8;
	refused("program headers");
	make_lwk(2 * MIB);
	f.eh->e_phoff = UINT64_MAX - 8;
	refused("truncated");
	make_lwk(2 * MIB);
	f.ph[0].p_type = f.ph[1].p_type = PT_NULL;
	refused("nothing");
}

Test(loader_elf, refuses_broken_notes)
{
	make_lwk(2 * MIB);
	f.ph[2].p_offset = UINT64_MAX;
	refused("truncated");
	make_lwk(2 * MIB);
	f.ph[2].p_filesz = 1 << 24;
	f.size = ELF_FILE_BYTES;
	refused("truncated");
	elf_file_make(&f, 2 * MIB);
	elf_file_note(&f, "sidevisor", SV_ELF_NOTE_TYPE, "12345678", 8);
	refused("ABI version");
	elf_file_make(&f, 2 * MIB);
	elf_file_note(&f, "Xen", PVH_NOTE, "12", 2);
	refused("address");
	make_lwk(2 * MIB);
	f.bytes[0x400] = f.bytes[0x401] = f.bytes[0x402] = f.bytes[0x403] = 0xff;
	refused("longer than its segment");
}

Test(loader_elf, refuses_entries_outside_of_segments)
{
	const uint64_t nowhere = 1 << 24;

	make_lwk(2 * MIB);
	f.eh->e_entry = 12;
	refused("entry point");
	elf_file_make(&f, 2 * MIB);
	elf_file_note(&f, "Xen", PVH_NOTE, &nowhere, 8);
	refused("entry point");
}

Test(loader_elf, refuses_another_version_of_the_guest_abi)
{
	const uint32_t version = SV_BOOT_VERSION + 1;

	elf_file_make(&f, 2 * MIB);
	elf_file_note(&f, "sidevisor", SV_ELF_NOTE_TYPE, &version, 4);
	refused("rebuild");
}

Test(loader_elf, refuses_a_command_line_that_is_too_long)
{
	static char line[5000];
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);

	memset(line, 'a', SV_BOOT_CMDLINE_BYTES);
	make_lwk(2 * MIB);
	m->config.cmdline = line;
	refused_on(m, "at most 2047");
	memset(line, 'a', 4096);
	make_pvh(2 * MIB);
	m = by_hand_new(64 * MIB, 0, 1);
	m->config.cmdline = line;
	refused_on(m, "at most 4095");
}

Test(loader_elf, refuses_an_initrd_that_does_not_fit_or_is_missing)
{
	struct by_hand *m = by_hand_new(4 * MIB, 0, 1);
	char big[128];

	make_lwk(2 * MIB);
	m->config.initrd = by_hand_file("big", "x", 1);
	snprintf(big, sizeof(big), "%s", m->config.initrd);
	cr_assert_eq(truncate(big, 2 << 20), 0);
	refused_on(m, "initrd");
	m = by_hand_new(64 * MIB, 0, 1);
	m->config.initrd = "/nonexistent/initrd";
	refused_on(m, "initrd /nonexistent/initrd: no such file");
	m = by_hand_new(64 * MIB, 0, 1);
	m->config.initrd = by_hand_dir();
	refused_on(m, "is a directory");
}

Test(loader_elf, every_truncation_is_refused_or_harmless)
{
	struct sv_error err;
	struct sv_entry e;

	make_lwk(2 * MIB);
	for (size_t cut = 1; cut < f.size; cut += cut < 2048 ? 1 : 97) {
		struct by_hand *m = by_hand_new(64 * MIB, 0, 1);

		m->config.kernel = by_hand_file("cut", f.bytes, cut);
		cr_assert_lt(load(m, 0, &e, &err), 0, "%zu bytes were accepted", cut);
		cr_assert(by_hand_untouched(m));
		by_hand_free(m);
	}
}
