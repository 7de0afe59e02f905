/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the pager share. A unit belongs to its sidecore's thread once it is polled. */
#ifndef PAGER_PRIVATE_H
#define PAGER_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <base/error.h>
#include <base/gmem.h>
#include <channels/atomics.h>
#include <channels/control.h>
#include <channels/memory_source.h>
#include <channels/poller.h>

#define PAGE 4096ull
#define FETCHES 16u   /* requests to the source at a time */
#define AHEAD 4u      /* of these, for nobody in particular */
#define DEMANDS 64u   /* pages that somebody waits for, not asked for yet */
#define WANTS 32u     /* the same, by devices of other threads: slots */
#define SIZES 10u     /* of a request: 4 KiB << 0 to 9 */
#define TRIES 3u      /* of a piece whose checksum is wrong */
#define NO_PAGE UINT64_MAX

/* One request to the source, and the pages it brings. */
struct fetch {
	enum { FETCH_FREE = 0, FETCH_READING, FETCH_ARRIVED } state;
	bool demand;	/* somebody waits for one of its pages */
	unsigned tries;
	uint64_t page, pages; /* of the unit */
	uint64_t first;	      /* the page that is waited for: inserted first; NO_PAGE: none */
	uint64_t next;	      /* to be inserted next */
	uint64_t have;	      /* bytes that a socket brought so far */
	uint64_t since_ns;
	uint8_t *buffer; /* SV_SOURCE_BYTES_MAX */
};

struct unit;

/* Where pages come from. Context: begin, look: the polling thread, never block. */
struct source_ops {
	/* Start reading @f. Return: 0, -EAGAIN: not now, or -errno with a sentence: the source is lost. */
	int (*begin)(struct unit *u, struct fetch *f, struct sv_error *err);
	/* Make what has come FETCH_ARRIVED. Return: did something, or -errno with a sentence: it is lost. */
	int (*look)(struct unit *u, struct sv_error *err);
	/*
	 * Everything is there: was the source the same from beginning to end?
	 * Return: 1 yes, 0 not known yet, or -errno with a sentence.
	 */
	int (*same)(struct unit *u, struct sv_error *err);
	/* Return: 0, or -EBUSY: it may still write into buffers, which are never freed then. */
	int (*close)(struct unit *u);
};

int source_file_open(struct unit *u, int fd, struct sv_error *err);
int source_socket_open(struct unit *u, int fd, struct sv_error *err);

enum unit_state { UNIT_RUNNING = 0, UNIT_ENDING, UNIT_DONE, UNIT_LOST, UNIT_GONE };

struct unit {
	struct sv_poller poller; /* first */
	struct sv_poller_host *host;
	struct pager *pager;
	bool polled;
	uint32_t number, flags, timeout_ms;
	uint64_t generation;
	uint64_t offset, user_addr, pages;
	struct {
		uint64_t gpa, bytes, page;
	} piece[SV_PAGER_PIECES];
	int uffd, memfd, report;
	int source_fd; /* -1: nothing is asked of it any more */
	int wake_fd; /* an epoll of what wakes the sidecore: faults, the source, devices */

	/* The source. */
	const struct source_ops *source;
	void *source_data;
	int source_wake; /* readable when something came; -1: none */

	/* The polling thread's, once it is polled. */
	unsigned state; /* enum unit_state; read by others (acquire); unit_end() */
	unsigned turn;
	bool plain_read; /* this kernel has no other for a userfaultfd */
	uint64_t *present; /* written here, read by devices of any thread */
	uint64_t *flying;  /* part of a fetch */
	struct fetch fetch[FETCHES];
	uint8_t *buffers;
	uint64_t demand[DEMANDS];
	unsigned demand_head, demands;
	struct sv_pager_range *hot; /* in pages of the unit; taken in order */
	unsigned hots, hot_at;
	uint64_t cursor; /* where looking ahead goes on */
	unsigned size, size_max; /* log2 of pages of a request */
	uint64_t took_ns[SIZES]; /* smoothed, of a request of that size */
	uint64_t started_ns, reported_ns, heard_ns; /* heard: of the source, last */
	bool owes_report; /* the last one did not fit into the socket */
	struct sv_pager_counts counts; /* written here, read relaxed by others */
	char why[256]; /* UNIT_LOST */

	/* Written by devices of any thread. */
	uint64_t want[WANTS]; /* page + 1; 0: free */
	uint32_t wanted;      /* something may be in want[] */
	uint32_t sleeping;    /* write want_fd after filling one */
	int want_fd;
};

struct pager {
	struct sv_residency residency; /* first */
	struct unit *unit[64];
	unsigned units;
};

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static inline void count(uint64_t *counter, uint64_t by)
{
	sv_store_relaxed(counter, *counter + by);
}

static inline bool bit(const uint64_t *map, uint64_t i)
{
	return map[i / 64] >> i % 64 & 1;
}

static inline bool unit_present(const struct unit *u, uint64_t page)
{
	return sv_load_acquire(&u->present[page / 64]) >> page % 64 & 1;
}


/* unit.c: the poller. */
extern const struct sv_poller_ops unit_ops;
/* DONE, LOST or GONE: the source is let go, and what it does from now on wakes nobody. */
void unit_end(struct unit *u, enum unit_state how);
/* It cannot go on: the VM process is told, and stops the guest. */
void unit_lost(struct unit *u, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* fetch.c: requests and what they bring. */
/* Ask for @pages from @page on. Return: 0, -EAGAIN: no room. A lost source has been reported. */
int fetch_begin(struct unit *u, uint64_t page, uint64_t pages, uint64_t first);
/* Insert at most @budget pages that arrived. Return: did something. */
bool fetch_insert(struct unit *u, unsigned budget);
/* What @f asked for has come. */
void fetch_arrived(struct unit *u, struct fetch *f);
/*
 * A request of too long ago loses the source: while it says nothing at all; or, however much it says, once
 * all the others could have been answered one after the other.
 */
void fetch_check_deadlines(struct unit *u);
unsigned fetch_count(const struct unit *u, bool demand);
/* Somebody touched a page that is there, or was and has been given back: go on, with zeroes then. */
void fetch_again(struct unit *u, uint64_t page);

/* order.c: what is asked for next. */
/* Somebody waits for @page. Return: false: no room, say it again. */
bool order_demand(struct unit *u, uint64_t page);
/* Start what there is room for. Return: did something. */
bool order_start(struct unit *u);
/* A request of 4 KiB << @size took so long: is a larger one worth it? */
void order_learn(struct unit *u, unsigned size, uint64_t ns);
/* Foreign ranges of @fd, copied and checked. Return: 0, or -errno with a sentence. */
int order_take_hot(struct unit *u, int fd, struct sv_error *err);

#endif
