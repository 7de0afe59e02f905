/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Criterion's tests without Criterion's runner, whose sandbox and ThreadSanitizer want the same
 * addresses: one child process per test, the suites' options left aside.
 */
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];

static struct criterion_test *now;
static unsigned failed;

void criterion_internal_test_setup(void)
{
	if (now->data->init)
		now->data->init();
}

void criterion_internal_test_main(void (*fn)(void))
{
	fn();
}

void criterion_internal_test_teardown(void)
{
	if (now->data->fini)
		now->data->fini();
}

void criterion_send_assert(struct criterion_assert_stats *stats)
{
	if (stats->passed)
		return;
	__atomic_fetch_add(&failed, 1, __ATOMIC_RELAXED);
	fprintf(stderr, "%s:%u: %s\n", stats->file, stats->line, stats->message);
}

void cr_log(enum criterion_severity severity, const char *fmt, ...)
{
	va_list ap;

	(void)severity;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

void criterion_abort_test(void)
{
	exit(1);
}

void criterion_continue_test(void)
{
}

void criterion_skip_test(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	exit(0);
}

static int run(struct criterion_test *test)
{
	int status = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		now = test;
		test->test();
		exit(failed ? 1 : 0);
	}
	return pid < 0 || waitpid(pid, &status, 0) != pid || status != 0;
}

int main(void)
{
	unsigned bad = 0, n = 0;

	for (struct criterion_test **t = __start_cr_tst; t < __stop_cr_tst; t++) {
		int rc = run(*t);

		printf("[%s] %s::%s\n", rc ? "FAIL" : "PASS", (*t)->category, (*t)->name);
		bad += rc != 0;
		n++;
	}
	printf("%u tests, %u failed\n", n, bad);
	return bad ? 1 : 0;
}
