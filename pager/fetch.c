/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests to the source, and the pages that come back into the guest. */
#include "private.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>

static void set_bits(uint64_t *map, uint64_t from, uint64_t n, bool on)
{
	for (; n; from++, n--) {
		uint64_t mask = 1ull << from % 64, *word = &map[from / 64];

		sv_store_release(word, on ? *word | mask : *word & ~mask);
	}
}

unsigned fetch_count(const struct unit *u, bool demand)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FETCHES; i++)
		n += u->fetch[i].state == FETCH_READING && u->fetch[i].demand == demand;
	return n;
}

static int ask(struct unit *u, struct fetch *f)
{
	struct sv_error err = {""};
	int rc;

	f->have = 0;
	f->since_ns = now_ns();
	rc = u->source->begin(u, f, &err);
	if (rc < 0 && rc != -EAGAIN)
		unit_lost(u, "%s", err.text);
	if (rc == 0)
		count(&u->counts.requests, 1);
	return rc;
}

int fetch_begin(struct unit *u, uint64_t page, uint64_t pages, uint64_t first)
{
	struct fetch *f = NULL;
	int rc;

	for (unsigned i = 0; i < FETCHES && !f; i++)
		if (u->fetch[i].state == FETCH_FREE)
			f = &u->fetch[i];
	if (!f)
		return -EAGAIN;
	f->page = page;
	f->pages = pages;
	f->first = first;
	f->next = page;
	f->demand = first != NO_PAGE;
	f->tries = 0;
	f->state = FETCH_READING;
	rc = ask(u, f);
	if (rc < 0) {
		f->state = FETCH_FREE;
		return rc;
	}
	count(&u->counts.demanded, f->demand);
	set_bits(u->flying, page, pages, true);
	return 0;
}

static unsigned size_of(uint64_t pages)
{
	return 63u - (unsigned)__builtin_clzll(pages);
}

void fetch_arrived(struct unit *u, struct fetch *f)
{
	if (!(f->pages & (f->pages - 1)))
		order_learn(u, size_of(f->pages), now_ns() - f->since_ns);
	count(&u->counts.bytes, f->pages * PAGE);
	f->state = FETCH_ARRIVED;
}

void fetch_check_deadlines(struct unit *u)
{
	uint64_t now = now_ns(), limit = u->timeout_ms * 1000000ull;

	for (unsigned i = 0; i < FETCHES && u->state == UNIT_RUNNING; i++) {
		const struct fetch *f = &u->fetch[i];
		uint64_t waits = now - f->since_ns;

		if (f->state == FETCH_READING && waits > limit &&
			(now - u->heard_ns > limit || waits > FETCHES * limit))
			unit_lost(u, "no answer within %u ms to a request for %llu KiB at offset %#llx",
				u->timeout_ms, (unsigned long long)(f->pages * PAGE >> 10),
				(unsigned long long)(u->offset + f->page * PAGE));
	}
}

/* --- into the guest -------------------------------------------------------------------------- */

static void arrived_in_guest(struct unit *u, uint64_t page, uint64_t n)
{
	if (!n)
		return;
	set_bits(u->present, page, n, true);
	count(&u->counts.present, n);
}

/* What @error of UFFDIO_COPY at @page means. */
static void cannot_insert(struct unit *u, uint64_t page, int error)
{
	switch (error) {
	case EAGAIN:
	case EINTR:
		return; /* the next turn */
	case ENOENT:
	case ESRCH:
	case EBADF:
		unit_end(u, UNIT_GONE); /* the VM ends */
		return;
	case EEXIST:
		unit_lost(u, "guest memory at offset %#llx was touched before it arrived, past the pager",
			(unsigned long long)(u->offset + page * PAGE));
		return;
	case ENOMEM:
	case ENOSPC:
		unit_lost(u, "this machine has no memory left for the guest's");
		return;
	default:
		unit_lost(u, "the kernel takes no page at offset %#llx: %s",
			(unsigned long long)(u->offset + page * PAGE), strerror(error));
	}
}

/* Insert [page, page + n) of @f, none of them present. Return: how many went in. */
static uint64_t insert(struct unit *u, const struct fetch *f, uint64_t page, uint64_t n)
{
	struct uffdio_copy c = {.dst = u->user_addr + page * PAGE,
		.src = (uintptr_t)(f->buffer + (page - f->page) * PAGE),
		.len = n * PAGE};
	uint64_t done;
	int error = 0;

	if (ioctl(u->uffd, UFFDIO_COPY, &c) < 0)
		error = errno;
	done = c.copy > 0 ? (uint64_t)c.copy / PAGE : 0;
	arrived_in_guest(u, page, done);
	if (error && !done)
		cannot_insert(u, page, c.copy < 0 ? (int)-c.copy : error);
	return done;
}

static void finish(struct unit *u, struct fetch *f)
{
	set_bits(u->flying, f->page, f->pages, false);
	f->state = FETCH_FREE;
}

/* At most @budget pages of @f. Return: how many. */
static uint64_t insert_some(struct unit *u, struct fetch *f, uint64_t budget)
{
	uint64_t end = f->page + f->pages, total = 0;

	if (f->first != NO_PAGE) {
		if (!bit(u->present, f->first) && insert(u, f, f->first, 1) == 0)
			return 0;
		f->first = NO_PAGE;
		total++;
	}
	while (f->next < end && total < budget) {
		uint64_t n = 0, done;

		if (bit(u->present, f->next)) {
			f->next++;
			continue;
		}
		while (f->next + n < end && n < budget - total && !bit(u->present, f->next + n))
			n++;
		done = insert(u, f, f->next, n);
		if (!done)
			return total;
		f->next += done;
		total += done;
	}
	if (f->next == end)
		finish(u, f);
	return total;
}

bool fetch_insert(struct unit *u, unsigned budget)
{
	uint64_t left = budget;

	for (int demand = 1; demand >= 0; demand--)
		for (unsigned i = 0; i < FETCHES && left && u->state == UNIT_RUNNING; i++) {
			struct fetch *f = &u->fetch[i];
			uint64_t n;

			if (f->state != FETCH_ARRIVED || f->demand != demand)
				continue;
			n = insert_some(u, f, left);
			left -= n < left ? n : left;
		}
	return left < budget;
}

void fetch_again(struct unit *u, uint64_t page)
{
	struct uffdio_zeropage z = {.range = {.start = u->user_addr + page * PAGE, .len = PAGE}};
	struct uffdio_range r = z.range;

	if (ioctl(u->uffd, UFFDIO_ZEROPAGE, &z) < 0)
		ioctl(u->uffd, UFFDIO_WAKE, &r);
}
