/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtq_once.h"

#include <linux/virtio_ring.h>

#include <io/virtq.h>

#include "fuzz_input.h"
#include "inflight.h"
#include "inflight_packed.h"

#define A_BYTES 0x2000u /* guest-physical 0: rings, tables, buffers */
#define B_BYTES 0x1000u /* right behind it, elsewhere in the host: buffers may lie across */
#define C_BYTES 0x1000u
#define C_GPA 0x100000u
#define ENTRIES 32u /* at most */
#define AVAIL_AT 0x400u
#define USED_AT 0x800u
#define TABLE_AT 0x1000u
#define STEPS 300u
#define RECORD_BYTES                                                                               \
	(sizeof(struct inflight_packed) + ENTRIES * sizeof(struct inflight_packed_desc))
_Static_assert(RECORD_BYTES % 16 == 0, "walls are aligned");
#define LOG_BYTES 40u

static struct {
	uint8_t wall0[WALL];
	uint8_t a[A_BYTES];
	uint8_t wall1[WALL];
	uint8_t b[B_BYTES];
	uint8_t wall2[WALL];
	uint8_t c[C_BYTES];
	uint8_t wall3[WALL];
	uint8_t record[RECORD_BYTES];
	uint8_t wall4[WALL];
	uint8_t log[LOG_BYTES];
	uint8_t wall5[WALL];
} mem __attribute__((aligned(64)));

struct held {
	uint16_t head;
	bool held;
	bool twice; /* a split queue's driver gave the head again: it spoils its own log */
	unsigned pieces;
	struct iovec piece[4]; /* the first writable ones */
};

static struct virtq_fuzz {
	struct fuzz_input in;
	struct sv_gmem gmem;
	struct sv_virtq vq;
	struct sv_virtq_log log;
	struct sv_inflight record;
	struct sv_inflight_packed packed_record;
	struct held held[ENTRIES]; /* in the order of taking, without what was given back before */
	unsigned n, out;
	unsigned undo;    /* of the list's end: nothing taken after them has been put */
	bool last_is_new; /* nothing happened since it was taken */
	uint64_t calls;
} fuzz;

static struct sv_virtq_written written[SV_VIRTQ_MAX_SIZE];

static void call(void *ctx)
{
	((struct virtq_fuzz *)ctx)->calls++;
}

static void set_region(struct sv_gmem_region *r, uint64_t gpa, uint8_t *host, uint64_t size)
{
	*r = (struct sv_gmem_region){.gpa = gpa, .size = size, .host = host, .fd = -1};
}

static void set_memory(struct virtq_fuzz *f, unsigned regions)
{
	set_region(&f->gmem.region[0], 0, mem.a, A_BYTES);
	set_region(&f->gmem.region[1], A_BYTES, mem.b, B_BYTES);
	set_region(&f->gmem.region[2], C_GPA, mem.c, C_BYTES);
	f->gmem.n = regions;
}

static void set_up(struct virtq_fuzz *f, const uint8_t *bytes, size_t n)
{
	uint64_t kind, size;

	memset(mem.a, 0, A_BYTES);
	memset(mem.b, 0, B_BYTES);
	memset(mem.c, 0, C_BYTES);
	memset(mem.log, 0, LOG_BYTES);
	memset(f, 0, sizeof(*f));
	wall_up(mem.wall0);
	wall_up(mem.wall1);
	wall_up(mem.wall2);
	wall_up(mem.wall3);
	wall_up(mem.wall4);
	wall_up(mem.wall5);
	f->in = (struct fuzz_input){bytes, bytes + n};
	kind = fuzz_take(&f->in, 1);
	size = fuzz_take(&f->in, 1);
	set_memory(f, 3);
	f->vq = (struct sv_virtq){.gmem = &f->gmem,
		.desc = mem.a,
		.avail = mem.a + AVAIL_AT,
		.used = mem.a + USED_AT,
		.size = (uint16_t)(1u << size % 6),
		.packed = kind & 1,
		.event_idx = kind & 2,
		.indirect = !(kind & 4),
		.in_order = (kind & 24) == 24,
		.call = kind & 64 ? NULL : call,
		.call_ctx = f};
	if (kind & 32) {
		f->log = (struct sv_virtq_log){
			.bits = mem.log, .bytes = size & 128 ? 1 : LOG_BYTES, .written = written};
		f->vq.log = &f->log;
	}
	if (kind & 128) {
		memset(mem.record, 0, sizeof(mem.record));
		f->record.split = (void *)mem.record;
		f->packed_record.region = (void *)mem.record;
		f->record.room =
			(uint16_t)(size & 8 && f->vq.size < ENTRIES ? 2 * f->vq.size : f->vq.size);
		f->packed_record.room = f->record.room;
		f->vq.record = f->vq.packed ? NULL : &f->record;
		f->vq.packed_record = f->vq.packed ? &f->packed_record : NULL;
		for (uint64_t i = size >> 3 & 7; i; i--)
			mem.record[fuzz_take(&f->in, 2) % RECORD_BYTES] =
				(uint8_t)fuzz_take(&f->in, 1);
	}
	sv_virtq_start(&f->vq, f->vq.packed && !(size & 64)
				       ? sv_virtq_first_base(true)
				       : (uint32_t)fuzz_take(&f->in, size & 64 ? 4 : 0));
}

