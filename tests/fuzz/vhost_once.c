/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_once.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "vhost_any.h"
#include "vhost_device.h"

#define ENTRIES 8u
#define USER VHOST_USER
#define QUEUE_AT(q) ((q)*0x3000ull)
#define AVAIL_AT 0x1000u
#define USED_AT 0x2000u
#define DATA_AT 0x6000u
#define STEPS 120u

/* --- messages ----------------------------------------------------------------------------------
 */

static void say(struct vhost_fuzz *f, uint32_t request, uint32_t flags, const void *payload,
	uint32_t size, const int *fds, unsigned nfds)
{
	uint8_t out[sizeof(struct vu_header) + sizeof(union vu_payload)];
	struct vu_header head = {.request = request, .flags = VU_VERSION | flags, .size = size};
	struct sv_error err;

	if (!f->open) {
		while (nfds)
			mk_close(fds[--nfds]);
		return;
	}
	/* A log and a record may lie where the made-up guest's memory does: there is but one file.
	 */
	if (request == VU_SET_LOG_BASE || request == VU_SET_INFLIGHT_FD || f->v.have)
		vhost_device_late(f, 0);
	memcpy(out, &head, sizeof(head));
	memcpy(out + sizeof(head), payload, size);
	mk_say(out, sizeof(head) + size, fds, nfds);
	if (sv_vhost_input(&f->v, &err) < 0) {
		f->open = false;
		CHECK(sv_vhost_close(&f->v) == 0);
		CHECK(!f->polled);
	}
}

static void say_u64(struct vhost_fuzz *f, uint32_t request, uint64_t v, int fd)
{
	say(f, request, 0, &v, sizeof(v), &fd, fd >= 0);
}

static void say_state(struct vhost_fuzz *f, uint32_t request, uint32_t index, uint32_t num)
{
	struct vu_state s = {.index = index, .num = num};

	say(f, request, 0, &s, sizeof(s), NULL, 0);
}

static void say_memory(struct vhost_fuzz *f)
{
	struct vu_memory m = {.n = 2};
	int fds[2] = {mk_open(MK_SEALED), mk_open(MK_SEALED)};

	m.region[0] = (struct vu_region){.size = GUEST / 2, .user_addr = USER};
	m.region[1] = (struct vu_region){.gpa = GUEST / 2,
		.size = GUEST / 2,
		.user_addr = USER + GUEST / 2,
		.fd_offset = GUEST / 2};
	say(f, VU_SET_MEM_TABLE, 0, &m, VU_MEMORY_HEADER + 2 * sizeof(m.region[0]), fds, 2);
}

static void say_queue_at(struct vhost_fuzz *f, uint32_t q, uint32_t base)
{
	struct vu_addr a = {.index = q,
		.desc = USER + QUEUE_AT(q),
		.avail = USER + QUEUE_AT(q) + AVAIL_AT,
		.used = USER + QUEUE_AT(q) + USED_AT};

	say_state(f, VU_SET_VRING_NUM, q, ENTRIES);
	say_state(f, VU_SET_VRING_BASE, q, base);
	say(f, VU_SET_VRING_ADDR, 0, &a, sizeof(a), NULL, 0);
	say_u64(f, VU_SET_VRING_CALL, q, mk_open(MK_EVENT));
	say_u64(f, VU_SET_VRING_KICK, q, mk_open(MK_EVENT));
	say_state(f, VU_SET_VRING_ENABLE, q, 1);
}

static void say_queue(struct vhost_fuzz *f, uint32_t q, bool packed)
{
	vhost_device_view(f, true);
	memset(mk_file() + QUEUE_AT(q) + AVAIL_AT, 0, 64);
	memset(mk_file() + QUEUE_AT(q) + USED_AT, 0, 4);
	vhost_device_view(f, false);
	say_queue_at(f, q, packed ? 0x8000 : 0);
}

