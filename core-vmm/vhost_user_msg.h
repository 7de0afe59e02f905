/* SPDX-License-Identifier: BSD-3-Clause */
/* vhost-user on the wire, as far as a front end speaks it. Host byte order. */
#ifndef CORE_VMM_VHOST_USER_MSG_H
#define CORE_VMM_VHOST_USER_MSG_H

#include <stdint.h>

#define VUF_VERSION 0x1u
#define VUF_REPLY 0x4u
#define VUF_NEED_REPLY 0x8u

enum vuf_request {
	VUF_GET_FEATURES = 1,
	VUF_SET_FEATURES = 2,
	VUF_SET_OWNER = 3,
	VUF_SET_MEM_TABLE = 5,
	VUF_SET_LOG_BASE = 6,
	VUF_SET_VRING_NUM = 8,
	VUF_SET_VRING_ADDR = 9,
	VUF_SET_VRING_BASE = 10,
	VUF_GET_VRING_BASE = 11,
	VUF_SET_VRING_KICK = 12,
	VUF_SET_VRING_CALL = 13,
	VUF_GET_PROTOCOL_FEATURES = 15,
	VUF_SET_PROTOCOL_FEATURES = 16,
	VUF_GET_QUEUE_NUM = 17,
	VUF_SET_VRING_ENABLE = 18,
	VUF_SET_BACKEND_REQ_FD = 21,
	VUF_GET_CONFIG = 24,
	VUF_SET_CONFIG = 25,
	VUF_GET_INFLIGHT_FD = 31,
	VUF_SET_INFLIGHT_FD = 32,
};

#define VUF_F_PROTOCOL_FEATURES (1ull << 30)
#define VUF_F_LOG_ALL (1ull << 26)
#define VUF_PROTOCOL_MQ (1ull << 0)
#define VUF_PROTOCOL_LOG (1ull << 1)
#define VUF_PROTOCOL_REPLY_ACK (1ull << 3)
#define VUF_PROTOCOL_BACKEND_REQ (1ull << 5)
#define VUF_PROTOCOL_CONFIG (1ull << 9)
#define VUF_PROTOCOL_INFLIGHT (1ull << 12)

/* What a back end says by itself. */
#define VUF_BACKEND_CONFIG_CHANGE 2u

#define VUF_VRING_NO_FD (1ull << 8)
#define VUF_REGIONS 8u
#define VUF_CONFIG_BYTES 256u

struct vuf_region {
	uint64_t gpa, size, user_addr, fd_offset;
};

struct vuf_message {
	uint32_t request, flags, size;
	union {
		uint64_t u64;
		struct {
			uint32_t index, num;
		} state;
		struct {
			uint32_t index, flags;
			uint64_t desc, used, avail, log;
		} addr;
		struct {
			uint32_t n, padding;
			struct vuf_region region[VUF_REGIONS];
		} memory;
		struct {
			uint32_t offset, size, flags;
			uint8_t bytes[VUF_CONFIG_BYTES];
		} config;
		struct {
			uint64_t bytes, offset;
		} log;
		struct {
			uint64_t bytes, offset;
			uint16_t queues, queue_size;
			uint32_t padding; /* other front ends send it too */
		} inflight;
	} u;
} __attribute__((packed, aligned(4)));

#define VUF_HEADER 12u
#define VUF_CONFIG_HEADER 12u
#define VUF_MEMORY_HEADER 8u

_Static_assert(__builtin_offsetof(struct vuf_message, u) == VUF_HEADER, "wire");
_Static_assert(sizeof(struct vuf_region) == 32, "wire");

#endif