/* --- the hostile driver ------------------------------------------------------------------------
 */

static uint64_t any_gpa(struct fuzz_input *in)
{
	uint64_t kind = fuzz_take(in, 1);

	switch (kind & 7) {
	case 0:
		return A_BYTES - (kind >> 3);
	case 1:
		return A_BYTES + B_BYTES - (kind >> 3);
	case 2:
		return C_GPA + (kind >> 3) * 128;
	case 3:
		return UINT64_MAX - (kind >> 3);
	case 4:
		return fuzz_take(in, 8);
	default:
		return fuzz_take(in, 2) % (A_BYTES + B_BYTES);
	}
}

static uint32_t any_len(struct fuzz_input *in)
{
	static const uint32_t some[] = {16, 1, 512, 4096, 0, 12, 32, 513, 65536, UINT32_MAX, 48};
	uint64_t kind = fuzz_take(in, 1);

	return kind & 0x80 ? (uint32_t)fuzz_take(in, 2)
			   : some[kind % (sizeof(some) / sizeof(some[0]))];
}

static void put_desc(uint8_t *at, uint64_t addr, uint32_t len, uint16_t third, uint16_t fourth)
{
	struct vring_desc d = {addr, len, third, fourth};

	memcpy(at, &d, sizeof(d));
}

/* Split: flags, next. Packed: id, flags. */
static void put_chain(struct virtq_fuzz *f, unsigned at, unsigned n, bool hostile)
{
	struct sv_virtq *vq = &f->vq;
	bool wrap = vq->avail_wrap;
	unsigned i = at % vq->size;

	for (unsigned k = 0; k < n; k++) {
		uint16_t flags = (uint16_t)(k + 1 < n ? VRING_DESC_F_NEXT : 0);
		uint64_t addr = hostile ? any_gpa(&f->in) : TABLE_AT + 0x100 * k;
		uint32_t len = hostile ? any_len(&f->in) : 64;
		uint64_t odd = hostile ? fuzz_take(&f->in, 1) : 0;

		if (k >= n / 2)
			flags |= VRING_DESC_F_WRITE;
		flags ^= (uint16_t)(odd & 7 & -(odd >> 7));
		if (vq->packed) {
			flags |= (uint16_t)(wrap ? 1u << VRING_PACKED_DESC_F_AVAIL
						 : 1u << VRING_PACKED_DESC_F_USED);
			put_desc(mem.a + 16 * i, addr, len,
				(uint16_t)(odd & 8 ? odd >> 4 : at % vq->size), flags);
		} else {
			put_desc(mem.a + 16 * i, addr, len, flags,
				(uint16_t)(odd & 8 ? odd >> 4 : (i + 1) % vq->size));
		}
		i++;
		if (i == vq->size) {
			i = 0;
			wrap = !wrap;
		}
	}
}

static void put_table(struct virtq_fuzz *f)
{
	uint64_t n = fuzz_take(&f->in, 1) & 15, at = TABLE_AT + (fuzz_take(&f->in, 1) & 15) * 8;

	for (unsigned k = 0; k < n; k++)
		put_desc(mem.a + at + 16 * k, any_gpa(&f->in), any_len(&f->in),
			(uint16_t)(fuzz_take(&f->in, 1) & 7), (uint16_t)(k + 1));
	put_desc(mem.a + 16 * (f->vq.packed ? f->vq.next_avail : fuzz_take(&f->in, 1) % f->vq.size),
		at, (uint32_t)(16 * n), VRING_DESC_F_INDIRECT, 0);
	if (f->vq.packed) {
		uint16_t flags = (uint16_t)(VRING_DESC_F_INDIRECT |
					    (f->vq.avail_wrap ? 1u << VRING_PACKED_DESC_F_AVAIL
							      : 1u << VRING_PACKED_DESC_F_USED));

		put_desc(mem.a + 16 * f->vq.next_avail, at, (uint32_t)(16 * n), f->vq.next_avail,
			flags);
	}
}

