/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The record of what is in flight, against an end at every single instruction: a device runs under
 * single steps, and after each step that changed shared memory a successor takes over from exactly
 * what is there. The driver and the rule it holds the device to are the test's own.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inflight.h"
#include "inflight_packed.h"
#include "vq_driver.h"
#include "vq_packed_driver.h"

#define SIZE 8u
#define TAGS 64u
#define MEM 16384u
#define RINGS 4096u
#define BUFFERS 8192u
#define RECORD_ROOM 1024u
/* Instrumented code has many times the instructions, and each is a step. */
#ifdef __SANITIZE_ADDRESS__
#define FEWER 64u
#else
#define FEWER 1u
#endif

/* All that outlives the device: guest memory, its record, and what the test notes about both. */
struct world {
	_Alignas(4096) uint8_t mem[MEM];
	_Alignas(64) uint8_t record[RECORD_ROOM];
	bool is_packed; /* which of the two drives */
	struct vqd driver;
	struct vqp packed;
	unsigned tags;			/* requests made so far */
	unsigned tag_of[SIZE];		/* by head */
	unsigned begun[TAGS], returned[TAGS];
	unsigned order[4 * TAGS], orders; /* tags in the order in which they were begun */
	int driver_busy;		/* the driver is at work: it does not end */
	unsigned calls, strange; /* interrupts; used elements that no request is out for */
};

static struct world *w, *before;
static struct sv_gmem gmem;

struct device {
	struct sv_virtq vq;
	struct sv_inflight record;
	struct sv_inflight_packed packed_record;
};

static void call(void *ctx)
{
	(void)ctx;
	w->calls++;
}

static void up(void)
{
	w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	before = aligned_alloc(_Alignof(struct world), sizeof(*before));
	cr_assert(w != MAP_FAILED && before);
	vqd_init(&w->driver, w->mem, RINGS, SIZE, false);
	gmem = (struct sv_gmem){.n = 1, .region[0] = {.size = MEM, .host = w->mem}};
}

static void down(void)
{
	munmap(w, sizeof(*w));
	free(before);
}

static void up_packed(void)
{
	up();
	w->is_packed = true;
	vqp_init(&w->packed, w->mem, RINGS, SIZE, false);
}

TestSuite(inflight, .init = up, .fini = down);
TestSuite(inflight_packed, .init = up_packed, .fini = down);

/* --- the driver ------------------------------------------------------------------------------ */

static unsigned room(void)
{
	return w->is_packed ? w->packed.nfree : w->driver.nfree;
}

/* Packed: chains of one to three descriptors, where there is room. */
static int add(unsigned tag)
{
	struct vqd_buf b[3] = {{BUFFERS + 8 * tag, 4, true}, {BUFFERS + 8 * tag, 4, true},
		{BUFFERS + 8 * tag, 4, true}};
	unsigned n = 1 + tag % 3;

	if (!w->is_packed)
		return vqd_add(&w->driver, b, 1, 0);
	return vqp_add(&w->packed, b, n < room() ? n : room(), 0);
}

static void driver_adds(unsigned n)
{
	w->driver_busy = 1;
	for (; n && room(); n--) {
		unsigned tag = w->tags++;

		w->tag_of[add(tag)] = tag;
	}
	if (w->is_packed)
		vqp_publish(&w->packed);
	else
		vqd_publish(&w->driver);
	w->driver_busy = 0;
}

static int get(void)
{
	return w->is_packed ? vqp_get(&w->packed, NULL) : vqd_get(&w->driver, NULL);
}

static void driver_takes(void)
{
	int head;

	w->driver_busy = 1;
	while ((head = get()) >= 0)
		w->returned[w->tag_of[head]]++;
	w->strange += head != -1;
	w->driver_busy = 0;
}

/* --- the device ------------------------------------------------------------------------------ */

static void device_starts(struct device *d, uint16_t base)
{
	memset(d, 0, sizeof(*d));
	d->record.split = (void *)w->record;
	d->record.room = SIZE;
	d->vq = (struct sv_virtq){.gmem = &gmem,
		.desc = w->driver.desc,
		.avail = w->driver.avail,
		.used = w->driver.used,
		.size = SIZE,
		.call = call,
		.record = &d->record};
	sv_virtq_start(&d->vq, base);
}

