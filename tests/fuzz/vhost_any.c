/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_any.h"

uint64_t vhost_any_gpa(struct fuzz_input *in)
{
	uint64_t kind = fuzz_take(in, 1);

	switch (kind & 7) {
	case 0:
		return MK_FILE_BYTES - (kind >> 3);
	case 1:
		return MK_FILE_BYTES / 2 - (kind >> 3);
	case 2:
		return fuzz_take(in, 8);
	case 3:
		return UINT64_MAX - (kind >> 3);
	default:
		return fuzz_take(in, 2) % MK_FILE_BYTES;
	}
}

static void any_region(struct fuzz_input *in, struct vu_region *r)
{
	uint64_t kind = fuzz_take(in, 1);

	r->gpa = kind & 3 ? (kind >> 2) * 4096 : fuzz_take(in, 8);
	r->size = kind & 12 ? 1 + (kind >> 4) * 1024 : fuzz_take(in, 8);
	r->user_addr = kind & 16 ? r->gpa + VHOST_USER : fuzz_take(in, 8);
	r->fd_offset = kind & 32 ? (kind >> 6) * 4096 : fuzz_take(in, 8);
}

uint32_t vhost_any_payload(struct fuzz_input *in, uint32_t request, union vu_payload *p)
{
	switch (request) {
	case VU_SET_MEM_TABLE:
		p->memory.n = (uint32_t)fuzz_take(in, 1) % 10;
		for (unsigned i = 0; i < VU_TABLE_REGIONS && i < p->memory.n; i++)
			any_region(in, &p->memory.region[i]);
		return VU_MEMORY_HEADER + p->memory.n * (uint32_t)sizeof(p->memory.region[0]);
	case VU_ADD_MEM_REG:
	case VU_REM_MEM_REG:
		any_region(in, &p->slot.region);
		return sizeof(p->slot);
	case VU_SET_VRING_ADDR:
		p->addr = (struct vu_addr){.index = (uint32_t)fuzz_take(in, 1) & 3,
			.flags = (uint32_t)fuzz_take(in, 1) & 1,
			.desc = VHOST_USER + vhost_any_gpa(in),
			.avail = VHOST_USER + vhost_any_gpa(in),
			.used = VHOST_USER + vhost_any_gpa(in),
			.log = vhost_any_gpa(in)};
		return sizeof(p->addr);
	case VU_SET_LOG_BASE:
		p->log = (struct vu_log){
			.size = fuzz_take(in, 3), .offset = fuzz_take(in, 2) & ~0xfffull};
		return sizeof(p->log);
	case VU_GET_CONFIG:
	case VU_SET_CONFIG:
		p->config.offset = (uint32_t)fuzz_take(in, 1);
		p->config.size = (uint32_t)fuzz_take(in, 1) * 2;
		p->config.bytes[0] = (uint8_t)fuzz_take(in, 1);
		return VU_CONFIG_HEADER +
		       (p->config.size < VU_CONFIG_BYTES ? p->config.size : VU_CONFIG_BYTES);
	case VU_GET_INFLIGHT_FD:
	case VU_SET_INFLIGHT_FD:
		p->inflight = (struct vu_inflight){.mmap_size = fuzz_take(in, 3),
			.mmap_offset = fuzz_take(in, 1) << 12,
			.queues = (uint16_t)fuzz_take(in, 1),
			.queue_size = (uint16_t)(1u << (fuzz_take(in, 1) & 15))};
		return fuzz_take(in, 1) & 1 ? sizeof(p->inflight) : VU_INFLIGHT_LEAST;
	case VU_SET_VRING_KICK:
	case VU_SET_VRING_CALL:
	case VU_SET_VRING_ERR:
		p->u64 = fuzz_take(in, 2) & 0x303;
		return sizeof(p->u64);
	case VU_SET_FEATURES:
	case VU_SET_PROTOCOL_FEATURES:
		p->u64 = fuzz_take(in, 8);
		return sizeof(p->u64);
	case VU_SET_VRING_NUM:
	case VU_SET_VRING_BASE:
	case VU_GET_VRING_BASE:
	case VU_SET_VRING_ENABLE:
		p->state.index = (uint32_t)fuzz_take(in, 1) & 3;
		p->state.num = (uint32_t)fuzz_take(in, 2);
		if (p->state.num & 1)
			p->state.num = 1u << (p->state.num >> 8 & 15);
		return sizeof(p->state);
	default:
		return 0;
	}
}