static void say_features(struct vhost_fuzz *f, uint64_t how)
{
	uint64_t bits = 1ull << VIRTIO_F_VERSION_1 | VU_F_PROTOCOL_FEATURES;

	bits |= how & 1 ? 1ull << VIRTIO_RING_F_EVENT_IDX : 0;
	bits |= how & 2 ? 1ull << VIRTIO_RING_F_INDIRECT_DESC : 0;
	bits |= how & 4 ? 1ull << VIRTIO_F_RING_PACKED : 0;
	bits |= how & 8 ? VU_F_LOG_ALL : 0;
	bits |= f->in_order ? 1ull << VIRTIO_F_IN_ORDER : 0;
	say_u64(f, VU_SET_PROTOCOL_FEATURES,
		VU_PROTOCOL_F_MQ | VU_PROTOCOL_F_REPLY_ACK | VU_PROTOCOL_F_CONFIG |
			VU_PROTOCOL_F_INFLIGHT_SHMFD | VU_PROTOCOL_F_LOG_SHMFD |
			VU_PROTOCOL_F_CONFIGURE_MEM_SLOTS,
		-1);
	say_u64(f, VU_SET_FEATURES, bits, -1);
}

static void say_inflight(struct vhost_fuzz *f, uint64_t how)
{
	struct vu_inflight i = {.queues = QUEUES, .queue_size = (uint16_t)(how & 1 ? ENTRIES : 16)};
	int fd;

	say(f, VU_GET_INFLIGHT_FD, 0, &i, sizeof(i), NULL, 0);
	i.mmap_size = how & 2 ? 0x2000 : 0x1000;
	memset(mk_record(), 0, i.mmap_size);
	fd = mk_open_record(i.mmap_size);
	f->inflight = i;
	say(f, VU_SET_INFLIGHT_FD, 0, &i, sizeof(i), &fd, 1);
}

static void say_log(struct vhost_fuzz *f)
{
	struct vu_log l = {.size = 64, .offset = 0x7000};
	int fd = mk_open(MK_UNSEALED);

	say(f, VU_SET_LOG_BASE, 0, &l, sizeof(l), &fd, 1);
}

/* --- anything ----------------------------------------------------------------------------------
 */

static void any_message(struct vhost_fuzz *f)
{
	uint32_t request = (uint32_t)fuzz_take(&f->in, 1) % (VU_REQUESTS + 2), size;
	uint64_t odd = fuzz_take(&f->in, 1);
	unsigned nfds = odd & 3;
	union vu_payload p;
	int fds[10];

	memset(&p, 0, sizeof(p));
	size = vhost_any_payload(&f->in, request, &p);
	if (size > sizeof(p))
		size = sizeof(p);
	if (request == VU_SET_MEM_TABLE && odd & 4)
		nfds = p.memory.n;
	if (odd >> 4 == 15) /* a wrong size */
		size = (uint32_t)fuzz_take(&f->in, 1);
	for (unsigned i = 0; i < nfds; i++) {
		fds[i] = mk_open((enum mk_kind)(1 + fuzz_take(&f->in, 1) % 6));
		CHECK(fds[i] >= 0);
	}
	say(f, request, odd & 8 ? VU_FLAG_NEED_REPLY : 0, &p, size, fds, nfds);
}

/* Not even a message: bytes that may end in the middle of one. */
static void any_bytes(struct vhost_fuzz *f)
{
	uint8_t bytes[40];
	unsigned n = 1 + (unsigned)(fuzz_take(&f->in, 1) % sizeof(bytes));
	struct sv_error err;

	for (unsigned i = 0; i < n; i++)
		bytes[i] = (uint8_t)fuzz_take(&f->in, 1);
	mk_say(bytes, n, NULL, 0);
	if (sv_vhost_input(&f->v, &err) < 0) {
		f->open = false;
		CHECK(sv_vhost_close(&f->v) == 0);
	}
}

/* Behind what a buffer of the driver has: where two descriptors say what a third is. */
static uint64_t table(struct vhost_fuzz *f, uint64_t q)
{
	uint64_t at = DATA_AT + 0x800 * (q + 1);

	for (unsigned i = 0; i < 2; i++) {
		struct vring_desc d = {.addr = DATA_AT, .len = 32, .next = 1};

		d.flags =
			(uint16_t)(fuzz_take(&f->in, 1) & (VRING_DESC_F_NEXT | VRING_DESC_F_WRITE));
		memcpy(mk_file() + at + 16 * i, &d, sizeof(d));
	}
	return at;
}

