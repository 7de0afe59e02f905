/* SPDX-License-Identifier: BSD-3-Clause */
#include <bench/core_latency.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <channels/ring.h>

#define ENTRIES 4u
#define BATCHES 40u
#define BATCH 50u
#define WARM_UP 200u
#define GIVE_UP_NS 1000000000ull
#define LOOKS 4096u /* between looks at the clock */

/* Each on lines of its own: what travels is one slot each way. */
struct pair {
	union sv_slot request[ENTRIES], answer[ENTRIES];
	uint64_t request_consumed __attribute__((aligned(128)));
	uint64_t answer_consumed __attribute__((aligned(128)));
	uint32_t stop __attribute__((aligned(128)));
	uint32_t ready __attribute__((aligned(128)));
	int cpu[2];
	int pinned[2];
	double batch_ns[BATCHES];
	bool done;
} __attribute__((aligned(128)));

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static int pin(int cpu)
{
	size_t bytes = CPU_ALLOC_SIZE(cpu + 1);
	cpu_set_t *set = CPU_ALLOC(cpu + 1);
	int rc;

	if (!set)
		return ENOMEM;
	CPU_ZERO_S(bytes, set);
	CPU_SET_S((size_t)cpu, bytes, set);
	rc = sched_setaffinity(0, bytes, set) < 0 ? errno : 0;
	CPU_FREE(set);
	return rc;
}

/* Take one message; false: told to stop, or too late. */
static bool await(struct pair *p, struct sv_ring_rx *rx, union sv_slot *msg, uint64_t give_up)
{
	for (unsigned looks = 1;; looks++) {
		if (sv_ring_take(rx, msg) == SV_TAKE_ONE)
			return true;
		if (looks % LOOKS == 0 && (sv_load_acquire(&p->stop) || now_ns() > give_up))
			return false;
	}
}

static void *answer(void *arg)
{
	struct pair *p = arg;
	struct sv_ring_tx tx;
	struct sv_ring_rx rx;
	union sv_slot msg;
	uint64_t give_up = now_ns() + 2 * GIVE_UP_NS;

	p->pinned[1] = pin(p->cpu[1]);
	sv_ring_tx_init(&tx, p->answer, &p->answer_consumed, ENTRIES);
	sv_ring_rx_init(&rx, p->request, &p->request_consumed, ENTRIES);
	sv_store_release(&p->ready, 1);
	while (!p->pinned[1] && await(p, &rx, &msg, give_up))
		if (sv_ring_room(&tx, 1) > 0)
			sv_ring_put(&tx, &msg);
	return NULL;
}

static bool round_trips(
	struct pair *p, struct sv_ring_tx *tx, struct sv_ring_rx *rx, unsigned n, uint64_t give_up)
{
	union sv_slot msg = {{0}};

	while (n--) {
		if (sv_ring_room(tx, 1) < 1)
			return false;
		sv_ring_put(tx, &msg);
		if (!await(p, rx, &msg, give_up))
			return false;
	}
	return true;
}

static void *ask(void *arg)
{
	struct pair *p = arg;
	struct sv_ring_tx tx;
	struct sv_ring_rx rx;
	uint64_t give_up = now_ns() + GIVE_UP_NS, from;
	bool ok;

	p->pinned[0] = pin(p->cpu[0]);
	sv_ring_tx_init(&tx, p->request, &p->request_consumed, ENTRIES);
	sv_ring_rx_init(&rx, p->answer, &p->answer_consumed, ENTRIES);
	while (!sv_load_acquire(&p->ready) && now_ns() < give_up)
		sched_yield();
	ok = !p->pinned[0] && round_trips(p, &tx, &rx, WARM_UP, give_up);
	for (unsigned i = 0; i < BATCHES && ok; i++) {
		from = now_ns();
		ok = round_trips(p, &tx, &rx, BATCH, give_up);
		p->batch_ns[i] = (double)(now_ns() - from) / BATCH / 2;
	}
	p->done = ok;
	sv_store_release(&p->stop, 1);
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

int sv_core_latency(int a, int b, double *ns, struct sv_error *err)
{
	struct pair *p = aligned_alloc(128, sizeof(*p));
	pthread_t thread[2];
	int rc, second;

	if (!p)
		return sv_fail(err, ENOMEM, "out of memory");
	memset(p, 0, sizeof(*p));
	p->cpu[0] = a;
	p->cpu[1] = b;
	rc = pthread_create(&thread[0], NULL, answer, p);
	if (rc) {
		free(p);
		return sv_fail(err, rc, "no thread: %s", strerror(rc));
	}
	second = pthread_create(&thread[1], NULL, ask, p);
	if (second)
		sv_store_release(&p->stop, 1);
	else
		pthread_join(thread[1], NULL);
	pthread_join(thread[0], NULL);
	if (second)
		rc = sv_fail(err, second, "no thread: %s", strerror(second));
	else if (p->pinned[0] || p->pinned[1])
		rc = sv_fail(
			err, EINVAL, "this process may not run on CPU %d", p->pinned[0] ? a : b);
	else if (!p->done)
		rc = sv_fail(err, ETIMEDOUT, "CPUs %d and %d: no %u round trips in a second", a, b,
			WARM_UP + BATCHES * BATCH);
	if (rc == 0) {
		qsort(p->batch_ns, BATCHES, sizeof(double), by_value);
		*ns = p->batch_ns[BATCHES / 2];
	}
	free(p);
	return rc;
}
