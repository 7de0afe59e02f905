/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory that comes from another process: the protocol of `--memory-source unix=PATH`, and
 * what the pager tells the VM process. docs/pager.md is the text for the author of a source.
 *
 * A stream socket. The pager asks, the source answers each request once, in any order. Numbers are
 * little-endian. The memory of a source is one piece of `size` bytes, the guest's RAM in order:
 * what lies below 3 GiB, then what lies from 4 GiB up. It does not change while a guest reads it;
 * the generation tells one memory from another.
 *
 *   HELLO  first; offset and bytes are 0. Reply: offset is the size, bytes the most that one READ may
 *          ask for (a multiple of 4096), no data.
 *   READ   offset and bytes are multiples of 4096. Reply: the same tag, offset and bytes, then the
 *          bytes; or a status and bytes 0.
 *
 * check is XXH3_64bits_withSeed(data, bytes, offset), so that right bytes of a wrong place are found.
 */
#ifndef CHANNELS_MEMORY_SOURCE_H
#define CHANNELS_MEMORY_SOURCE_H

#include <assert.h>
#include <stdint.h>

#define SV_SOURCE_MAGIC 0x534d5653u /* "SVMS" */
#define SV_SOURCE_VERSION 1u
#define SV_SOURCE_PAGE 4096u
#define SV_SOURCE_BYTES_MAX (2u << 20) /* of one READ */

enum sv_source_op { SV_SOURCE_HELLO = 1, SV_SOURCE_READ = 2 };

struct sv_source_request {
	uint32_t magic;
	uint16_t version, op;
	uint64_t tag; /* the pager's; comes back */
	uint64_t offset;
	uint32_t bytes;
	uint32_t reserved0; /* 0 */
};

struct sv_source_reply {
	uint32_t magic;
	uint16_t version, op;
	uint64_t tag;
	uint64_t offset;
	uint32_t bytes;
	uint32_t status; /* 0, or a positive errno */
	uint64_t generation;
	uint64_t check;
};

/* The generation of a source that is a file: as long as it is the same, nobody wrote to it. */
static inline uint64_t sv_source_file_generation(uint64_t inode, uint64_t bytes, int64_t mtime_s,
	uint32_t mtime_ns)
{
	const uint64_t odd = 0x9e3779b97f4a7c15ull;
	uint64_t g = (uint64_t)mtime_s * 1000000000ull + mtime_ns;

	g = (g ^ g >> 32) * odd + bytes;
	g = (g ^ g >> 32) * odd + inode;
	return g ^ g >> 32;
}

static_assert(sizeof(struct sv_source_request) == 32, "wire format");
static_assert(sizeof(struct sv_source_reply) == 48, "wire format");

/* --- from the pager to the VM process: one message each, over a SEQPACKET socket ---------------- */

#define SV_PAGER_MAGIC 0x47505653u /* "SVPG" */

enum sv_pager_kind {
	SV_PAGER_PROGRESS = 1,
	SV_PAGER_DONE = 2, /* every page of this unit is there */
	SV_PAGER_LOST = 3, /* it cannot go on: text says why */
};

struct sv_pager_counts {
	uint64_t pages;	     /* of the unit */
	uint64_t present;    /* that are there */
	uint64_t own;	     /* that were there at the start: the kernel and its tables */
	uint64_t faults;     /* of vCPUs and of the VM process */
	uint64_t waits;	     /* pages that a device asked for */
	uint64_t requests;   /* to the source */
	uint64_t demanded;   /* of these, because somebody waited */
	uint64_t bytes;	     /* from the source */
	uint64_t elapsed_ns; /* since the start, up to the last page */
};

struct sv_pager_report {
	uint32_t magic;
	uint32_t unit;
	uint32_t kind;
	uint32_t reserved0;
	struct sv_pager_counts counts;
	char text[256];
};

#endif
