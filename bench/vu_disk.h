/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest's disk driver without a guest: a vhost-user front end that reads one virtio-blk device of a
 * node service, by polling. What is measured through it needs no KVM, and no scheduler of a guest
 * kernel stands between a request and its latency.
 */
#ifndef BENCH_VU_DISK_H
#define BENCH_VU_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>
#include <base/histogram.h>

#define VU_DISK_DEPTH 256u /* requests outstanding at most: one split queue, indirect tables */
#define VU_DISK_BLOCK 4096u
#define VU_DISK_SAMPLES 1024u /* of a window; more are not kept */

/* Memory that up to four devices of one guest share. */
struct vu_memory_map {
	int fd;
	uint8_t *base;
	uint64_t bytes;
};

struct vu_disk {
	int sock, kick;
	int inflight; /* where the service records what is out; -1: nowhere */
	uint64_t inflight_bytes;
	uint64_t out[VU_DISK_DEPTH / 64]; /* a bit for each request: what comes back without one is an error */
	uint8_t *base;	 /* guest-physical 0 */
	uint64_t at;	 /* where this device's part begins */
	uint64_t blocks; /* that reads are spread over */
	uint64_t random;
	uint16_t avail_idx, used_seen;
	uint16_t free[VU_DISK_DEPTH];
	unsigned nfree;
	uint64_t posted_ns[VU_DISK_DEPTH], block[VU_DISK_DEPTH];

	/* How it asks: so many at a time, or one about every so often; 0 and 0: it is quiet. */
	unsigned depth;
	uint64_t every_ns, next_ns;

	uint64_t done, kept_done, errors, kicks; /* since the last vu_disk_mark() */
	struct sv_histogram latency;  /* ditto, of what was kept */
	uint64_t window_done;	      /* in the window in hand */
	/* What the window in hand measured so far. */
	struct {
		uint64_t posted_ns, ns;
	} sample[VU_DISK_SAMPLES];
	unsigned nsamples;
};

int vu_memory_open(struct vu_memory_map *m, unsigned devices, struct sv_error *err);
void vu_memory_close(struct vu_memory_map *m);

/*
 * Connect to the device at @socket and start its queue in part @part of the memory. @blocks: reads go
 * to that many, each of which begins with its number. Return: 0, or -errno with a sentence.
 */
int vu_disk_open(struct vu_disk *d, const char *socket, const struct vu_memory_map *m, unsigned part,
	uint64_t blocks, struct sv_error *err);
void vu_disk_close(struct vu_disk *d);
/*
 * The service ended: wait for the end of the connection, then connect to the next one at @socket, which
 * takes up what is out. Return: 0; -errno with a sentence; -ENOENT or -ECONNREFUSED: it is not there yet.
 */
int vu_disk_reopen(struct vu_disk *d, const char *socket, const struct vu_memory_map *m,
	struct sv_error *err);

/* Take completions, post what it asks. Context: one thread; does not block. */
void vu_disk_poll(struct vu_disk *d, uint64_t now_ns);
static inline unsigned vu_disk_out(const struct vu_disk *d)
{
	return VU_DISK_DEPTH - d->nfree;
}
/*
 * The window ends: what was done in it counts as kept or does not; its samples if they began after
 * @since_ns, too. Return: how many do not.
 */
unsigned vu_disk_keep(struct vu_disk *d, bool keep, uint64_t since_ns);
/* Forget what was counted. */
void vu_disk_mark(struct vu_disk *d);

#endif
