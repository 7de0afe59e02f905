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
#include "vq_driver.h"

#define SIZE 8u
#define TAGS 64u
#define MEM 16384u
#define RINGS 4096u
#define BUFFERS 8192u
#define RECORD_ROOM 1024u

/* All that outlives the device: guest memory, its record, and what the test notes about both. */
struct world {
	_Alignas(4096) uint8_t mem[MEM];
	_Alignas(64) uint8_t record[RECORD_ROOM];
	struct vqd driver;
	unsigned tags;			/* requests made so far */
	unsigned tag_of[SIZE];		/* by head */
	unsigned begun[TAGS], returned[TAGS];
	unsigned order[4 * TAGS], orders; /* tags in the order in which they were begun */
	int driver_busy;		/* the driver is at work: it does not end */
	unsigned calls;
};

static struct world *w, *before;
static struct sv_gmem gmem;

struct device {
	struct sv_virtq vq;
	struct sv_inflight record;
};

static void call(void *ctx)
{
	(void)ctx;
	w->calls++;
}

static void up(void)
{
	w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	before = malloc(sizeof(*before));
	cr_assert(w != MAP_FAILED && before);
	vqd_init(&w->driver, w->mem, RINGS, SIZE, false);
	gmem = (struct sv_gmem){.n = 1, .region[0] = {.size = MEM, .host = w->mem}};
}

static void down(void)
{
	munmap(w, sizeof(*w));
	free(before);
}

TestSuite(inflight, .init = up, .fini = down);

/* --- the driver ------------------------------------------------------------------------------ */

static void driver_adds(unsigned n)
{
	w->driver_busy = 1;
	for (; n && w->driver.nfree; n--) {
		unsigned tag = w->tags++;
		struct vqd_buf b = {BUFFERS + 8 * tag, 4, true};
		int head = vqd_add(&w->driver, &b, 1, 0);

		w->tag_of[head] = tag;
	}
	vqd_publish(&w->driver);
	w->driver_busy = 0;
}

static void driver_takes(void)
{
	int head;

	w->driver_busy = 1;
	while ((head = vqd_get(&w->driver, NULL)) >= 0)
		w->returned[w->tag_of[head]]++;
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

	device_starts(&d, 0);
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

	device_starts(&d, w->driver.used->idx);
	for (unsigned round = 0; round < 8; round++) {
		while (n < 3 && (head[n] = device_begins(&d)) >= 0)
			n++;
		while (n)
			sv_virtq_put(&d.vq, (uint16_t)head[--n], 4);
		sv_virtq_publish(&d.vq);
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
		struct world *last = malloc(sizeof(*last));

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
	check_order(first);
	driver_adds(SIZE);
	cr_assert_eq(w->driver.nfree, 0, "and the queue goes on");
}

Test(inflight, end_at_any_instruction_loses_and_repeats_nothing)
{
	driver_adds(6);
	unsigned n = step(scenario, device_ended);

	cr_log_info("%u places where the device ended", n);
	cr_assert_gt(n, 50);
}

/*
 * Every 16th of those ends, and all in the middle of a publication, are followed by an end of the
 * successor at every instruction.
 */
static void device_ended_and_successor_too(void)
{
	const struct inflight_split *r = (const void *)w->record;
	static unsigned n;

	if (n++ % 16 && r->used_idx == w->driver.used->idx)
		return;
	driver_takes();
	step(successor, device_ended);
}

Test(inflight, successor_that_ends_at_any_instruction_loses_nothing_either)
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
