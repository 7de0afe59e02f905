/* SPDX-License-Identifier: BSD-3-Clause */
#include "blk_once.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/fdpass.h>
#include <channels/vhost_user.h>
#include <io/devices.h>

#include "session.h"

#define PAGE 4096ull
#define FILE_BYTES (96 * PAGE)
#define BEFORE (4 * PAGE) /* of the file, not the guest's: must stay as they are */
#define GUEST (64 * PAGE)
#define USER 0x7f0000000000ull /* where the front end says it has the guest's memory */
#define QUEUES 2u
#define ENTRIES 16u
#define IMAGE (64u << 10)
#define AVAIL_AT 0x4000u
#define USED_AT 0x8000u
#define QUEUE_AT(q) ((q) * 0x10000ull)
#define CANARY 0xa5
#define STEPS 400u

#define CHECK(cond) \
	do { \
		if (!(cond)) { \
			fprintf(stdout, "broken promise: %s (%s:%d)\n", #cond, __FILE__, __LINE__); \
			abort(); \
		} \
	} while (0)

/* The node by hand: one poller, stepped in this thread; one descriptor. */
struct hand {
	struct sv_poller_host host; /* first */
	struct sv_poller *polled;
	void (*ready)(void *ctx);
	void *ctx;
	int sock, memfd, image;
	uint8_t *file; /* the whole of memfd */
	void *device;
	const uint8_t *at, *end; /* the fuzzer's bytes */
};

static uint64_t take(struct hand *h, unsigned n)
{
	uint64_t v = 0;

	while (n-- && h->at < h->end)
		v = v << 8 | *h->at++;
	return v;
}

static uint32_t inflight(const struct sv_vhost *v)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < v->queues; i++)
		if (v->queue[i].running)
			sum += v->queue[i].vq.inflight;
	return sum;
}

/* A device that stops attaches once more to finish what is in flight: that happens right here. */
static int attach(struct sv_poller_host *host, struct sv_poller *p)
{
	struct hand *h = (struct hand *)host;
	struct sv_vhost *v = &sv_session_of(p)->vhost;
	bool stopping = false;

	CHECK(!h->polled);
	h->polled = p;
	for (unsigned i = 0; i < v->queues; i++)
		stopping |= v->queue[i].running && v->queue[i].stopping;
	while (stopping && inflight(v))
		p->ops->poll(p, 8);
	return 0;
}

static void detach(struct sv_poller_host *host, struct sv_poller *p)
{
	struct hand *h = (struct hand *)host;

	CHECK(h->polled == p);
	h->polled = NULL;
}

static int add_fd(struct sv_poller_host *host, int fd, void (*ready)(void *ctx), void *ctx)
{
	struct hand *h = (struct hand *)host;

	(void)fd;
	h->ready = ready;
	h->ctx = ctx;
	return 0;
}

static void del_fd(struct sv_poller_host *host, int fd)
{
	(void)fd;
	((struct hand *)host)->ready = NULL;
}

static int sealed(uint64_t bytes)
{
	int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CHECK(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	return fd;
}

static void set_up(struct hand *h, const uint8_t *bytes, size_t n)
{
	struct sv_control_device d = {
		.kind = SV_DEVICE_BLK, .flags = SV_DEVICE_F_DISCARD, .queues = QUEUES, .name = "fuzz"};
	struct sv_error err = {""};
	struct sv_device_request req = {.device = &d, .nfds = 2, .vm = "fuzz", .host = &h->host};
	int pair[2], fds[2];

	*h = (struct hand){
		.host = {.attach = attach, .detach = detach, .add_fd = add_fd, .del_fd = del_fd},
		.at = bytes,
		.end = bytes + n};
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	h->sock = pair[0];
	h->memfd = sealed(FILE_BYTES);
	h->file = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, h->memfd, 0);
	CHECK(h->file != MAP_FAILED);
	memset(h->file, CANARY, FILE_BYTES);
	memset(h->file + BEFORE, 0, GUEST);
	h->image = memfd_create("image", MFD_CLOEXEC);
	CHECK(h->image >= 0 && ftruncate(h->image, IMAGE) == 0);
	d.flags |= take(h, 1) & (SV_DEVICE_F_READONLY | SV_DEVICE_F_WRITETHROUGH);
	fds[0] = pair[1];
	fds[1] = dup(h->image);
	req.fds = fds;
	CHECK(sv_blk_class.attach(&req, &h->device, &err) == 0);
}