static void packed_device_starts(struct device *d, uint32_t base)
{
	memset(d, 0, sizeof(*d));
	d->packed_record.region = (void *)w->record;
	d->packed_record.room = SIZE;
	d->vq = (struct sv_virtq){.gmem = &gmem,
		.desc = w->packed.ring,
		.avail = w->packed.driver,
		.used = w->packed.device,
		.size = SIZE,
		.packed = true,
		.call = call,
		.packed_record = &d->packed_record};
	sv_virtq_start(&d->vq, base);
}

/* As a front end would have it that knows no more than what is in guest memory. */
static void starts(struct device *d)
{
	if (w->is_packed)
		packed_device_starts(d, sv_virtq_first_base(true));
	else
		device_starts(d, w->driver.used->idx);
}

/* Take and begin one request. Return: its head, or -1: there is none. */
static int device_begins(struct device *d)
{
	struct sv_virtq_chain c;

	if (sv_virtq_take(&d->vq, &c) != SV_VIRTQ_ONE)
		return -1;
	w->begun[w->tag_of[c.head]]++;
	w->order[w->orders++] = w->tag_of[c.head];
	return c.head;
}

/* Some of everything: batches of one and of several, out of order, heads that are used again. */
static void scenario(void)
{
	static struct device d;
	int a, b, c;

	starts(&d);
	a = device_begins(&d);
	b = device_begins(&d);
	c = device_begins(&d);
	sv_virtq_put(&d.vq, (uint16_t)c, 4);
	sv_virtq_put(&d.vq, (uint16_t)a, 4);
	sv_virtq_publish(&d.vq);
	driver_takes();
	driver_adds(4);
	a = device_begins(&d);
	sv_virtq_put(&d.vq, (uint16_t)a, 4);
	sv_virtq_publish(&d.vq);
	a = device_begins(&d);
	c = device_begins(&d);
	sv_virtq_put(&d.vq, (uint16_t)c, 4);
	sv_virtq_put(&d.vq, (uint16_t)b, 4);
	b = device_begins(&d);
	sv_virtq_put(&d.vq, (uint16_t)b, 4);
	sv_virtq_publish(&d.vq);
	driver_takes();
	driver_adds(3);
	b = device_begins(&d);
	sv_virtq_put(&d.vq, (uint16_t)b, 4);
	sv_virtq_publish(&d.vq);
}

/* What a front end does with a back end that went: it goes on from the used ring. */
static void successor(void)
{
	static struct device d;
	int head[SIZE];
	unsigned n = 0;

	starts(&d);
	for (unsigned round = 0; round < 10; round++) {
		while (n < (round < 4 ? 1 : 3) && (head[n] = device_begins(&d)) >= 0)
			n++;
		while (n)
			sv_virtq_put(&d.vq, (uint16_t)head[--n], 4);
		sv_virtq_publish(&d.vq);
		driver_takes();
	}
}

/* --- stepping -------------------------------------------------------------------------------- */

/* Let a child run @what by single steps; call @ended where shared memory changed, with it at rest. */
static unsigned step(void (*what)(void), void (*ended)(void))
{
	pid_t child = fork();
	unsigned changes = 0;
	int status;

	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		what();
		_exit(0);
	}
	waitpid(child, &status, 0);
	cr_assert(WIFSTOPPED(status));
	for (;;) {
		struct world *last = aligned_alloc(_Alignof(struct world), sizeof(*last));

		memcpy(last, w, sizeof(*w));
		do {
			ptrace(PTRACE_SINGLESTEP, child, NULL, NULL);
			waitpid(child, &status, 0);
		} while (WIFSTOPPED(status) && (w->driver_busy || !memcmp(last, w, sizeof(*w))));
		memcpy(last, w, sizeof(*w));
		if (!WIFSTOPPED(status)) {
			free(last);
			break;
		}
		changes++;
		ended();
		memcpy(w, last, sizeof(*w));
		free(last);
	}
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return changes;
}

static void check_order(unsigned first)
{
	/* The successor begins the old ones by age: tags grow, and the driver's order is that too. */
	for (unsigned i = first + 1; i < w->orders; i++)
		cr_assert_gt(w->order[i], w->order[i - 1], "order of resubmission");
}