static void push(uint64_t head)
{
	struct vring_avail *avail = (void *)(mem.a + AVAIL_AT);

	avail->ring[avail->idx & (fuzz.vq.size - 1u)] = (uint16_t)head;
	avail->idx++;
}

/* --- what the device does, and what it was promised --------------------------------------------
 */

static bool inside(const void *p, size_t n)
{
	const uint8_t *at = p;

	return (at >= mem.a && at + n <= mem.a + A_BYTES) ||
	       (at >= mem.b && at + n <= mem.b + B_BYTES) ||
	       (at >= mem.c && at + n <= mem.c + C_BYTES);
}

static uint64_t page_of(const uint8_t *at)
{
	if (at >= mem.c && at < mem.c + C_BYTES)
		return C_GPA / 4096 + (uint64_t)(at - mem.c) / 4096;
	if (at >= mem.b && at < mem.b + B_BYTES)
		return A_BYTES / 4096 + (uint64_t)(at - mem.b) / 4096;
	return (uint64_t)(at - mem.a) / 4096;
}

static void check_chain(struct virtq_fuzz *f, const struct sv_virtq_chain *c)
{
	uint64_t bytes[2] = {0, 0};

	CHECK(c->head < f->vq.size);
	CHECK(c->readable + c->writable && c->readable + c->writable <= SV_VIRTQ_CHAIN_MAX);
	for (unsigned i = 0; i < c->readable + c->writable; i++) {
		CHECK(c->iov[i].iov_len && inside(c->iov[i].iov_base, c->iov[i].iov_len));
		bytes[i >= c->readable] += c->iov[i].iov_len;
	}
	CHECK(bytes[0] == c->readable_bytes && bytes[1] == c->writable_bytes);
}

static void take(struct virtq_fuzz *f)
{
	static struct sv_virtq_chain c;
	bool was_broken = f->vq.broken;
	struct held *h;
	enum sv_virtq_take took;

	if (f->n == ENTRIES)
		return;
	took = sv_virtq_take(&f->vq, &c);
	CHECK(!was_broken || took == SV_VIRTQ_BROKEN);
	CHECK((took == SV_VIRTQ_BROKEN) == (f->vq.broken != 0));
	if (took != SV_VIRTQ_ONE)
		return;
	check_chain(f, &c);
	CHECK(f->out < f->vq.size);
	f->out++;
	h = &f->held[f->n++];
	*h = (struct held){.head = c.head, .held = true};
	for (unsigned i = 0; i + 1 < f->n; i++)
		if (f->held[i].held && f->held[i].head == c.head)
			h->twice = f->held[i].twice = true;
	for (unsigned i = 0; i < c.writable && i < 4; i++)
		h->piece[h->pieces++] = c.iov[c.readable + i];
	f->last_is_new = true;
	f->undo++;
}

static void forget_returned(struct virtq_fuzz *f)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < f->n; i++)
		if (f->held[i].held)
			f->held[kept++] = f->held[i];
	f->n = kept;
}

static void put(struct virtq_fuzz *f, unsigned i, bool write)
{
	struct held *h = &f->held[i];
	uint32_t bytes = 0;

	if (!h->held)
		return;
	for (unsigned k = 0; k < h->pieces && write; k++) {
		uint8_t *at = h->piece[k].iov_base;

		at[0] = 0x5a;
		at[h->piece[k].iov_len - 1] = 0x5a;
		bytes += (uint32_t)h->piece[k].iov_len;
	}
	sv_virtq_put(&f->vq, h->head, bytes);
	for (unsigned k = 0; k < h->pieces && write && f->vq.log && !f->vq.in_order && !h->twice; k++) {
		uint64_t page = page_of(h->piece[k].iov_base);

		CHECK(page / 8 >= f->log.bytes || mem.log[page / 8] & 1u << page % 8);
	}
	h->held = false;
	f->out--;
	if (f->undo > f->n - 1 - i)
		f->undo = f->n - 1 - i;
	f->last_is_new = false;
}

