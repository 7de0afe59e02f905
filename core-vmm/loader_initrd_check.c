/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is a file something that Linux takes as an initrd, and is all of it there?
 *
 * A guest that dies of half an archive says so late and obscurely, so the frame of every format is
 * followed to its end. Nothing is unpacked, except a gzip file whose trailer is improbable.
 */
#include "loader_image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define CPIO_HEADER 110u
#define CPIO_TRAILER "TRAILER!!!"
#define CPIO_NAME_MAX 4096u

/* A place in the file. A check moves it behind what it found whole. */
struct at {
	const struct sv_image *img;
	uint64_t off;
};

static uint32_t le32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t be32(const uint8_t *p)
{
	return p[3] | (uint32_t)p[2] << 8 | (uint32_t)p[1] << 16 | (uint32_t)p[0] << 24;
}

static int bad(const struct sv_image *img, const char *what, struct sv_error *err)
{
	return sv_fail(err, EINVAL, "initrd %s: %s; make or download it again", img->path, what);
}

static int read_at(const struct at *a, uint64_t off, void *buf, uint64_t n, struct sv_error *err)
{
	return sv_image_read(a->img, off, buf, n, err);
}

/* --- cpio ------------------------------------------------------------------------------------ */

static bool hex8(const uint8_t *p, uint32_t *v)
{
	*v = 0;
	for (unsigned i = 0; i < 8; i++) {
		static const char digits[] = "0123456789abcdef";
		const char *d = strchr(digits, p[i] >= 'A' && p[i] <= 'F' ? p[i] | 0x20 : p[i]);

		if (!d || !*d)
			return false;
		*v = *v << 4 | (uint32_t)(d - digits);
	}
	return true;
}

/* One entry. Return: 1 for the trailer, 0, or -errno. */
static int cpio_entry(struct at *a, struct sv_error *err)
{
	uint8_t h[CPIO_HEADER], name[sizeof(CPIO_TRAILER)];
	uint32_t size, namesize;
	uint64_t next;
	int rc = read_at(a, a->off, h, sizeof(h), err);

	if (rc < 0)
		return rc;
	if (memcmp(h, "07070", 5) || (h[5] != '1' && h[5] != '2') || !hex8(h + 54, &size) ||
		!hex8(h + 94, &namesize) || namesize == 0 || namesize > CPIO_NAME_MAX)
		return bad(a->img, "a broken entry in its cpio archive", err);
	next = align_up(align_up(a->off + CPIO_HEADER + namesize, 4) + size, 4);
	if (namesize == sizeof(name)) {
		rc = read_at(a, a->off + CPIO_HEADER, name, sizeof(name), err);
		if (rc < 0)
			return rc;
		if (!memcmp(name, CPIO_TRAILER, sizeof(name))) {
			a->off = next < a->img->size ? next : a->img->size;
			return 1;
		}
	}
	if (next > a->img->size)
		return sv_image_truncated(a->img, next, err);
	a->off = next;
	return 0;
}

static int check_cpio(struct at *a, struct sv_error *err)
{
	int rc;

	do {
		rc = cpio_entry(a, err);
	} while (rc == 0);
	return rc < 0 ? rc : 0;
}

/* --- zstd: a frame header, blocks, a checksum -------------------------------------------------- */

static int check_zstd(struct at *a, struct sv_error *err)
{
	static const uint8_t dict_bytes[] = {0, 1, 2, 4}, size_bytes[] = {0, 2, 4, 8};
	uint8_t flags, b[3];
	bool single;
	int rc = read_at(a, a->off + 4, &flags, 1, err);
	uint32_t block;

	if (rc < 0)
		return rc;
	single = flags & 0x20;
	a->off += 5 + !single + dict_bytes[flags & 3] + size_bytes[flags >> 6];
	if (single && !(flags >> 6))
		a->off++;
	do {
		rc = read_at(a, a->off, b, sizeof(b), err);
		if (rc < 0)
			return rc;
		block = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16;
		if ((block >> 1 & 3) == 3)
			return bad(a->img, "a broken block in its zstd frame", err);
		a->off += 3 + ((block >> 1 & 3) == 1 ? 1 : block >> 3);
	} while (!(block & 1));
	a->off += flags & 4 ? 4 : 0;
	return a->off > a->img->size ? sv_image_truncated(a->img, a->off, err) : 0;
}

/* --- xz: the footer must be there and agree with the header ------------------------------------ */

