/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the bytes of a disk are: a raw image or block device (blk_raw.c), a remote export
 * (blk_nbd.c), or logical devices stacked on one of them (blk_stack.c).
 *
 * A store performs operations that its user describes and owns. The polling thread begins any number
 * of them, submits the batch, and reaps what has ended; nothing blocks. Operations in flight have no
 * order among each other, with one exception that a disk needs: a flush covers every write whose
 * done() was called before the flush was begun.
 */
#ifndef IO_BLK_STORE_H
#define IO_BLK_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <base/error.h>
#include <base/gmem.h>

#define BLK_SECTOR 512u
/*
 * Operations in flight at most, the user keeps to it: 256 requests, a flush of the device's own, a look
 * at a suspect region, the map of a side file.
 */
#define BLK_STORE_DEPTH 259u

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_ZEROES };

#define BLK_IO_FUA 1u	/* durable when done() is called */
#define BLK_IO_UNMAP 2u /* BLK_ZEROES: storage may be given back */

struct blk_io {
	/* The user's, until done(). */
	enum blk_op op;
	uint32_t flags;	     /* BLK_IO_* */
	uint64_t offset, bytes; /* whole sectors inside the geometry; of all but a flush */
	/*
	 * The data, @bytes in all; reads and writes. The store may change the pieces as it goes; what
	 * they point to it changes only for a read.
	 */
	struct iovec *iov;
	unsigned niov;
	/*
	 * It ended: 0 or -errno. Called once, by reap() and never from begin(); may begin others.
	 * A read that failed may have left any bytes.
	 */
	void (*done)(struct blk_io *io, int result);

	/* The store's, from begin() to done(). */
	struct blk_io *next;
	uint64_t at, left;
	void *priv;
	int mode;
	uint16_t bounce;
	uint8_t step, retries;
};

/* Constant while the store is polled: the control thread changes it, operations may be in flight. */
struct blk_geometry {
	uint64_t bytes;		    /* whole sectors */
	uint32_t physical;	    /* bytes that are written without reading first: 512 times 2^n */
	uint32_t min_io, opt_io;    /* bytes; 0: not known */
	uint32_t discard_align;	    /* bytes */
	bool readonly, discard, zeroes; /* zeroes: BLK_ZEROES may work; discard: the same */
};

/* Written by the polling thread, read by anyone (relaxed). */
struct blk_store_counters {
	uint64_t continued; /* transfers that went in pieces */
	uint64_t bounced;   /* operations through a buffer of our own */
	uint64_t submits;   /* system calls that submitted something */
	uint64_t pinned, polled; /* transfers in pinned memory; whose completions were polled for */
	uint64_t reconnects, retried; /* of a remote store: connections after the first, operations repeated */
};

struct blk_store;

struct blk_store_ops {
	const char *name;
	/* Context of these: polling thread; none blocks. */
	void (*begin)(struct blk_store *s, struct blk_io *io);
	/* Give to the kernel what was begun. Return: something is left for the next turn. */
	bool (*submit)(struct blk_store *s);
	unsigned (*reap)(struct blk_store *s); /* call done() of what has ended. Return: how many */
	/*
	 * Before a sleep: drain the wake descriptors, look once more. Return: there is something to reap
	 * or submit; false: a wake descriptor becomes readable when there is.
	 */
	bool (*pending)(struct blk_store *s);
	/* Context of these: control thread, not polled. NULL: nothing to do. */
	/*
	 * The guest's memory is this from now on, and is to be pinned by pin(); operations may be in flight
	 * in what stays. Brief. Return: 0, or -errno and none is: -EBUSY where it arrives while the guest
	 * runs.
	 */
	int (*memory)(struct blk_store *s, const struct sv_gmem *gmem);
	/*
	 * pin_fd is readable: pin or unpin a piece of what memory() was given last and is still mapped.
	 * Beside the polling thread. Takes as long as making a piece resident (64 MiB, or one page of the
	 * guest's where that is larger); there is more to do while pin_fd is readable. Return: 0, or -errno
	 * once, and none is.
	 */
	int (*pin)(struct blk_store *s);
	/*
	 * Keep @sock open until the kernel is done with the last operation, even if this process ends.
	 * Return: 0 or -errno.
	 */
	int (*hold)(struct blk_store *s, int sock);
	/* Have @bytes from now on, 0: as many as there are. Return: 0, or -errno with a sentence. */
	int (*resize)(struct blk_store *s, uint64_t bytes, struct sv_error *err);
	/* What is in flight is not told any more, and the memory that it was given has to stay. */
	void (*close)(struct blk_store *s);
};

struct blk_store {
	const struct blk_store_ops *ops;
	struct blk_geometry geometry;
	int wake_fd[2]; /* readable when pending() may have changed; -1: unused. Constant. */
	int pin_fd;	/* an eventfd, the store's own, not of those that are slept on; -1: pins nothing */
	struct blk_store_counters counts;
};

/*
 * A regular file or block device through io_uring. @fd: locked, opened O_DIRECT or not; the store's
 * own on success. Context: control thread. Return: 0, or -errno with a sentence.
 */
#define BLK_RAW_READONLY 1u
#define BLK_RAW_DISCARD 2u
#define BLK_RAW_IOPOLL 4u /* poll for completions where the storage can (O_DIRECT only) */
#define BLK_RAW_PINNED 8u /* memory() and pin() will be used */
int blk_raw_open(struct blk_store **out, int fd, uint32_t flags, const char *name,
	struct sv_error *err);

static inline void blk_count(uint64_t *counter, uint64_t by)
{
	__atomic_store_n(counter, *counter + by, __ATOMIC_RELAXED);
}

/*
 * Move @n bytes between the front of the pieces and @flat, which may be NULL, and drop them from the
 * pieces. Return: false when there were fewer.
 */
enum blk_move { BLK_FROM_PIECES, BLK_TO_PIECES };
bool blk_pieces_move(struct iovec **iov, unsigned *niov, void *flat, size_t n, enum blk_move way);

#endif