/* @flags: of the descriptor; of a split one that goes on, the next entry above them. */
static void drive(struct vhost_fuzz *f, uint64_t how, uint64_t flags)
{
	uint64_t q = how & 1;
	uint64_t at = flags & VRING_DESC_F_INDIRECT ? table(f, q)
		      : how & 8                     ? vhost_any_gpa(&f->in)
						    : DATA_AT;
	uint32_t len = how & 4                         ? (uint32_t)fuzz_take(&f->in, 2)
		       : flags & VRING_DESC_F_INDIRECT ? 32
						       : 64;
	uint8_t *ring = mk_file() + QUEUE_AT(q);
	struct sv_virtq *vq = &f->v.queue[q].vq;
	struct vring_avail *avail = (void *)(ring + AVAIL_AT);

	if (vq->packed) {
		struct vring_packed_desc d = {.addr = at,
			.len = len,
			.id = (uint16_t)(how & 2 ? fuzz_take(&f->in, 1) : vq->next_avail),
			.flags = (uint16_t)((flags & 7) | (vq->avail_wrap ? 1u << 7 : 1u << 15))};

		memcpy(ring + 16 * (vq->next_avail % ENTRIES), &d, sizeof(d));
	} else {
		struct vring_desc d = {.addr = at,
			.len = len,
			.flags = flags & 7,
			.next = (uint16_t)(flags >> 3) % ENTRIES};
		unsigned i = (unsigned)(how & 2 ? fuzz_take(&f->in, 1) : avail->idx) % ENTRIES;

		memcpy(ring + 16 * i, &d, sizeof(d));
		avail->ring[avail->idx++ % ENTRIES] = (uint16_t)i;
	}
}

static void driver(struct vhost_fuzz *f, uint64_t how, uint64_t flags)
{
	vhost_device_view(f, true);
	drive(f, how, flags);
	vhost_device_view(f, false);
}

/* --- sessions ----------------------------------------------------------------------------------
 */

static void begin(struct vhost_fuzz *f, bool sealed_only, bool calls_held)
{
	struct sv_error err;

	mk_fail(0);
	CHECK(sv_vhost_open(&f->v, mk_open(MK_SESSION), &vhost_device_type, f, QUEUES, &f->poller,
		      &vhost_device_host, &err) == 0);
	f->v.sealed_only = sealed_only;
	vhost_device_late(f, f->absent);
	for (unsigned q = 0; q < QUEUES; q++)
		f->v.queue[q].vq.calls_held = calls_held;
	f->open = true;
}

/*
 * The process ends at this moment: what its successor finds is what was in memory before the
 * session was closed in order. @how: where the front end says the queues stand.
 */
static void die(struct vhost_fuzz *f, uint64_t how)
{
	static uint8_t file[MK_FILE_BYTES], record[0x2000];
	uint64_t features = f->v.features;
	bool had_record = f->v.inflight.base, sealed_only = f->v.sealed_only;
	uint32_t base[QUEUES];
	int fd;

	if (!f->open)
		return;
	for (unsigned q = 0; q < QUEUES; q++)
		base[q] = how & 1 ? sv_virtq_position(&f->v.queue[q].vq) : how & 2 ? 0x8000 : 0;
	vhost_device_view(f, true);
	memcpy(file, mk_file(), sizeof(file));
	vhost_device_view(f, false);
	memcpy(record, mk_record(), sizeof(record));
	CHECK(sv_vhost_close(&f->v) == 0 && vhost_device_idle(f));
	mk_say("", 0, NULL, 0);
	mk_check_empty(0);
	vhost_device_view(f, true);
	memcpy(mk_file(), file, sizeof(file));
	vhost_device_view(f, false);
	memcpy(mk_record(), record, sizeof(record));
	begin(f, sealed_only, how & 4);
	say_u64(f, VU_SET_FEATURES, features, -1);
	say_memory(f);
	if (had_record && !(how & 8)) {
		fd = mk_open_record(f->inflight.mmap_size);
		say(f, VU_SET_INFLIGHT_FD, 0, &f->inflight, sizeof(f->inflight), &fd, 1);
	}
	for (uint32_t q = 0; q < QUEUES; q++)
		say_queue_at(f, q, base[q]);
}

