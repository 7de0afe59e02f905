/* SPDX-License-Identifier: BSD-3-Clause */
/* The way of a guest's console to a descriptor: what a slow reader gets, and one that is gone. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "platform.h"

#define BYTES 300000u
#define BUFFER 65536u

static struct sv_output *o;
static struct sv_error err;
static int ends[2];
static bool over;

static void up(void)
{
	cr_assert_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	o = sv_output_create(ends[1], &err);
	cr_assert_not_null(o);
	over = false;
}

static void down(void)
{
	if (ends[1] >= 0)
		close(ends[1]);
	if (ends[0] >= 0)
		close(ends[0]);
}

TestSuite(output, .init = up, .fini = down);

static uint8_t pattern(unsigned i)
{
	return (uint8_t)(i * 2654435761u >> 16);
}

/* The control thread. */
static void *flush(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE))
		sv_output_flush(o);
	return NULL;
}

/* Reads a little, and takes its time: whoever writes gets -EAGAIN again and again. */
static void *read_slowly(void *arg)
{
	struct timespec pause = {.tv_nsec = 2000000};
	unsigned *got = arg;
	uint8_t buf[3001];
	ssize_t n;

	while ((n = read(ends[0], buf, sizeof(buf))) != 0) {
		for (ssize_t i = 0; i < n; i++, ++*got)
			if (buf[i] != pattern(*got))
				return NULL;
		if (*got % 7 == 0 || n < 0)
			nanosleep(&pause, NULL);
	}
	return NULL;
}

Test(output, writer_that_waits_loses_nothing_to_a_slow_reader)
{
	pthread_t reader, control;
	unsigned got = 0;

	pthread_create(&reader, NULL, read_slowly, &got);
	pthread_create(&control, NULL, flush, NULL);
	for (unsigned i = 0; i < BYTES; i++) {
		uint8_t c = pattern(i);

		sv_output_wait(o);
		cr_assert_eq(sv_output_put(o, &c, 1), 1, "byte %u", i);
	}
	__atomic_store_n(&over, true, __ATOMIC_RELEASE);
	pthread_join(control, NULL);
	sv_output_destroy(o);
	close(ends[1]);
	ends[1] = -1;
	pthread_join(reader, NULL);
	cr_assert_eq(got, BYTES);
}

Test(output, room_is_for_a_whole_fifo)
{
	uint8_t c = 0;
	unsigned n = 0;

	while (sv_output_has_room(o))
		n += sv_output_put(o, &c, 1);
	cr_expect_eq(n, BUFFER - 15);
	for (n = 0; sv_output_put(o, &c, 1); n++)
		;
	cr_expect_eq(n, 15, "the rest of what the driver had begun");
	sv_output_destroy(o);
}

Test(output, reader_that_does_not_read_costs_one_wait)
{
	static uint8_t all[BUFFER];

	cr_assert_eq(sv_output_put(o, all, BUFFER), BUFFER);
	sv_output_wait(o);
	for (unsigned i = 0; i < 1000; i++) { /* a test of 1,000 s, if each waited */
		sv_output_wait(o);
		cr_assert_eq(sv_output_put(o, all, 1), 0);
	}
	sv_output_flush(o); /* the pipe takes some: from now on waiting is worth it again */
	cr_expect_eq(sv_output_put(o, all, 1), 1);
	close(ends[0]);
	ends[0] = -1;
	signal(SIGPIPE, SIG_IGN);
	sv_output_destroy(o);
}

Test(output, reader_that_is_gone_holds_nobody_up)
{
	static uint8_t all[BUFFER];

	signal(SIGPIPE, SIG_IGN);
	close(ends[0]);
	ends[0] = -1;
	cr_assert_eq(sv_output_put(o, all, BUFFER), BUFFER);
	sv_output_flush(o);
	cr_expect(sv_output_has_room(o));
	cr_expect_eq(sv_output_put(o, all, BUFFER), BUFFER, "and is dropped");
	sv_output_destroy(o);
}
