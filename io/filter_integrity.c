/* SPDX-License-Identifier: BSD-3-Clause */
/* integrity: a checksum of each sector and its number; what rots, is lost or misplaced is noticed. */
#include <errno.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "filters.h"

static uint64_t sum(const uint8_t *sector, uint64_t number)
{
	uint64_t h = XXH3_64bits_withSeed(sector, SV_FILTER_SECTOR, number);

	return h ? h : 1;
}

static void tag(struct sv_blk_filter *f, struct sv_filter_request *r)
{
	(void)f;
	for (uint64_t i = 0; i < r->sectors; i++)
		r->tags[i] = sum(r->data + i * SV_FILTER_SECTOR, r->sector + i);
}

static int check(struct sv_blk_filter *f, struct sv_filter_request *r)
{
	(void)f;
	for (uint64_t i = 0; i < r->sectors; i++) {
		if (!r->tags[i] || r->tags[i] == sum(r->data + i * SV_FILTER_SECTOR, r->sector + i))
			continue;
		r->bad = r->sector + i;
		return -EBADMSG;
	}
	return 0;
}

static int create(struct sv_blk_filter **out, int file, uint64_t bytes, struct sv_error *err)
{
	(void)file;
	(void)bytes;
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : sv_fail(err, ENOMEM, "the node is out of memory");
}

static void destroy(struct sv_blk_filter *f)
{
	free(f);
}

const struct sv_blk_filter_class filter_integrity = {.name = "integrity",
	.tags = true,
	.create = create,
	.destroy = destroy,
	.tag = tag,
	.check = check};