/* What others ask of a session now and then. */
static void look(struct vhost_fuzz *f)
{
	if (!f->open)
		return;
	sv_vhost_config_changed(&f->v);
	(void)sv_vhost_stats(&f->v);
	for (unsigned q = 0; f->polled && q < QUEUES; q++)
		if (sv_vhost_serving(&f->v.queue[q]))
			(void)sv_virtq_waiting(&f->v.queue[q].vq);
	if (f->polled)
		sv_vhost_drain_kicks(&f->v);
}

static void step(struct vhost_fuzz *f)
{
	uint64_t what = fuzz_take(&f->in, 1), arg = what >> 4;

	switch (what & 15) {
	case 0:
		say_memory(f);
		break;
	case 1:
		say_queue(f, arg & 1, arg & 2);
		break;
	case 2:
		say_state(f, VU_GET_VRING_BASE, arg & 1, 0);
		break;
	case 3:
		say_features(f, arg);
		break;
	case 4:
		say_inflight(f, arg);
		break;
	case 5:
		say(f, arg & 1 ? VU_RESET_DEVICE : VU_RESET_OWNER, 0, "", 0, NULL, 0);
		break;
	case 6:
		vhost_device_view(f, true);
		mk_file()[fuzz_take(&f->in, 2) % GUEST] = (uint8_t)fuzz_take(&f->in, 1);
		vhost_device_view(f, false);
		break;
	case 7:
		mk_record()[fuzz_take(&f->in, 2) % 1024] = (uint8_t)fuzz_take(&f->in, 1);
		break;
	case 8:
	case 9:
	case 10:
		any_message(f);
		break;
	case 11:
		if (arg == 7)
			any_bytes(f);
		else if (arg == 8)
			mk_deaf(true);
		else if (arg == 9)
			die(f, fuzz_take(&f->in, 1));
		else if (arg == 10)
			look(f);
		else if (arg == 11)
			mk_fail(1 + fuzz_take(&f->in, 1) % 32);
		else if (arg == 12 && !f->hidden)
			vhost_device_late(f, (unsigned)fuzz_take(&f->in, 1));
		else if (f->polled && !sv_vhost_arm(&f->v))
			sv_vhost_suppress(&f->v);
		break;
	case 12:
		if (f->open)
			driver(f, arg, VRING_DESC_F_WRITE);
		break;
	case 13:
		if (f->open)
			driver(f, arg, fuzz_take(&f->in, 1));
		break;
	case 14:
		if (arg == 9)
			say_log(f);
		__attribute__((fallthrough));
	default:
		if (f->polled)
			vhost_device_poll(f, (unsigned)arg);
	}
}

static void set_up(struct vhost_fuzz *f, const uint8_t *bytes, size_t n)
{
	uint64_t kind;

	vhost_device_reset(f);
	mk_boot();
	f->in = (struct fuzz_input){bytes, bytes + n};
	kind = fuzz_take(&f->in, 1);
	f->in_order = kind & 4;
	begin(f, !(kind & 1), kind & 8);
	f->hidden = (kind & 12) == 12;
	if (f->hidden)
		vhost_device_late(f, (unsigned)fuzz_take(&f->in, 1));
	if (kind & 2) {
		say_features(f, kind >> 4);
		say_memory(f);
		for (uint32_t q = 0; q < QUEUES; q++)
			say_queue(f, q, kind & 64);
	}
}

void vhost_once(const uint8_t *bytes, size_t n)
{
	struct vhost_fuzz *f = &vhost_fuzz;

	set_up(f, bytes, n);
	for (unsigned i = 0; i < STEPS && f->open && fuzz_left(&f->in); i++)
		step(f);
	if (f->open)
		CHECK(sv_vhost_close(&f->v) == 0);
	CHECK(vhost_device_idle(f));
	mk_say("", 0, NULL, 0);
	mk_check_empty(0);
}