/* What was promised, whatever the driver did. */
static void tear_down(struct hand *h)
{
	struct stat st;
	char *stats = sv_blk_class.stats(h->device);

	CHECK(stats);
	free(stats);
	sv_blk_class.detach(h->device);
	CHECK(!h->polled && !h->ready);
	CHECK(fstat(h->image, &st) == 0 && st.st_size == IMAGE);
	for (uint64_t i = 0; i < FILE_BYTES; i++)
		CHECK((i >= BEFORE && i < BEFORE + GUEST) || h->file[i] == CANARY);
	munmap(h->file, FILE_BYTES);
	close(h->memfd);
	close(h->image);
	close(h->sock);
}

/* --- messages ---------------------------------------------------------------------------------- */

static void say(struct hand *h, uint32_t request, const void *payload, uint32_t size,
	const int *fds, unsigned nfds)
{
	uint8_t out[sizeof(struct vu_header) + sizeof(union vu_payload)];
	struct vu_header head = {.request = request, .flags = VU_VERSION, .size = size};
	uint8_t reply[512];

	memcpy(out, &head, sizeof(head));
	memcpy(out + sizeof(head), payload, size);
	(void)sv_fd_send(h->sock, out, sizeof(head) + size, fds, nfds, 0);
	if (h->ready)
		h->ready(h->ctx);
	while (recv(h->sock, reply, sizeof(reply), MSG_DONTWAIT) > 0)
		;
}

static void say_u64(struct hand *h, uint32_t request, uint64_t v, const int *fds, unsigned nfds)
{
	say(h, request, &v, sizeof(v), fds, nfds);
}

static void say_state(struct hand *h, uint32_t request, uint32_t index, uint32_t num)
{
	struct vu_state s = {.index = index, .num = num};

	say(h, request, &s, sizeof(s), NULL, 0);
}

static void say_memory(struct hand *h)
{
	struct vu_memory m = {.n = 2};

	/* Two regions that touch: buffers may lie across. */
	m.region[0] = (struct vu_region){
		.size = GUEST / 2, .user_addr = USER, .fd_offset = BEFORE};
	m.region[1] = (struct vu_region){.gpa = GUEST / 2,
		.size = GUEST / 2,
		.user_addr = USER + GUEST / 2,
		.fd_offset = BEFORE + GUEST / 2};
	say(h, VU_SET_MEM_TABLE, &m, VU_MEMORY_HEADER + 2 * sizeof(m.region[0]),
		(int[]){h->memfd, h->memfd}, 2);
}

