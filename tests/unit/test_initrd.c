/* SPDX-License-Identifier: BSD-3-Clause */
/* Which files pass as an initrd for Linux, and that half of one does not. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "loader_image.h"
#include "machine_by_hand.h"

#define BYTES 200000u

static uint8_t file[2 * BYTES];
static size_t size;

static void add(const void *p, size_t n)
{
	memcpy(file + size, p, n);
	size += n;
}

static void add32(uint32_t v)
{
	add(&v, 4);
}

static void add_noise(size_t n)
{
	static uint32_t x = 1;

	while (n--) {
		x = x * 1664525 + 1013904223;
		file[size++] = (uint8_t)((x >> 24) | 1);
	}
}

static void pad(size_t to)
{
	while (size % to)
		file[size++] = 0;
}

static void cpio_entry(const char *name, size_t bytes)
{
	char head[128] = "070701";

	for (unsigned i = 0; i < 13; i++)
		snprintf(head + 6 + 8 * i, 9, "%08X",
			(unsigned)(i == 11 ? strlen(name) + 1 : i == 6 ? bytes : 0));
	add(head, 110);
	add(name, strlen(name) + 1);
	pad(4);
	add_noise(bytes);
	pad(4);
}

static void cpio(void)
{
	cpio_entry("init", 30001);
	cpio_entry("TRAILER!!?", 5); /* a name as long as the trailer's */
	cpio_entry("bin/busybox", 60000);
	cpio_entry("TRAILER!!!", 0);
	pad(512);
}

static int check(size_t bytes, struct sv_error *err)
{
	const char *path = by_hand_file("initrd", file, bytes);
	struct sv_image img;
	int rc = sv_image_open(&img, "initrd", path, err);

	cr_assert_eq(rc, 0);
	err->text[0] = 0;
	rc = sv_initrd_check(&img, err);
	sv_image_close(&img);
	return rc;
}

static void whole_is_taken(void)
{
	struct sv_error err;

	cr_assert_eq(check(size, &err), 0, "%s", err.text);
}

static void cuts_are_refused(size_t from, size_t to)
{
	struct sv_error err;

	for (size_t cut = from; cut < to; cut += 4096) {
		cr_expect_lt(check(cut, &err), 0, "%zu of %zu bytes were accepted", cut, size);
		cr_expect(strstr(err.text, "truncated") || strstr(err.text, "again"), "%s", err.text);
	}
}

Test(initrd, plain_cpio)
{
	cpio();
	whole_is_taken();
	cuts_are_refused(4096, size);
}

Test(initrd, several_archives_in_a_row)
{
	cpio();
	pad(4096);
	cpio();
	whole_is_taken();
	cuts_are_refused(size / 2 + 8192, size);
}

Test(initrd, a_broken_archive_behind_a_whole_one_is_refused)
{
	struct sv_error err;

	cpio();
	add("garbage that nobody knows", 25);
	cr_assert_lt(check(size, &err), 0);
}

static void zstd(size_t blocks)
{
	add32(0xfd2fb528);
	add("\x04\x58", 2); /* checksum, a window byte */
	for (size_t i = 0; i < blocks; i++) {
		uint32_t b = 20000u << 3 | (i + 1 == blocks);

		add(&b, 3);
		add_noise(20000);
	}
	add32(0x12345678);
}

Test(initrd, zstd_frames)
{
	zstd(6);
	whole_is_taken();
	cuts_are_refused(4096, size);
	cuts_are_refused(size - 4, size);
	size = 0;
	zstd(2);
	zstd(2);
	whole_is_taken();
}

Test(initrd, zstd_with_sizes_in_the_header_and_repeated_bytes)
{
	static const struct {
		uint8_t flags;
		size_t extra;
	} kinds[] = {{0x20, 1}, {0x60, 2}, {0xa0, 4}, {0xe0, 8}, {0x00, 1}, {0x03, 5}, {0x43, 7}};

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size = 0;
		add32(0xfd2fb528);
		add(&kinds[i].flags, 1);
		add_noise(kinds[i].extra);
		add("\x02\x00\x01\x77", 4);	/* one byte, repeated */
		add("\x29\x00\x00\x61\x62\x63\x64\x65", 8); /* five raw bytes, the last block */
		whole_is_taken();
		size--;
		cuts_are_refused(size, size + 1);
	}
}

