/* SPDX-License-Identifier: BSD-3-Clause */
/* What is asked for next: what somebody waits for, then the hot list, then everything else. */
#include "private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORDS_PER_TURN 1024u /* of the map, when looking for what is missing */

bool order_demand(struct unit *u, uint64_t page)
{
	if (u->demands == DEMANDS)
		return false;
	u->demand[(u->demand_head + u->demands++) % DEMANDS] = page;
	return true;
}

static bool absent(const struct unit *u, uint64_t page)
{
	return !bit(u->present, page) && !bit(u->flying, page);
}

/* The largest run of absent pages around @page inside the aligned block of the present size. */
static void run_around(const struct unit *u, uint64_t page, uint64_t *from, uint64_t *pages)
{
	uint64_t block = 1ull << u->size, low = page & ~(block - 1), high = low + block;

	if (high > u->pages)
		high = u->pages;
	*from = page;
	while (*from > low && absent(u, *from - 1))
		(*from)--;
	for (*pages = page - *from + 1; *from + *pages < high && absent(u, *from + *pages);)
		(*pages)++;
}

/* Whoever waits for a page that was asked for already: that piece is inserted before others. */
static void mark_demanded(struct unit *u, uint64_t page)
{
	for (unsigned i = 0; i < FETCHES; i++) {
		struct fetch *f = &u->fetch[i];

		if (f->state == FETCH_FREE || page - f->page >= f->pages)
			continue;
		if (!f->demand)
			f->first = page;
		f->demand = true;
		return;
	}
}

static bool start_demand(struct unit *u)
{
	uint64_t page = u->demand[u->demand_head], from, pages;

	if (absent(u, page)) {
		run_around(u, page, &from, &pages);
		if (fetch_begin(u, from, pages, page) < 0)
			return false;
		u->cursor = from + pages; /* the neighbours are likely to come next */
	} else if (!bit(u->present, page)) {
		mark_demanded(u, page);
	}
	u->demand_head = (u->demand_head + 1) % DEMANDS;
	u->demands--;
	return true;
}

/* The next hot page that is absent. Ranges are taken off as they are used. */
static uint64_t next_hot(struct unit *u)
{
	while (u->hot_at < u->hots) {
		struct sv_pager_range *r = &u->hot[u->hot_at];

		for (unsigned n = 0; r->bytes && n < WORDS_PER_TURN; n++, r->offset++, r->bytes--)
			if (absent(u, r->offset))
				return r->offset;
		if (r->bytes)
			return NO_PAGE; /* goes on in the next turn */
		u->hot_at++;
	}
	return NO_PAGE;
}

/* The next absent page at or after the cursor, a bounded way. */
static uint64_t next_ahead(struct unit *u)
{
	for (unsigned n = 0; n < WORDS_PER_TURN; n++) {
		uint64_t word, at;

		if (u->cursor >= u->pages)
			u->cursor = 0;
		at = u->cursor / 64;
		word = ~(u->present[at] | u->flying[at]) & ~0ull << u->cursor % 64;
		if (word) {
			u->cursor = at * 64 + (uint64_t)__builtin_ctzll(word);
			if (u->cursor < u->pages)
				return u->cursor;
		}
		u->cursor = (at + 1) * 64;
	}
	return NO_PAGE;
}

/* While somebody waits, one request ahead goes on: the source may do one thing at a time. */
static bool start_ahead(struct unit *u)
{
	unsigned ahead = fetch_count(u, false), waiting = fetch_count(u, true);
	uint64_t page, from, pages;

	if (u->demands || ahead >= (waiting ? 1 : AHEAD))
		return false;
	page = next_hot(u);
	if (page == NO_PAGE && u->hot_at == u->hots && !(u->flags & SV_PAGER_F_NO_PREFETCH))
		page = next_ahead(u);
	if (page == NO_PAGE)
		return false;
	run_around(u, page, &from, &pages);
	return fetch_begin(u, from, pages, NO_PAGE) == 0;
}

bool order_start(struct unit *u)
{
	bool did = false;

	while (u->state == UNIT_RUNNING && u->demands && start_demand(u))
		did = true;
	for (unsigned i = 0; i < AHEAD && u->state == UNIT_RUNNING && start_ahead(u); i++)
		did = true;
	return did;
}

/*
 * Twice the size for hardly more time: larger from now on. For much more time: smaller. So a source
 * with a long way asks for much at once, and one that is near keeps who waits waiting for little.
 */
void order_learn(struct unit *u, unsigned size, uint64_t ns)
{
	uint64_t *t = &u->took_ns[size], smaller;

	*t = *t ? *t - *t / 4 + ns / 4 : ns;
	if (size != u->size)
		return;
	smaller = size ? u->took_ns[size - 1] : 0;
	if ((!smaller || *t < smaller + smaller / 2) && size < u->size_max)
		u->size++;
	else if (size && smaller && *t > 3 * smaller)
		u->size--;
}

int order_take_hot(struct unit *u, int fd, struct sv_error *err)
{
	const uint64_t end = u->offset + u->pages * PAGE;
	struct sv_pager_range *all, r;
	struct stat st;
	uint64_t n;

	if (fstat(fd, &st) < 0 || st.st_size < 0)
		return sv_fail(err, errno, "PAGER: the hot list: %s", strerror(errno));
	n = (uint64_t)st.st_size / sizeof(r);
	if (n > SV_PAGER_HOT_MAX || (uint64_t)st.st_size % sizeof(r))
		return sv_fail(err, EINVAL, "PAGER: a hot list of %lld bytes", (long long)st.st_size);
	all = calloc(n ? n : 1, sizeof(*all));
	if (!all)
		return sv_fail(err, ENOMEM, "the node is out of memory");
	for (uint64_t i = 0; i < n; i++) {
		if (pread(fd, &r, sizeof(r), (off_t)(i * sizeof(r))) != sizeof(r) ||
			r.offset % PAGE || r.bytes % PAGE || r.offset + r.bytes < r.offset) {
			free(all);
			return sv_fail(err, EINVAL, "PAGER: range %llu of the hot list",
				(unsigned long long)i);
		}
		if (r.offset < u->offset) {
			uint64_t cut = u->offset - r.offset;

			r.bytes = r.bytes > cut ? r.bytes - cut : 0;
			r.offset = u->offset;
		}
		if (r.offset >= end)
			continue;
		if (r.bytes > end - r.offset)
			r.bytes = end - r.offset;
		if (r.bytes)
			all[u->hots++] = (struct sv_pager_range){
				.offset = (r.offset - u->offset) / PAGE, .bytes = r.bytes / PAGE};
	}
	u->hot = all;
	return 0;
}