static int check_xz(struct at *a, struct sv_error *err)
{
	uint8_t head[12], foot[12], index;
	uint64_t end = a->img->size, size;
	int rc = read_at(a, a->off, head, sizeof(head), err);

	while (rc == 0 && end - a->off >= 24) {
		rc = read_at(a, end - 12, foot, sizeof(foot), err);
		if (rc == 0 && le32(foot + 8) == 0)
			end -= 4; /* padding */
		else
			break;
	}
	if (rc < 0)
		return rc;
	size = ((uint64_t)le32(foot + 4) + 1) * 4;
	if (end - a->off < 24 || memcmp(foot + 10, "YZ", 2) || memcmp(foot + 8, head + 6, 2) ||
		size > end - a->off - 24)
		return bad(a->img, "truncated, its xz stream has no end", err);
	rc = read_at(a, end - 12 - size, &index, 1, err);
	if (rc == 0 && index != 0)
		rc = bad(a->img, "truncated, its xz stream has no index", err);
	a->off = a->img->size;
	return rc;
}

/* --- lz4 (legacy frames): blocks up to the end of the file ------------------------------------- */

static int check_lz4(struct at *a, struct sv_error *err)
{
	uint8_t b[4];
	int rc = 0;

	a->off += 4;
	while (rc == 0 && a->off < a->img->size) {
		rc = read_at(a, a->off, b, sizeof(b), err);
		if (rc < 0 || le32(b) == 0x184c2102u || le32(b) == 0)
			break; /* the next frame, or padding */
		a->off += 4 + (uint64_t)le32(b);
		if (a->off > a->img->size)
			rc = sv_image_truncated(a->img, a->off, err);
	}
	return rc;
}

/* --- gzip ------------------------------------------------------------------------------------ */

#define INFLATE_BUFFER 65536u

static int inflate_to_end(struct at *a, z_stream *z, uint8_t *in, uint8_t *out,
	struct sv_error *err)
{
	uint64_t off = a->off;
	int rc = 0, zrc = Z_OK;

	while (rc == 0 && zrc != Z_STREAM_END) {
		if (z->avail_in == 0) {
			uint64_t n = a->img->size - off;

			if (n == 0)
				return bad(a->img, "truncated, its gzip stream has no end", err);
			n = n < INFLATE_BUFFER ? n : INFLATE_BUFFER;
			rc = read_at(a, off, in, n, err);
			z->next_in = in;
			z->avail_in = (uInt)n;
			off += n;
		}
		z->next_out = out;
		z->avail_out = INFLATE_BUFFER;
		zrc = rc == 0 ? inflate(z, Z_NO_FLUSH) : Z_OK;
		if (zrc != Z_OK && zrc != Z_STREAM_END && zrc != Z_BUF_ERROR)
			return bad(a->img, "damaged, its gzip stream does not unpack", err);
	}
	a->off = off - z->avail_in;
	return rc;
}