static void start_queue(struct hand *h, uint32_t q, uint32_t size)
{
	struct vu_addr a = {.index = q,
		.desc = USER + QUEUE_AT(q),
		.avail = USER + QUEUE_AT(q) + AVAIL_AT,
		.used = USER + QUEUE_AT(q) + USED_AT};
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	say_state(h, VU_SET_VRING_NUM, q, size);
	say(h, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	say_u64(h, VU_SET_VRING_CALL, q, &fd, 1);
	say_u64(h, VU_SET_VRING_KICK, q, &fd, 1);
	say_state(h, VU_SET_VRING_ENABLE, q, 1);
	close(fd);
}

static void start_device(struct hand *h)
{
	uint64_t features = 1ull << VIRTIO_F_VERSION_1 | VU_F_PROTOCOL_FEATURES;
	uint64_t choice = take(h, 1);

	features |= choice & 1 ? 1ull << VIRTIO_RING_F_EVENT_IDX : 0;
	features |= choice & 2 ? 0 : 1ull << VIRTIO_RING_F_INDIRECT_DESC;
	features |= choice & 4 ? 0 : 1ull << VIRTIO_BLK_F_FLUSH;
	say_u64(h, VU_SET_PROTOCOL_FEATURES, VU_PROTOCOL_F_CONFIG | VU_PROTOCOL_F_MQ, NULL, 0);
	say_u64(h, VU_SET_FEATURES, features, NULL, 0);
	say_memory(h);
	for (uint32_t q = 0; q < QUEUES; q++)
		start_queue(h, q, ENTRIES);
}

/* --- the hostile driver ------------------------------------------------------------------------ */

static uint64_t any_gpa(struct hand *h)
{
	uint64_t kind = take(h, 1);

	switch (kind & 7) {
	case 0:
		return GUEST - (kind >> 3);
	case 1:
		return GUEST / 2 - (kind >> 3);
	case 2:
		return take(h, 8);
	case 3:
		return UINT64_MAX - (kind >> 3);
	default:
		return take(h, 3) % GUEST;
	}
}

static uint32_t any_len(struct hand *h)
{
	static const uint32_t some[] = {16, 1, 512, 4096, 0, 20, 32, 513, 65536, UINT32_MAX, 48};
	uint64_t kind = take(h, 1);

	return kind & 0x80 ? (uint32_t)take(h, 2)
			   : some[kind % (sizeof(some) / sizeof(some[0]))];
}

static void put_desc(struct hand *h, uint64_t at)
{
	struct vring_desc d = {.addr = any_gpa(h), .len = any_len(h)};

	d.flags = (uint16_t)(take(h, 1) & 7);
	d.next = (uint16_t)(take(h, 1) % 20);
	memcpy(h->file + BEFORE + at % (GUEST - sizeof(d)), &d, sizeof(d));
}

/* A request that is nearly always in order, so that more than the first check is reached. */
static void put_request(struct hand *h, uint64_t q)
{
	static const uint8_t types[] = {VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH,
		VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_T_GET_ID,
		VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, 9};
	struct virtio_blk_outhdr head = {.type = types[take(h, 1) % sizeof(types)],
		.sector = take(h, 1) % (IMAGE / 512 + 2)};
	struct virtio_blk_discard_write_zeroes range = {.sector = take(h, 1) % (IMAGE / 512 + 2),
		.num_sectors = (uint32_t)take(h, 1) & 15,
		.flags = take(h, 1) & 0x81 ? 1 : (uint32_t)take(h, 1) & 3};
	uint64_t data = QUEUE_AT(q) + 0xc000, kind = take(h, 1);
	bool in = head.type == VIRTIO_BLK_T_IN || head.type == VIRTIO_BLK_T_GET_ID;
	uint32_t len = kind & 7 ? 512u << (kind >> 6) : any_len(h);
	struct vring_desc d[3] = {{data, sizeof(head), VRING_DESC_F_NEXT, 1},
		{data + 64, len, (uint16_t)(VRING_DESC_F_NEXT | (in ? VRING_DESC_F_WRITE : 0)), 2},
		{data + 32, 1, VRING_DESC_F_WRITE, 0}};

	if (head.type == VIRTIO_BLK_T_DISCARD || head.type == VIRTIO_BLK_T_WRITE_ZEROES)
		d[1].len = sizeof(range);
	if ((kind & 0x38) == 0) /* across the two regions */
		d[1].addr = GUEST / 2 - 256;
	memcpy(h->file + BEFORE + data, &head, sizeof(head));
	memcpy(h->file + BEFORE + data + 64, &range, sizeof(range));
	memcpy(h->file + BEFORE + QUEUE_AT(q), d, sizeof(d));
}

static uint16_t *avail(struct hand *h, uint64_t q)
{
	return (uint16_t *)(void *)(h->file + BEFORE + QUEUE_AT(q) + AVAIL_AT);
}

static void step(struct hand *h)
{
	uint64_t what = take(h, 1), q = what >> 7;
	uint16_t *a = avail(h, q);
	struct sv_poller *p = h->polled;

	switch (what & 15) {
	case 0:
		put_desc(h, QUEUE_AT(q) + take(h, 1) % ENTRIES * sizeof(struct vring_desc));
		break;
	case 1:
		put_desc(h, any_gpa(h));
		break;
	case 3:
		a[2 + take(h, 1) % 20] = (uint16_t)(take(h, 1) % 18);
		break;
	case 4:
		a[1] = (uint16_t)(what & 0x70 ? a[1] + 1u : take(h, 2));
		break;
	case 5:
		h->file[BEFORE + any_gpa(h) % GUEST] = (uint8_t)take(h, 1);
		break;
	case 6:
		say_state(h, VU_GET_VRING_BASE, (uint32_t)q, 0);
		memset(h->file + BEFORE + QUEUE_AT(q) + AVAIL_AT, 0, 64);
		say_state(h, VU_SET_VRING_BASE, (uint32_t)q, 0);
		start_queue(h, (uint32_t)q, what & 0x60 ? ENTRIES : 1u << take(h, 1) % 9);
		break;
	case 7:
		if (p && p->ops->arm(p) == false)
			p->ops->disarm(p);
		break;
	case 8:
	case 9:
		put_request(h, q);
		__attribute__((fallthrough));
	case 10:
		a[2 + (a[1] & 15)] = (uint16_t)(what & 0x70 ? 0 : take(h, 1) % 16);
		a[1]++;
		__attribute__((fallthrough));
	default:
		if (p)
			p->ops->poll(p, 1 + (unsigned)(what >> 5 & 3));
	}
}

void blk_driver_once(const uint8_t *bytes, size_t n)
{
	struct hand h;

	set_up(&h, bytes, n);
	start_device(&h);
	for (unsigned i = 0; i < STEPS && h.at < h.end; i++)
		step(&h);
	tear_down(&h);
}

/* --- the hostile front end --------------------------------------------------------------------- */

static int any_fd(struct hand *h)
{
	int pipes[2];

	switch (take(h, 1) % 8) {
	case 0:
	case 1:
		return eventfd(0, EFD_CLOEXEC);
	case 2:
		return memfd_create("unsealed", MFD_CLOEXEC);
	case 3:
		CHECK(pipe2(pipes, O_CLOEXEC) == 0);
		close(pipes[0]);
		return pipes[1];
	case 4:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	case 5:
		return dup(h->sock);
	default:
		return dup(h->memfd);
	}
}

static void any_region(struct hand *h, struct vu_region *r)
{
	uint64_t kind = take(h, 1);

	r->gpa = kind & 3 ? (kind >> 2) * PAGE : take(h, 8);
	r->size = kind & 12 ? 1 + (kind >> 4) * PAGE : take(h, 8);
	r->user_addr = kind & 16 ? r->gpa + USER : take(h, 8);
	r->fd_offset = kind & 32 ? BEFORE : take(h, 8);
}

static uint32_t any_payload(struct hand *h, uint32_t request, union vu_payload *p)
{
	switch (request) {
	case VU_SET_MEM_TABLE:
		p->memory.n = (uint32_t)take(h, 1) % 10;
		for (unsigned i = 0; i < VU_TABLE_REGIONS && i < p->memory.n; i++)
			any_region(h, &p->memory.region[i]);
		return VU_MEMORY_HEADER + p->memory.n * (uint32_t)sizeof(p->memory.region[0]);
	case VU_ADD_MEM_REG:
	case VU_REM_MEM_REG:
		any_region(h, &p->slot.region);
		return sizeof(p->slot);
	case VU_SET_VRING_ADDR:
		p->addr = (struct vu_addr){.index = (uint32_t)take(h, 1) & 3,
			.desc = USER + any_gpa(h),
			.avail = USER + any_gpa(h),
			.used = USER + any_gpa(h)};
		return sizeof(p->addr);
	case VU_GET_CONFIG:
	case VU_SET_CONFIG:
		p->config.offset = (uint32_t)take(h, 1);
		p->config.size = (uint32_t)take(h, 1) * 2;
		p->config.bytes[0] = (uint8_t)take(h, 1);
		return VU_CONFIG_HEADER + (p->config.size < VU_CONFIG_BYTES ? p->config.size
									    : VU_CONFIG_BYTES);
	case VU_SET_VRING_KICK:
	case VU_SET_VRING_CALL:
	case VU_SET_VRING_ERR:
		p->u64 = take(h, 2) & 0x103;
		return sizeof(p->u64);
	case VU_SET_FEATURES:
	case VU_SET_PROTOCOL_FEATURES:
		p->u64 = take(h, 8);
		return sizeof(p->u64);
	case VU_SET_VRING_NUM:
	case VU_SET_VRING_BASE:
	case VU_GET_VRING_BASE:
	case VU_SET_VRING_ENABLE:
		p->state.index = (uint32_t)take(h, 1) & 3;
		p->state.num = (uint32_t)take(h, 2);
		if (p->state.num & 1)
			p->state.num = 1u << (p->state.num >> 8 & 15);
		return sizeof(p->state);
	default:
		return 0;
	}
}

static void any_message(struct hand *h)
{
	uint32_t request = (uint32_t)take(h, 1) % (VU_REQUESTS + 2), size;
	uint64_t odd = take(h, 1);
	union vu_payload p;
	int fds[10];
	unsigned nfds = odd & 3;

	memset(&p, 0, sizeof(p));
	size = any_payload(h, request, &p);
	if (size > sizeof(p))
		size = sizeof(p);
	if (request == VU_SET_MEM_TABLE && odd & 4)
		nfds = p.memory.n;
	if (odd >> 3 == 1) /* a wrong size */
		size = (uint32_t)take(h, 1);
	for (unsigned i = 0; i < nfds; i++)
		fds[i] = any_fd(h);
	say(h, request, &p, size, fds, nfds);
	for (unsigned i = 0; i < nfds; i++)
		close(fds[i]);
}

/* A message in order now and then, or the first wrong one would end the session. */
static void in_order(struct hand *h)
{
	uint32_t q = (uint32_t)take(h, 1) % QUEUES;

	switch (take(h, 1) % 4) {
	case 0:
		say_memory(h);
		break;
	case 1:
		start_queue(h, q, ENTRIES);
		break;
	case 2:
		say_state(h, VU_GET_VRING_BASE, q, 0);
		break;
	default:
		put_request(h, q);
		avail(h, q)[2 + (avail(h, q)[1] & (ENTRIES - 1))] = 0;
		avail(h, q)[1]++;
	}
	if (h->polled)
		h->polled->ops->poll(h->polled, 8);
}

void vhost_messages_once(const uint8_t *bytes, size_t n)
{
	struct hand h;

	set_up(&h, bytes, n);
	if (take(&h, 1) & 1)
		start_device(&h);
	for (unsigned i = 0; i < STEPS && h.at < h.end && h.ready; i++) {
		if (take(&h, 1) & 7)
			in_order(&h);
		else
			any_message(&h);
	}
	tear_down(&h);
}