/* The device ended here: a successor takes over, and every request comes back exactly once. */
static void device_ended(void)
{
	unsigned already[TAGS], first = w->orders;

	driver_takes();
	memcpy(already, w->begun, sizeof(already));
	memcpy(before, w, sizeof(*w));
	successor();
	driver_takes();
	for (unsigned t = 0; t < w->tags; t++) {
		cr_assert_eq(w->returned[t], 1, "request %u came back %u times", t, w->returned[t]);
		cr_assert_geq(w->begun[t], 1);
		if (before->returned[t])
			cr_assert_eq(w->begun[t], already[t], "%u was over and is begun again", t);
		else
			cr_assert_leq(w->begun[t], already[t] + 1);
	}
	cr_assert_eq(w->strange, 0);
	check_order(first);
	driver_adds(SIZE);
	cr_assert_eq(room(), 0, "and the queue goes on");
}

Test(inflight, end_at_any_instruction_loses_and_repeats_nothing)
{
	driver_adds(6);
	unsigned n = step(scenario, device_ended);

	cr_log_info("%u places where the device ended", n);
	cr_assert_gt(n, 50);
}

/*
 * Some of those ends, and all in the middle of a publication, are followed by an end of the
 * successor at every instruction.
 */
static bool publishing(void)
{
	const struct inflight_packed *p = (const void *)w->record;
	const struct inflight_split *s = (const void *)w->record;

	return w->is_packed ? p->used.idx != p->used.old_idx : s->used_idx != w->driver.used->idx;
}

static void device_ended_and_successor_too(void)
{
	static unsigned n;

	if (n++ % ((w->is_packed ? 128 : 32) * FEWER) && !(publishing() && n % (4 * FEWER) == 0))
		return;
	driver_takes();
	step(successor, device_ended);
}

Test(inflight, successor_that_ends_at_any_instruction_loses_nothing_either)
{
	driver_adds(6);
	step(scenario, device_ended_and_successor_too);
}

Test(inflight_packed, end_at_any_instruction_loses_and_repeats_nothing)
{
	driver_adds(6);
	unsigned n = step(scenario, device_ended);

	cr_log_info("%u places where the device ended", n);
	cr_assert_gt(n, 50);
}

Test(inflight_packed, successor_that_ends_at_any_instruction_loses_nothing_either)
{
	driver_adds(6);
	step(scenario, device_ended_and_successor_too);
}

/* --- regions that are not what they should be ------------------------------------------------ */

static struct inflight_split *region(void)
{
	return (void *)w->record;
}

static enum sv_virtq_defect started(uint16_t base)
{
	static struct device d;

	device_starts(&d, base);
	return d.vq.broken;
}

Test(inflight, region_that_was_never_used_is_formatted)
{
	memset(w->record, 0xff, sizeof(w->record));
	region()->version = 0;
	cr_assert_eq(started(7), SV_VIRTQ_OK);
	cr_assert_eq(region()->version, 1);
	cr_assert_eq(region()->desc_num, SIZE);
	cr_assert_eq(region()->used_idx, 7);
	for (unsigned i = 0; i < SIZE; i++)
		cr_assert_eq(region()->desc[i].inflight, 0);
}

Test(inflight, contradictions_break_the_queue)
{
	cr_assert_eq(started(0), SV_VIRTQ_OK);
	region()->desc[3].inflight = 1;
	w->driver.used->idx = 9; /* nine chains in the last batch, of a queue of eight */
	cr_assert_eq(started(0), SV_VIRTQ_BAD_RECORD);
	w->driver.used->idx = 1;
	region()->used_idx = 0;
	region()->last_batch_head = SIZE;
	cr_assert_eq(started(0), SV_VIRTQ_BAD_RECORD);
}

Test(inflight, chain_recorded_that_the_driver_never_made_breaks_the_queue_when_it_is_taken)
{
	static struct device d;

	cr_assert_eq(started(0), SV_VIRTQ_OK);
	region()->desc[3].inflight = 1;
	w->driver.desc[3].len = 1u << 30;
	device_starts(&d, 0);
	cr_assert_eq(sv_virtq_agains(&d.vq), 1);
	cr_assert_eq(device_begins(&d), -1);
	cr_assert_neq(d.vq.broken, SV_VIRTQ_OK);
}

