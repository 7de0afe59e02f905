/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory: the one door from a guest-physical address to a host pointer.
 *
 * A table of at most SV_GMEM_REGIONS regions, constant while it is in use. No other cast of a
 * guest address exists.
 */
#ifndef BASE_GMEM_H
#define BASE_GMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A guest-physical address: its own type, so that it is never mistaken for a number of bytes. */
typedef struct {
	uint64_t v;
} sv_gpa_t;

static inline sv_gpa_t sv_gpa(uint64_t v)
{
	return (sv_gpa_t){v};
}

#define SV_GMEM_REGIONS 64u

struct sv_gmem_region {
	uint64_t gpa;
	uint64_t size;
	uint8_t *host;
	int fd; /* memfd behind it, owned by whoever filled the table; -1: none */
	uint64_t fd_offset;
	/* Address of the region in the front end's process (vhost-user); unused elsewhere. */
	uint64_t user_addr;
	uint64_t id; /* of a session's regions no two have the same, ever (vhost-user); unused elsewhere */
};

/*
 * Memory that arrives while the guest runs (pager/). Whoever is about to touch guest memory through a
 * mapping of its own asks first: such a mapping would show zeroes where nothing has arrived.
 */
struct sv_residency {
	/*
	 * Is all of [gpa, gpa + bytes) there? If not it is fetched; ask again later. What is there
	 * stays. Context: any thread; never blocks.
	 */
	bool (*resident)(struct sv_residency *r, uint64_t gpa, uint64_t bytes);
};

struct sv_gmem {
	unsigned n;
	struct sv_residency *residency; /* NULL: all of it is there */
	struct sv_gmem_region region[SV_GMEM_REGIONS];
};

/*
 * Host pointer of [gpa, gpa + len). Context: any thread. Return: NULL unless the whole range lies
 * inside one region; len 0 is valid inside a region.
 */
static inline void *sv_gmem_ptr(const struct sv_gmem *gm, sv_gpa_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < gm->n; i++) {
		const struct sv_gmem_region *r = &gm->region[i];
		uint64_t off = gpa.v - r->gpa;

		if (off < r->size && len <= r->size - off)
			return r->host + off;
	}
	return NULL;
}

/*
 * Host pointer of the first bytes of [gpa, gpa + *len) that lie in one region; *len is cut to them.
 * Context: any thread. Return: NULL when gpa is in no region.
 */
static inline void *sv_gmem_span(const struct sv_gmem *gm, sv_gpa_t gpa, uint64_t *len)
{
	for (unsigned i = 0; i < gm->n; i++) {
		const struct sv_gmem_region *r = &gm->region[i];
		uint64_t off = gpa.v - r->gpa;

		if (off < r->size) {
			if (*len > r->size - off)
				*len = r->size - off;
			return r->host + off;
		}
	}
	return NULL;
}

/*
 * Where in guest memory @host is, a pointer that one of the functions above gave: its region, and in
 * *off how far from the region's start. Context: any thread. Return: NULL: in none of them.
 */
static inline const struct sv_gmem_region *sv_gmem_region_of(const struct sv_gmem *gm,
	const void *host, uint64_t *off)
{
	for (unsigned i = 0; i < gm->n; i++) {
		const struct sv_gmem_region *r = &gm->region[i];

		*off = (uint64_t)((uintptr_t)host - (uintptr_t)r->host);
		if (*off < r->size)
			return r;
	}
	return NULL;
}

/* May [gpa, gpa + len), found by the functions above, be touched now? See struct sv_residency. */
static inline bool sv_gmem_resident(const struct sv_gmem *gm, sv_gpa_t gpa, uint64_t len)
{
	return !gm->residency || gm->residency->resident(gm->residency, gpa.v, len);
}

#endif