Test(initrd, microcode_before_a_compressed_archive)
{
	cpio();
	zstd(3);
	whole_is_taken();
	cuts_are_refused(size - 12000, size);
}

static void gzip(size_t bytes)
{
	uint8_t *plain = malloc(bytes);
	z_stream z = {0};

	cr_assert(plain && deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) == Z_OK);
	for (size_t i = 0; i < bytes; i++)
		plain[i] = (uint8_t)(i * i >> 7 ^ i >> 3);
	z.next_in = plain;
	z.avail_in = (uInt)bytes;
	z.next_out = file + size;
	z.avail_out = (uInt)(sizeof(file) - size);
	cr_assert_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	size += z.total_out;
	deflateEnd(&z);
	free(plain);
}

Test(initrd, gzip_of_any_length)
{
	gzip(512 * 700);
	whole_is_taken();
	cuts_are_refused(4096, size);
	size = 0;
	gzip(300001);
	whole_is_taken();
	cuts_are_refused(4096, size);
	gzip(77);
	pad(4096);
	whole_is_taken();
}

Test(initrd, damaged_gzip)
{
	struct sv_error err;

	gzip(300001);
	for (size_t i = 1000; i < 1100; i++)
		file[i] ^= 0x5a;
	cr_assert_lt(check(size, &err), 0);
	cr_assert(strstr(err.text, "damaged") || strstr(err.text, "truncated"), "%s", err.text);
}

Test(initrd, xz)
{
	add("\xfd" "7zXZ\0\0\4\xe6\xd6\xb4\x46", 12);
	add_noise(50000);
	add("\0\1\2\3", 4); /* an index of four bytes */
	add32(0x11111111);
	add32(0);
	add("\0\4YZ", 4);
	whole_is_taken();
	cuts_are_refused(4096, size);
	pad(512);
	whole_is_taken();
}

Test(initrd, lz4)
{
	add32(0x184c2102);
	for (unsigned i = 0; i < 5; i++) {
		add32(19999);
		add_noise(19999);
	}
	whole_is_taken();
	cuts_are_refused(4096, size);
}

Test(initrd, bzip2_at_every_bit_position)
{
	for (unsigned shift = 0; shift < 8; shift++) {
		uint64_t mark = 0x177245385090ull << 16 | 0xabcd;
		uint8_t tail[11] = {0};

		size = 0;
		add("BZh9", 4);
		add_noise(20000);
		for (unsigned i = 0; i < 80; i++) {
			bool bit = i < 64 ? mark >> (63 - i) & 1 : 0;

			if (bit)
				tail[(i + shift) / 8] |= (uint8_t)(0x80 >> (i + shift) % 8);
		}
		add(tail, sizeof(tail));
		whole_is_taken();
		cuts_are_refused(4096, size);
	}
}

Test(initrd, file_system_images)
{
	uint32_t blocks = 100;

	memset(file, 0, sizeof(file));
	memcpy(file + 1028, &blocks, 4);
	memcpy(file + 1080, "\x53\xef", 2);
	size = 100 * 1024;
	whole_is_taken();
	cuts_are_refused(4096, size);
	memset(file, 0, sizeof(file));
	memcpy(file, "hsqs", 4);
	memcpy(file + 40, &size, 8);
	whole_is_taken();
	cuts_are_refused(4096, size);
}

Test(initrd, other_files_are_not_initrds)
{
	static const char *const texts[] = {"#!/bin/sh\n", "\177ELF", "x", "PK\3\4"};
	struct sv_error err;

	for (unsigned i = 0; i < 4; i++) {
		size = 0;
		add(texts[i], strlen(texts[i]));
		cr_assert_lt(check(size, &err), 0);
		cr_assert(strstr(err.text, "not an initrd"), "%s", err.text);
	}
}

Test(initrd, a_file_that_shrinks_while_it_is_read_is_reported)
{
	struct sv_error err;
	struct sv_image img;
	char buf[1000];
	const char *path;

	cpio();
	path = by_hand_file("initrd", file, size);
	cr_assert_eq(sv_image_open(&img, "initrd", path, &err), 0);
	by_hand_file("initrd", file, 500);
	cr_assert_lt(sv_image_read(&img, 0, buf, sizeof(buf), &err), 0);
	cr_assert(strstr(err.text, "became shorter"), "%s", err.text);
	sv_image_close(&img);
}
