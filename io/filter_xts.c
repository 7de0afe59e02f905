/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * xts: AES-256-XTS, each sector of 512 bytes by its number (little-endian), as dm-crypt's
 * aes-xts-plain64 with a key of 512 bits. It hides, it does not authenticate: put integrity below it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include <base/library.h>

#include "filters.h"

#define LIBRARY "libcrypto.so.3"
#define KEY_BYTES 64
#define HEX_BYTES (2 * KEY_BYTES)

struct calls {
	const EVP_CIPHER *(*aes_256_xts)(void);
	EVP_CIPHER_CTX *(*new)(void);
	void (*free)(EVP_CIPHER_CTX *c);
	int (*init)(EVP_CIPHER_CTX *c, const EVP_CIPHER *cipher, ENGINE *engine,
		const unsigned char *key, const unsigned char *iv, int enc);
	int (*update)(EVP_CIPHER_CTX *c, unsigned char *out, int *n, const unsigned char *in, int bytes);
	void (*cleanse)(void *at, size_t n);
};

static const struct sv_library_call names[] = {
	{offsetof(struct calls, aes_256_xts), "EVP_aes_256_xts"},
	{offsetof(struct calls, new), "EVP_CIPHER_CTX_new"},
	{offsetof(struct calls, free), "EVP_CIPHER_CTX_free"},
	{offsetof(struct calls, init), "EVP_CipherInit_ex"},
	{offsetof(struct calls, update), "EVP_CipherUpdate"},
	{offsetof(struct calls, cleanse), "OPENSSL_cleanse"},
};

struct xts {
	struct sv_blk_filter f; /* first */
	const struct calls *ssl;
	EVP_CIPHER_CTX *way[2]; /* decrypt, encrypt */
};

/* Encrypt once: what the library sets up on first use is there before the process is confined. */
static bool warm_up(const struct calls *c)
{
	unsigned char key[KEY_BYTES] = {1}, sector[32] = {0};
	EVP_CIPHER_CTX *x = c->new();
	int n = 0;
	bool right = x && c->init(x, c->aes_256_xts(), NULL, key, sector, 1) == 1 &&
		     c->update(x, sector, &n, sector, sizeof(sector)) == 1;

	c->free(x);
	return right;
}

static const struct calls *library(void)
{
	static struct calls calls;
	static bool loaded;

	if (!loaded)
		loaded = sv_library_load(LIBRARY, names, sizeof(names) / sizeof(names[0]), &calls) &&
			 warm_up(&calls);
	return loaded ? &calls : NULL;
}

void filter_xts_preload(void)
{
	library();
}

/* --- the path -------------------------------------------------------------------------------- */

static int run_cipher(struct sv_blk_filter *f, struct sv_filter_request *r, int way)
{
	struct xts *x = (struct xts *)f;

	for (uint64_t i = 0; i < r->sectors; i++) {
		unsigned char *at = r->data + i * SV_FILTER_SECTOR, tweak[16] = {0};
		uint64_t number = r->sector + i;
		int n = 0;

		for (unsigned b = 0; b < 8; b++)
			tweak[b] = (unsigned char)(number >> 8 * b);
		if (x->ssl->init(x->way[way], NULL, NULL, NULL, tweak, way) != 1 ||
			x->ssl->update(x->way[way], at, &n, at, SV_FILTER_SECTOR) != 1 ||
			n != SV_FILTER_SECTOR)
			return -EIO;
	}
	return 0;
}

static int encode(struct sv_blk_filter *f, struct sv_filter_request *r)
{
	return run_cipher(f, r, 1);
}

static int decode(struct sv_blk_filter *f, struct sv_filter_request *r)
{
	return run_cipher(f, r, 0);
}

/* --- life ------------------------------------------------------------------------------------ */

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 64 bytes, or 128 hexadecimal digits on one line. */
static int read_key(int file, unsigned char key[KEY_BYTES], const struct calls *ssl,
	struct sv_error *err)
{
	char text[HEX_BYTES + 2];
	ssize_t n = pread(file, text, sizeof(text), 0);
	bool hex = n == HEX_BYTES || (n == HEX_BYTES + 1 && text[HEX_BYTES] == '\n');

	if (n == KEY_BYTES)
		memcpy(key, text, KEY_BYTES);
	for (int i = 0; hex && i < KEY_BYTES; i++) {
		int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

		hex = high >= 0 && low >= 0;
		key[i] = hex ? (unsigned char)(high << 4 | low) : 0;
	}
	ssl->cleanse(text, sizeof(text));
	if (n == KEY_BYTES || hex)
		return 0;
	return sv_fail(err, EINVAL, "xts: its key is a file of 64 random bytes, or of 128 hexadecimal "
		       "digits; make one with `head -c 64 /dev/random`");
}

static void destroy(struct sv_blk_filter *f)
{
	struct xts *x = (struct xts *)f;

	for (unsigned i = 0; i < 2; i++)
		if (x->way[i])
			x->ssl->free(x->way[i]);
	free(x);
}

static int create(struct sv_blk_filter **out, int file, uint64_t bytes, struct sv_error *err)
{
	const struct calls *ssl = library();
	unsigned char key[KEY_BYTES];
	struct xts *x;
	int rc;

	(void)bytes;
	if (fcntl(file, F_GET_SEALS) < 0) /* reading another kind of file might wait for its owner */
		return sv_fail(err, EINVAL, "xts: its key is not in a memfd");
	if (!ssl)
		return sv_fail(err, ENOENT, "xts needs " LIBRARY "; install the package libssl3");
	rc = read_key(file, key, ssl, err);
	x = rc < 0 ? NULL : calloc(1, sizeof(*x));
	if (!x)
		return rc < 0 ? rc : sv_fail(err, ENOMEM, "the node is out of memory");
	x->ssl = ssl;
	for (int i = 0; i < 2 && rc == 0; i++) {
		x->way[i] = ssl->new();
		if (!x->way[i] || ssl->init(x->way[i], ssl->aes_256_xts(), NULL, key, NULL, i) != 1)
			rc = sv_fail(err, EINVAL, "xts: OpenSSL refuses this key; its halves must differ");
	}
	ssl->cleanse(key, sizeof(key));
	if (rc < 0)
		destroy(&x->f);
	else
		*out = &x->f;
	return rc;
}

const struct sv_blk_filter_class filter_xts = {.name = "xts",
	.opaque = true,
	.create = create,
	.destroy = destroy,
	.encode = encode,
	.decode = decode};