static int unpack_gzip(struct at *a, struct sv_error *err)
{
	uint8_t *buf = malloc(2 * INFLATE_BUFFER);
	z_stream z = {0};
	int rc;

	if (!buf || inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
		rc = sv_fail(err, ENOMEM, "out of memory");
	else
		rc = inflate_to_end(a, &z, buf, buf + INFLATE_BUFFER, err);
	inflateEnd(&z);
	free(buf);
	return rc;
}

/*
 * The last four bytes are the unpacked size. Archives come in blocks of 512 bytes, so a size that
 * fits is believed; otherwise unpacking decides.
 */
static int check_gzip(struct at *a, struct sv_error *err)
{
	uint64_t packed = a->img->size - a->off, size;
	uint8_t b[4];
	int rc;

	if (packed < 18)
		return sv_image_truncated(a->img, a->off + 18, err);
	rc = read_at(a, a->img->size - 4, b, sizeof(b), err);
	if (rc < 0)
		return rc;
	size = le32(b);
	if (size && size % 512 == 0 && size >= packed / 2 && size <= packed * 32) {
		a->off = a->img->size;
		return 0;
	}
	return unpack_gzip(a, err);
}

/* --- formats without a frame that could be followed: what can be seen at the end --------------- */

static int check_bzip2(struct at *a, struct sv_error *err)
{
	static const uint64_t end_mark = 0x177245385090ull;
	uint8_t tail[16];
	uint64_t bits = 0;
	int rc;

	if (a->img->size - a->off < 14)
		return sv_image_truncated(a->img, a->off + 14, err);
	rc = read_at(a, a->img->size - 14, tail, 14, err);
	a->off = a->img->size;
	for (unsigned i = 0; rc == 0 && i < 14 * 8; i++) {
		bits = bits << 1 | (tail[i / 8] >> (7 - i % 8) & 1);
		if (i >= 47 && (bits & 0xffffffffffffull) == end_mark)
			return 0;
	}
	return rc < 0 ? rc : bad(a->img, "truncated, its bzip2 stream has no end", err);
}

static int check_lzo(struct at *a, struct sv_error *err)
{
	uint8_t b[4];
	int rc = a->img->size - a->off < 38 ? sv_image_truncated(a->img, a->off + 38, err)
					    : read_at(a, a->img->size - 4, b, sizeof(b), err);

	if (rc == 0 && le32(b) != 0)
		rc = bad(a->img, "truncated, its lzo file has no end", err);
	a->off = a->img->size;
	return rc;
}

static int check_lzma(struct at *a, struct sv_error *err)
{
	(void)err; /* it does not say where it ends */
	a->off = a->img->size;
	return 0;
}

/* File system images, as initrds were before initramfs: they say how large they are. */
static int check_fs(struct at *a, const uint8_t *head, size_t n, struct sv_error *err)
{
	uint64_t need = 0;

	if (n >= 48 && !memcmp(head, "hsqs", 4))
		need = le32(head + 40) | (uint64_t)le32(head + 44) << 32;
	else if (n >= 16 && !memcmp(head, "-rom1fs-", 8))
		need = be32(head + 8);
	else if (n >= 8 && le32(head) == 0x28cd3d45u)
		need = le32(head + 4);
	else if (n >= 1084 && head[1080] == 0x53 && head[1081] == 0xef)
		need = (uint64_t)le32(head + 1028) << (10 + (le32(head + 1048) & 7));
	else
		return sv_fail(err, EINVAL,
			"initrd %s: not an initrd; expected a cpio archive, plain or compressed, or a "
			"file system image", a->img->path);
	if (need > a->img->size)
		return sv_image_truncated(a->img, need, err);
	a->off = a->img->size;
	return 0;
}

static const struct format {
	uint8_t magic[6];
	unsigned n;
	int (*check)(struct at *a, struct sv_error *err);
} formats[] = {
	{"070701", 6, check_cpio},
	{"070702", 6, check_cpio},
	{{0x28, 0xb5, 0x2f, 0xfd}, 4, check_zstd},
	{{0xfd, '7', 'z', 'X', 'Z', 0}, 6, check_xz},
	{{0x1f, 0x8b}, 2, check_gzip},
	{{0x02, 0x21, 0x4c, 0x18}, 4, check_lz4},
	{{'B', 'Z', 'h'}, 3, check_bzip2},
	{{0x89, 'L', 'Z', 'O'}, 4, check_lzo},
	{{0x5d, 0, 0}, 3, check_lzma},
};

/* Zeroes between archives. */
static int skip_padding(struct at *a, struct sv_error *err)
{
	uint8_t b[512];
	int rc = 0;

	while (rc == 0 && a->off < a->img->size) {
		uint64_t left = a->img->size - a->off;
		size_t n = left < sizeof(b) ? (size_t)left : sizeof(b), i = 0;

		rc = read_at(a, a->off, b, n, err);
		while (rc == 0 && i < n && b[i] == 0)
			i++;
		a->off += i;
		if (i < n)
			break;
	}
	return rc;
}

static int check_part(struct at *a, const uint8_t *head, size_t n, struct sv_error *err)
{
	for (unsigned i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (n >= formats[i].n && !memcmp(head, formats[i].magic, formats[i].n))
			return formats[i].check(a, err);
	return check_fs(a, head, n, err);
}

int sv_initrd_check(const struct sv_image *img, struct sv_error *err)
{
	struct at a = {.img = img};
	uint8_t head[1088];
	int rc = 0;

	/* Linux unpacks several archives in a row: microcode first, then the rest. */
	do {
		uint64_t left = img->size - a.off;
		size_t n = left < sizeof(head) ? (size_t)left : sizeof(head);

		rc = read_at(&a, a.off, head, n, err);
		if (rc == 0)
			rc = check_part(&a, head, n, err);
		if (rc == 0)
			rc = skip_padding(&a, err);
	} while (rc == 0 && a.off < img->size);
	return rc;
}
