/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The loaders on Debian's own kernels, when tests/node/fetch.sh has fetched any: whole ones
 * load, those cut at any 4 KiB are refused with a sentence. The ELF kernel inside is taken out and
 * goes through the same.
 */
#include <criterion/criterion.h>

#include <asm/bootparam.h>
#include <elf.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layout.h"
#include "loader.h"
#include "machine_by_hand.h"

#define KERNELS 8u

static char kernel[KERNELS][512];
static unsigned kernels;

static int see(const char *path, const struct stat *st, int type, struct FTW *at)
{
	if (type == FTW_F && !strncmp(path + at->base, "vmlinuz", 7) && st->st_size > (1 << 20) &&
		kernels < KERNELS)
		snprintf(kernel[kernels++], sizeof(kernel[0]), "%s", path);
	return 0;
}

static void find_kernels(void)
{
	const char *cache = getenv("SIDEVISOR_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");
	char dir[400];

	if (cache)
		snprintf(dir, sizeof(dir), "%s", cache);
	else if (xdg)
		snprintf(dir, sizeof(dir), "%s/sidevisor", xdg);
	else
		snprintf(dir, sizeof(dir), "%s/.cache/sidevisor", home ? home : "");
	nftw(dir, see, 16, FTW_PHYS);
	if (kernels == 0) {
		printf("SKIPPED BECAUSE no kernel is in %s; tests/node/fetch.sh kernel 6.1 gets one\n", dir);
		cr_skip_test("no kernel");
	}
}

static bool run(const char *command)
{
	return system(command) == 0;
}

static void must_load(const char *path, enum sv_entry_mode mode, bool boot32)
{
	struct by_hand *m = by_hand_new(256 * MIB, 0, 2);
	struct sv_error err;
	struct sv_entry e;

	m->config.kernel = path;
	m->config.boot32 = boot32;
	m->config.cmdline = "console=ttyS0";
	cr_assert_eq(sv_loader_load(&m->vm, 0xe0000, &e, &err), 0, "%s: %s", path, err.text);
	cr_assert_eq(e.mode, mode);
	cr_assert(!by_hand_zero(m, e.rip, 16));
	by_hand_free(m);
}

static void must_not_fit(const char *path)
{
	struct by_hand *m = by_hand_new(32 * MIB, 0, 1);
	struct sv_error err;
	struct sv_entry e;

	m->config.kernel = path;
	cr_assert_lt(sv_loader_load(&m->vm, 0, &e, &err), 0);
	cr_assert(strstr(err.text, "at least --memory"), "%s", err.text);
	cr_assert(by_hand_untouched(m));
	by_hand_free(m);
}

/* Cuts @path, a copy, shorter and shorter. */
static void cuts_are_refused(const char *path)
{
	struct by_hand *m = by_hand_new(256 * MIB, 0, 1);
	struct sv_error err;
	struct sv_entry e;
	struct stat st;

	cr_assert_eq(stat(path, &st), 0);
	m->config.kernel = path;
	for (off_t cut = (st.st_size - 1) & ~4095; cut >= 0; cut -= 4096) {
		cr_assert_eq(truncate(path, cut), 0);
		cr_assert_lt(sv_loader_load(&m->vm, 0, &e, &err), 0, "%s: %lld bytes were accepted",
			path, (long long)cut);
		cr_assert(strstr(err.text, "truncated") || strstr(err.text, "is empty"), "%s", err.text);
	}
	cr_assert(by_hand_untouched(m));
	by_hand_free(m);
}

static const char *copy(const char *path)
{
	static char to[128];
	char line[1024];

	snprintf(to, sizeof(to), "%s/kernel", by_hand_dir());
	snprintf(line, sizeof(line), "cp '%s' '%s' && chmod u+w '%s'", path, to, to);
	cr_assert(run(line));
	return to;
}

/* Unpack the ELF kernel: the header says where it is, its first bytes how it is packed. */
static const char *unpack(const char *path)
{
	static char to[128];
	struct setup_header h;
	unsigned char magic[4];
	const char *tool;
	char line[1024];
	FILE *f = fopen(path, "re");
	uint64_t at;

	cr_assert(f && fseek(f, 0x1f1, SEEK_SET) == 0 && fread(&h, sizeof(h), 1, f) == 1);
	at = (h.setup_sects + 1u) * 512 + h.payload_offset;
	cr_assert(fseek(f, (long)at, SEEK_SET) == 0 && fread(magic, 4, 1, f) == 1);
	fclose(f);
	tool = magic[0] == 0xfd ? "xz -dc --single-stream" : magic[0] == 0x28 ? "zstd -dcq"
		: magic[0] == 0x1f ? "gzip -dc" : "lz4 -dc";
	snprintf(to, sizeof(to), "%s/vmlinux", by_hand_dir());
	/* The four bytes behind the stream are its unpacked size. */
	snprintf(line, sizeof(line), "tail -c +%llu '%s' | head -c %u | %s >'%s' 2>/dev/null; test -s '%s'",
		(unsigned long long)at + 1, path, h.payload_length - 4, tool, to, to);
	return run(line) ? to : NULL;
}

/* What follows the section headers (the relocations of the boot image) is no part of it. */
static void trim(const char *elf)
{
	FILE *f = fopen(elf, "re");
	Elf64_Ehdr eh;

	cr_assert(f && fread(&eh, sizeof(eh), 1, f) == 1);
	fclose(f);
	cr_assert_eq(truncate(elf, (off_t)(eh.e_shoff + (size_t)eh.e_shnum * eh.e_shentsize)), 0);
}

Test(loader_real, bzimages_load_by_both_entries, .timeout = 60)
{
	find_kernels();
	for (unsigned i = 0; i < kernels; i++) {
		must_load(kernel[i], SV_ENTRY_LINUX64, false);
		must_load(kernel[i], SV_ENTRY_LINUX32, true);
		must_not_fit(kernel[i]);
	}
}

Test(loader_real, bzimages_cut_at_any_4_kib_are_refused, .timeout = 120)
{
	find_kernels();
	for (unsigned i = 0; i < kernels; i++)
		cuts_are_refused(copy(kernel[i]));
}

Test(loader_real, the_elf_kernel_inside_loads_by_its_pvh_note, .timeout = 120)
{
	const char *elf;

	find_kernels();
	for (unsigned i = 0; i < kernels; i++) {
		elf = unpack(kernel[i]);
		cr_assert(elf != NULL, "%s does not unpack", kernel[i]);
		must_load(elf, SV_ENTRY_PVH, false);
		must_not_fit(elf);
	}
}

Test(loader_real, elf_kernels_cut_at_any_4_kib_are_refused, .timeout = 120)
{
	const char *elf;

	find_kernels();
	elf = unpack(kernel[0]);
	cr_assert(elf != NULL);
	trim(elf);
	must_load(elf, SV_ENTRY_PVH, false);
	cuts_are_refused(elf);
}
