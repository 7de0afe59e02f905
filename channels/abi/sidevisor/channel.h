/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The channel ABI: what a guest and a sidecore share in memory.
 *
 * A channel belongs to exactly one (vCPU, sidecore) pair. It is one region of guest-physical
 * memory: a header of four 64-byte lines, the request ring (guest to sidecore) and the completion
 * ring (sidecore to guest), each a power-of-two array of 64-byte entries.
 *
 * Every entry carries its own sequence word, written last with release: position p of a ring is
 * in slot p % entries and is present when the slot's seq equals p + 1. Positions start at 0 and
 * never wrap (64 bits). One cache line therefore travels per message.
 *
 * Every line has one writer, named in its comment. Nobody reads back a word that it published.
 * The reasoning about ordering is in channels/ORDERING.md; docs/abi.md is the guest author's text.
 *
 * Freestanding: C11 and C++14, no library.
 */
#ifndef SIDEVISOR_CHANNEL_H
#define SIDEVISOR_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define SV_ABI_ASSERT(cond, text) static_assert(cond, text)
#else
#define SV_ABI_ASSERT(cond, text) _Static_assert(cond, text)
#endif

#define SV_CHANNEL_MAGIC 0x314c4e4843565353ull /* "SSVCHNL1", little endian */
#define SV_CHANNEL_VERSION 1u
#define SV_CACHE_LINE 64u

/* A ring has at least 2 and at most this many entries, always a power of two. */
#define SV_RING_MIN_ENTRIES 2u
#define SV_RING_MAX_ENTRIES 4096u

/* Feature word. A guest that finds a bit it does not know below bit 32 must not use the channel. */
#define SV_CHANNEL_F_DOORBELL (1ull << 0) /* the sidecore may sleep: check `sleeping`, ring */
#define SV_CHANNEL_F_IRQ (1ull << 1)      /* completions may be announced by an interrupt */

/* A request: guest to sidecore. */
struct sv_req {
	uint16_t service; /* SV_SERVICE_* of services.h */
	uint16_t opcode;  /* of that service */
	uint32_t flags;   /* must be zero */
	uint64_t tag;     /* returned unchanged in the completion; no meaning to the sidecore */
	uint64_t arg[5];
	uint64_t seq; /* position + 1, written last with release */
};

/* A completion: sidecore to guest. */
struct sv_cpl {
	uint64_t tag;
	uint32_t status; /* SV_STATUS_* */
	uint32_t reserved0;
	uint64_t value[5];
	uint64_t seq; /* position + 1, written last with release */
};

/* Status of a completion. */
#define SV_STATUS_OK 0u
#define SV_STATUS_NO_SERVICE 1u /* no such service on this channel */
#define SV_STATUS_NO_OPCODE 2u  /* the service does not know this opcode */
#define SV_STATUS_INVALID 3u    /* an argument or a reserved field is wrong; nothing was done */
#define SV_STATUS_BAD_ADDRESS 4u
#define SV_STATUS_AGAIN 5u /* not now: repeat later; nothing was done */
#define SV_STATUS_IO 6u
#define SV_STATUS_DENIED 7u
#define SV_STATUS_EXISTS 8u /* something is there already */
#define SV_STATUS_ABSENT 9u /* nothing is there */

/* Line 0. Written by the host before the guest starts; constant afterwards. */
struct sv_channel_info {
	uint64_t magic;
	uint32_t version;
	uint32_t size; /* bytes of the whole region */
	uint64_t features;
	uint32_t req_entries;
	uint32_t cpl_entries;
	uint32_t req_offset; /* of the request ring from the start of the region, multiple of 64 */
	uint32_t cpl_offset;
	uint64_t doorbell_gpa; /* write 4 bytes of zero here to wake the sidecore (ioeventfd) */
	uint32_t vcpu;
	uint32_t irq_vector; /* 0: none */
	uint64_t reserved;
};

/* Line 1. Written by the guest. */
struct sv_channel_guest {
	uint64_t cpl_consumed; /* completions the guest is done with: lazy, for flow control only */
	uint32_t want_irq;     /* 1: the guest sleeps; announce the next completion by interrupt */
	uint32_t reserved0;
	uint64_t reserved[6];
};

/* Line 2. Written by the sidecore. */
struct sv_channel_side {
	uint64_t req_consumed; /* requests the sidecore is done with: lazy, for flow control only */
	uint64_t reserved[7];
};

/* Line 3. Written by the sidecore, and rarely: it stays shared in the guest core's cache. */
struct sv_channel_wake {
	uint32_t sleeping; /* 1: ring the doorbell after publishing */
	uint32_t epoch;    /* how often a sidecore took this channel up: changes after a restart */
	uint64_t reserved[7];
};

struct sv_channel {
	struct sv_channel_info info;
	struct sv_channel_guest guest;
	struct sv_channel_side side;
	struct sv_channel_wake wake;
	/* the rings follow at info.req_offset and info.cpl_offset */
};

SV_ABI_ASSERT(sizeof(struct sv_req) == 64, "one cache line");
SV_ABI_ASSERT(offsetof(struct sv_req, service) == 0, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_req, opcode) == 2, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_req, flags) == 4, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_req, tag) == 8, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_req, arg) == 16, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_req, seq) == 56, "ABI");
SV_ABI_ASSERT(sizeof(struct sv_cpl) == 64, "one cache line");
SV_ABI_ASSERT(offsetof(struct sv_cpl, tag) == 0, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_cpl, status) == 8, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_cpl, reserved0) == 12, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_cpl, value) == 16, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_cpl, seq) == 56, "ABI");
SV_ABI_ASSERT(sizeof(struct sv_channel_info) == 64, "one cache line");
SV_ABI_ASSERT(offsetof(struct sv_channel_info, version) == 8, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_channel_info, size) == 12, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_channel_info, features) == 16, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_channel_info, req_entries) == 24, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_channel_info, cpl_entries) == 28, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_channel_info, req_offset) == 32, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_channel_info, cpl_offset) == 36, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_channel_info, doorbell_gpa) == 40, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_channel_info, vcpu) == 48, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_channel_info, irq_vector) == 52, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_channel_info, reserved) == 56, "ABI");
SV_ABI_ASSERT(sizeof(struct sv_channel_guest) == 64, "one cache line");
SV_ABI_ASSERT(offsetof(struct sv_channel_guest, want_irq) == 8, "ABI");
SV_ABI_ASSERT(sizeof(struct sv_channel_side) == 64, "one cache line");
SV_ABI_ASSERT(sizeof(struct sv_channel_wake) == 64, "one cache line");
SV_ABI_ASSERT(offsetof(struct sv_channel_wake, epoch) == 4, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_channel, guest) == 64, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_channel, side) == 128, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_channel, wake) == 192, "ABI");
SV_ABI_ASSERT(sizeof(struct sv_channel) == 256, "ABI");

#endif
