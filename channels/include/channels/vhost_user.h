/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vhost-user on the wire (the QEMU project's interop/vhost-user): host byte order, no padding. For
 * the front end of our VMs, the back end, and what stands between.
 */
#ifndef CHANNELS_VHOST_USER_H
#define CHANNELS_VHOST_USER_H

#include <stdint.h>

#define VU_VERSION 0x1u
#define VU_FLAG_VERSION_MASK 0x3u
#define VU_FLAG_REPLY 0x4u
#define VU_FLAG_NEED_REPLY 0x8u

enum vu_request {
	VU_GET_FEATURES = 1,
	VU_SET_FEATURES = 2,
	VU_SET_OWNER = 3,
	VU_RESET_OWNER = 4,
	VU_SET_MEM_TABLE = 5,
	VU_SET_LOG_BASE = 6,
	VU_SET_LOG_FD = 7,
	VU_SET_VRING_NUM = 8,
	VU_SET_VRING_ADDR = 9,
	VU_SET_VRING_BASE = 10,
	VU_GET_VRING_BASE = 11,
	VU_SET_VRING_KICK = 12,
	VU_SET_VRING_CALL = 13,
	VU_SET_VRING_ERR = 14,
	VU_GET_PROTOCOL_FEATURES = 15,
	VU_SET_PROTOCOL_FEATURES = 16,
	VU_GET_QUEUE_NUM = 17,
	VU_SET_VRING_ENABLE = 18,
	VU_SET_BACKEND_REQ_FD = 21,
	VU_GET_CONFIG = 24,
	VU_SET_CONFIG = 25,
	VU_GET_INFLIGHT_FD = 31,
	VU_SET_INFLIGHT_FD = 32,
	VU_RESET_DEVICE = 34,
	VU_GET_MAX_MEM_SLOTS = 36,
	VU_ADD_MEM_REG = 37,
	VU_REM_MEM_REG = 38,
	VU_REQUESTS,
};

#define VU_F_LOG_ALL (1ull << 26)
#define VU_F_PROTOCOL_FEATURES (1ull << 30)
#define VU_F_RING_PACKED (1ull << 34) /* virtio's */

#define VU_PROTOCOL_F_MQ (1ull << 0)
#define VU_PROTOCOL_F_LOG_SHMFD (1ull << 1)
#define VU_PROTOCOL_F_REPLY_ACK (1ull << 3)
#define VU_BACKEND_CONFIG_CHANGE 2u
#define VU_PROTOCOL_F_BACKEND_REQ (1ull << 5)
#define VU_PROTOCOL_F_CONFIG (1ull << 9)
#define VU_PROTOCOL_F_INFLIGHT_SHMFD (1ull << 12)
#define VU_PROTOCOL_F_RESET_DEVICE (1ull << 13)
#define VU_PROTOCOL_F_CONFIGURE_MEM_SLOTS (1ull << 15)

#define VU_VRING_INDEX_MASK 0xffull
#define VU_VRING_NO_FD (1ull << 8)

#define VU_TABLE_REGIONS 8u /* of one SET_MEM_TABLE */
#define VU_SLOTS 32u	    /* with CONFIGURE_MEM_SLOTS */
#define VU_CONFIG_BYTES 256u

struct vu_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of the payload */
};

struct vu_state {
	uint32_t index;
	uint32_t num;
};

struct vu_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc, used, avail; /* user addresses */
	uint64_t log;
};

struct vu_log {
	uint64_t size;
	uint64_t offset;
};

struct vu_region {
	uint64_t gpa;
	uint64_t size;
	uint64_t user_addr;
	uint64_t fd_offset;
};

struct vu_memory {
	uint32_t n;
	uint32_t padding;
	struct vu_region region[VU_TABLE_REGIONS];
};

struct vu_slot {
	uint64_t padding;
	struct vu_region region;
};

struct vu_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t bytes[VU_CONFIG_BYTES];
};

/* Some front ends send the padding at its end, some do not. */
struct vu_inflight {
	uint64_t mmap_size, mmap_offset;
	uint16_t queues, queue_size;
	uint32_t padding;
};

union vu_payload {
	uint64_t u64;
	struct vu_state state;
	struct vu_addr addr;
	struct vu_log log;
	struct vu_memory memory;
	struct vu_slot slot;
	struct vu_config config;
	struct vu_inflight inflight;
};

#define VU_HEADER 12u
#define VU_CONFIG_HEADER 12u
#define VU_MEMORY_HEADER 8u
#define VU_INFLIGHT_LEAST 20u

/* A message in one piece: on the wire the payload follows the header at once. */
struct vu_message {
	uint32_t request, flags, size;
	union vu_payload u;
} __attribute__((packed, aligned(4)));

_Static_assert(sizeof(struct vu_header) == VU_HEADER, "wire");
_Static_assert(__builtin_offsetof(struct vu_message, u) == VU_HEADER, "wire");
_Static_assert(sizeof(struct vu_addr) == 40, "wire");
_Static_assert(sizeof(struct vu_region) == 32, "wire");
_Static_assert(sizeof(struct vu_config) == VU_CONFIG_HEADER + VU_CONFIG_BYTES, "wire");

#endif
