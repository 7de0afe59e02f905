/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The keeper: a child that waits for the end of a pipe, and then undoes what its parent changed. It
 * needs no signal from the parent, which may be killed, and no privileges that a seccomp filter
 * took from it.
 */
#include "making.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DISMISS_MS 10000

/* Nothing of the parent's stays open but standard error: not its locks, nor /dev/cpu_dma_latency. */
static int keep_only(int fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0) {
		dup2(null, 0);
		dup2(null, 1);
	}
	if (fd != 3)
		dup2(fd, 3);
	close_range(4, ~0u, 0);
	return 3;
}

static void keeper(const struct sv_isolation *iso, int fd, const struct sv_cpus *cpus)
{
	struct sv_error err;
	sigset_t all;
	char byte;

	setsid();
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_NAME, "sidevisor-keep");
	if (!sv_cpus_empty(cpus))
		sv_cpus_run_on(cpus);
	if (chdir("/") < 0)
		sv_warn("chdir: %s", strerror(errno));
	fd = keep_only(fd);
	while (read(fd, &byte, 1) < 0 && errno == EINTR)
		;
	if (sv_isolation_release(iso, &err) == 0)
		_exit(0);
	sv_warn("%s", err.text);
	_exit(1);
}

int sv_isolation_keep(struct sv_isolation *iso, const struct sv_cpus *cpus, struct sv_error *err)
{
	int ends[2], rc;
	pid_t pid;

	if (!iso->made)
		return 0;
	rc = sv_file_ask("fork", "keeper");
	if (rc < 0)
		return sv_fail(err, -rc, "the keeper cannot be started: %s", strerror(-rc));
	if (pipe2(ends, O_CLOEXEC) < 0)
		return sv_fail(err, errno, "pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0) {
		close(ends[1]);
		keeper(iso, ends[0], cpus);
	}
	rc = errno;
	close(ends[0]);
	if (pid < 0) {
		close(ends[1]);
		return sv_fail(err, rc, "the keeper cannot be started: %s", strerror(rc));
	}
	iso->keeper = pid;
	iso->keeper_fd = ends[1];
	return 0;
}

int sv_keeper_dismiss(struct sv_isolation *iso)
{
	struct timespec slice = {.tv_nsec = 1000000};
	pid_t pid = iso->keeper;
	int status;

	close(iso->keeper_fd);
	iso->keeper_fd = -1;
	iso->keeper = 0;
	for (int ms = 0; ms < DISMISS_MS; ms++) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got == pid)
			return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECHILD;
		if (got < 0)
			return -errno;
		nanosleep(&slice, NULL);
	}
	return -ETIMEDOUT;
}