/* --- packed ---------------------------------------------------------------------------------- */

static struct inflight_packed *packed_region(void)
{
	return (void *)w->record;
}

/* One chain of two descriptors is out, and its device has ended. */
static void one_is_out(void)
{
	static struct device d;

	packed_device_starts(&d, sv_virtq_first_base(true));
	w->tags = 1;
	driver_adds(1);
	cr_assert_geq(device_begins(&d), 0);
}

static struct device *packed_successor(void)
{
	static struct device d;

	packed_device_starts(&d, sv_virtq_first_base(true));
	return &d;
}

Test(inflight_packed, chain_is_taken_again_from_its_copy)
{
	struct device *d;

	one_is_out();
	/* The ring is no source any more: a used element may lie there. */
	memset(w->packed.ring, 0, 2 * sizeof(w->packed.ring[0]));
	d = packed_successor();
	cr_assert_eq(d->vq.broken, SV_VIRTQ_OK);
	cr_assert_eq(sv_virtq_agains(&d->vq), 1);
	cr_assert_geq(device_begins(d), 0);
	cr_assert_eq(d->vq.positions, 2);
	cr_assert_eq(d->vq.next_avail, 2);
	cr_assert_eq(device_begins(d), -1);
	cr_assert_eq(d->vq.broken, SV_VIRTQ_OK);
}

Test(inflight_packed, what_is_taken_can_be_given_back_in_either_way)
{
	struct sv_virtq_chain c;
	struct device *d;

	one_is_out();
	driver_adds(1);
	d = packed_successor();
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(sv_virtq_take(&d->vq, &c), SV_VIRTQ_ONE);
		sv_virtq_untake(&d->vq, c.head);
	}
	cr_assert_eq(sv_virtq_agains(&d->vq), 1);
	cr_assert_geq(device_begins(d), 0);
	cr_assert_eq(sv_virtq_take(&d->vq, &c), SV_VIRTQ_ONE);
	sv_virtq_untake(&d->vq, c.head);
	cr_assert_eq(sv_virtq_take(&d->vq, &c), SV_VIRTQ_ONE);
	cr_assert_eq(sv_virtq_agains(&d->vq), 0);
}

static void forged(void (*forge)(struct inflight_packed *r))
{
	static struct inflight_packed keep;
	struct device *d;

	keep = *packed_region();
	forge(packed_region());
	d = packed_successor();
	if (!d->vq.broken)
		cr_assert_eq(device_begins(d), -1);
	cr_assert_neq(d->vq.broken, SV_VIRTQ_OK);
	*packed_region() = keep;
}

static void free_list_loops(struct inflight_packed *r)
{
	r->desc[r->free.head].next = r->free.head;
}
static void free_list_leaves(struct inflight_packed *r)
{
	r->free.old_head = SIZE;
}
static void chain_too_long(struct inflight_packed *r)
{
	r->desc[0].num = SIZE + 1;
}
static void chain_empty(struct inflight_packed *r)
{
	r->desc[0].num = 0;
}
static void chain_in_the_free_list(struct inflight_packed *r)
{
	r->desc[0].next = r->free.head;
}
static void id_beyond(struct inflight_packed *r)
{
	r->desc[1].id = SIZE;
}
static void endless(struct inflight_packed *r)
{
	r->desc[1].flags |= VRING_DESC_F_NEXT;
}
static void address_beyond(struct inflight_packed *r)
{
	r->desc[1].addr = 1ull << 40;
}
static void position_beyond(struct inflight_packed *r)
{
	r->used.old_idx = SIZE;
}

Test(inflight_packed, contradictions_break_the_queue)
{
	void (*const forge[])(struct inflight_packed *) = {free_list_loops, free_list_leaves,
		chain_too_long, chain_empty, chain_in_the_free_list, id_beyond, endless, address_beyond,
		position_beyond};

	for (unsigned i = 0; i < sizeof(forge) / sizeof(forge[0]); i++) {
		one_is_out();
		forged(forge[i]);
		down();
		up_packed();
	}
}
