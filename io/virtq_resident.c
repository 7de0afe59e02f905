/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtq_private.h"

/* @n bytes at @host, which lie in one region of guest memory. */
static bool is_there(const struct sv_virtq *vq, const void *host, uint64_t n)
{
	uint64_t off;
	const struct sv_gmem_region *r = sv_gmem_region_of(vq->gmem, host, &off);

	return !r || sv_gmem_resident(vq->gmem, sv_gpa(r->gpa + off), n);
}

bool virtq_rings_resident(const struct sv_virtq *vq)
{
	bool there;

	if (!vq->gmem || !vq->gmem->residency)
		return true;
	/* All three are asked for at once. */
	there = is_there(vq, vq->desc, sv_virtq_desc_bytes(vq->size));
	there &= is_there(vq, vq->avail, sv_virtq_avail_bytes(vq->size, vq->packed));
	there &= is_there(vq, vq->used, sv_virtq_used_bytes(vq->size, vq->packed));
	return there;
}

bool virtq_chain_resident(const struct sv_virtq *vq, const struct sv_virtq_chain *c)
{
	bool there = true;

	for (unsigned i = 0; i < c->readable + c->writable; i++)
		there &= is_there(vq, c->iov[i].iov_base, c->iov[i].iov_len);
	return there;
}