static void publish(struct virtq_fuzz *f)
{
	const struct vring_used *used = f->vq.used;
	uint16_t before = f->vq.published_used;

	sv_virtq_publish(&f->vq);
	if (!f->vq.packed && f->vq.published_used != before)
		CHECK(used->idx == f->vq.published_used);
	CHECK(f->vq.inflight >= f->out && f->vq.inflight <= f->vq.size);
	if (!f->out)
		CHECK(!f->vq.inflight);
	forget_returned(f);
}

static void untake(struct virtq_fuzz *f)
{
	if (!f->undo || f->vq.broken)
		return;
	f->undo--;
	sv_virtq_untake(&f->vq, f->held[--f->n].head);
	f->out--;
	f->last_is_new = false;
}

static void reject(struct virtq_fuzz *f)
{
	if (!f->last_is_new || f->vq.broken)
		return;
	sv_virtq_reject(&f->vq);
	f->n--;
	f->undo--;
	f->out--;
	CHECK(f->vq.broken == SV_VIRTQ_BAD_REQUEST);
	f->last_is_new = false;
}

static void give_back_all(struct virtq_fuzz *f)
{
	for (unsigned i = 0; i < f->n; i++)
		put(f, i, false);
	publish(f);
	CHECK(!f->out && !f->vq.inflight && !f->n);
	f->undo = 0;
}

static void restart(struct virtq_fuzz *f, uint64_t how)
{
	uint32_t base;

	give_back_all(f);
	set_memory(f, 1 + (unsigned)(how % 3));
	base = sv_virtq_position(&f->vq);
	if (how & 8)
		base = (uint32_t)fuzz_take(&f->in, 4);
	sv_virtq_start(&f->vq, base);
	CHECK(!f->vq.inflight);
	f->last_is_new = false;
}

static void step(struct virtq_fuzz *f)
{
	uint64_t what = fuzz_take(&f->in, 1), arg = what >> 4;
	struct sv_virtq *vq = &f->vq;

	switch (what & 15) {
	case 0:
		put_chain(f, vq->packed ? vq->next_avail : (unsigned)fuzz_take(&f->in, 1),
			1 + arg % 4, true);
		break;
	case 1:
		put_chain(f, vq->packed ? vq->next_avail : (unsigned)fuzz_take(&f->in, 1),
			1 + arg % 4, false);
		break;
	case 2:
		push(arg ? fuzz_take(&f->in, 1) % vq->size : 0);
		break;
	case 3: /* anything, anywhere near the rings */
		mem.a[fuzz_take(&f->in, 2) % TABLE_AT] = (uint8_t)fuzz_take(&f->in, 1);
		break;
	case 4:
		put_table(f);
		break;
	case 5:
		((struct vring_avail *)vq->avail)->idx =
			(uint16_t)(arg & 1 ? vq->next_avail + arg / 2 : fuzz_take(&f->in, 2));
		break;
	case 6:
	case 7:
		for (uint64_t i = 0; i <= arg; i++)
			take(f);
		break;
	case 8:
		if (f->n)
			put(f, (unsigned)(arg % f->n), true);
		break;
	case 9:
		publish(f);
		break;
	case 10:
		untake(f);
		break;
	case 11:
		if (arg == 3)
			reject(f);
		else if (arg & 1)
			sv_virtq_suppress(vq);
		else
			(void)sv_virtq_arm(vq);
		break;
	case 12:
		if (arg & 4)
			restart(f, arg);
		else
			sv_virtq_signal(vq);
		break;
	case 13: /* a whole round in order */
		put_chain(f, vq->next_avail, 1 + arg % 3, false);
		if (!vq->packed)
			push(vq->next_avail & (vq->size - 1u));
		take(f);
		if (f->n)
			put(f, f->n - 1, true);
		publish(f);
		break;
	case 14:
		if (vq->record || vq->packed_record)
			mem.record[fuzz_take(&f->in, 2) % RECORD_BYTES] =
				(uint8_t)fuzz_take(&f->in, 1);
		break;
	default: /* the last first: what a device in order must keep back */
		for (unsigned i = f->n; i-- > 0;)
			if (arg & 1u << i % 4)
				put(f, i, true);
		publish(f);
	}
}

void virtq_once(const uint8_t *bytes, size_t n)
{
	struct virtq_fuzz *f = &fuzz;

	set_up(f, bytes, n);
	for (unsigned i = 0; i < STEPS && fuzz_left(&f->in); i++)
		step(f);
	give_back_all(f);
	wall_check(mem.wall0);
	wall_check(mem.wall1);
	wall_check(mem.wall2);
	wall_check(mem.wall3);
	wall_check(mem.wall4);
	wall_check(mem.wall5);
}
