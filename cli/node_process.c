/* SPDX-License-Identifier: BSD-3-Clause */
#include "node_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <channels/control.h>

#define PRIVATE_FD 3
#define JOIN_FD 4
#define LEAVE_MS 2000

int node_connect(struct node_process *np, const char *path, struct sv_error *err)
{
	const char *at = path ? path : SV_CONTROL_SOCKET;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int rc;

	*np = (struct node_process){.sock = -1};
	if (strlen(at) >= sizeof(a.sun_path))
		return sv_fail(err, EINVAL, "--node %s: a socket path has at most %zu characters", at,
			sizeof(a.sun_path) - 1);
	strcpy(a.sun_path, at);
	np->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (np->sock < 0)
		return sv_fail(err, errno, "socket: %s", strerror(errno));
	if (connect(np->sock, (struct sockaddr *)&a, sizeof(a)) == 0)
		return 0;
	rc = sv_fail(err, !path && (errno == ECONNREFUSED || errno == EACCES) ? ENOENT : errno,
		"--node %s: no sidevisor node service answers there (%s); start one with `sidevisor "
		"serve`, or use --private", at, strerror(errno));
	close(np->sock);
	np->sock = -1;
	return rc;
}

static void child(int sock, int join_fd, char **argv, pid_t parent)
{
	sigset_t none;

	/* The terminal's signals are for the VM process; this one ends with its connection. */
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(EXIT_FAILED);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* Out of each other's way first. */
	sock = fcntl(sock, F_DUPFD_CLOEXEC, JOIN_FD + 1);
	if (join_fd > 0) {
		join_fd = fcntl(join_fd, F_DUPFD_CLOEXEC, JOIN_FD + 1);
		dup2(join_fd, JOIN_FD);
	}
	dup2(sock, PRIVATE_FD);
	execv("/proc/self/exe", argv);
	_exit(EXIT_FAILED);
}

static int spawn(struct node_process *np, struct sv_error *err)
{
	char cpus[SV_CONTROL_SIDECORES * 8] = "", control_cpu[16], fd[16], join[16];
	char *argv[20];
	int pair[2], n = 0, rc;
	pid_t parent = getpid();

	for (unsigned i = 0; i < np->sidecores; i++)
		snprintf(cpus + strlen(cpus), sizeof(cpus) - strlen(cpus), "%s%d", i ? "," : "",
			np->sidecore[i]);
	snprintf(control_cpu, sizeof(control_cpu), "%d", np->control);
	snprintf(fd, sizeof(fd), "%d", PRIVATE_FD);
	argv[n++] = (char *)(uintptr_t) "sidevisor";
	argv[n++] = (char *)(uintptr_t) "serve";
	argv[n++] = (char *)(uintptr_t) "--private-fd";
	argv[n++] = fd;
	argv[n++] = (char *)(uintptr_t) "--cpus";
	argv[n++] = cpus;
	if (np->control >= 0) {
		argv[n++] = (char *)(uintptr_t) "--control-cpu";
		argv[n++] = control_cpu;
	}
	if (np->idle) {
		argv[n++] = (char *)(uintptr_t) "--idle";
		argv[n++] = (char *)(uintptr_t)np->idle;
	}
	if (np->uplink) {
		argv[n++] = (char *)(uintptr_t) "--uplink";
		argv[n++] = (char *)(uintptr_t)np->uplink;
	}
	if (np->remote_disks)
		argv[n++] = (char *)(uintptr_t) "--remote-disks";
	if (np->allow_bench)
		argv[n++] = (char *)(uintptr_t) "--allow-bench";
	if (np->join_fd > 0) {
		snprintf(join, sizeof(join), "%d", JOIN_FD);
		argv[n++] = (char *)(uintptr_t) "--join-fd";
		argv[n++] = join;
	}
	argv[n] = NULL;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return sv_fail(err, errno, "socketpair: %s", strerror(errno));
	again_born(&np->again);
	np->pid = fork();
	if (np->pid == 0)
		child(pair[1], np->join_fd, argv, parent);
	close(pair[1]);
	if (np->pid < 0) {
		rc = sv_fail(err, errno, "cannot start the private sidecore: %s", strerror(errno));
		close(pair[0]);
		np->pid = 0;
		return rc;
	}
	np->sock = pair[0];
	return 0;
}

int node_spawn(struct node_process *np, const int *sidecore, unsigned sidecores, int control,
	const char *idle, const char *uplink, bool allow_bench, bool remote_disks, int join_fd,
	struct sv_error *err)
{
	*np = (struct node_process){.sock = -1,
		.private = true,
		.sidecores = sidecores < SV_CONTROL_SIDECORES ? sidecores : SV_CONTROL_SIDECORES,
		.control = control,
		.idle = idle,
		.uplink = uplink,
		.allow_bench = allow_bench,
		.remote_disks = remote_disks,
		.join_fd = join_fd};
	memcpy(np->sidecore, sidecore, np->sidecores * sizeof(sidecore[0]));
	return spawn(np, err);
}

static int spawn_again(struct node_process *np, struct sv_error *err)
{
	if (np->pid) {
		int status = 0, ms;

		/* Its connection has ended: whatever it still does, it does not serve. */
		kill(np->pid, SIGKILL);
		if (waitpid(np->pid, &status, WNOHANG) == 0)
			return sv_fail(err, EAGAIN, "the old private sidecore is not gone yet");
		np->pid = 0;
		ms = again_died(&np->again, status);
		if (ms < 0)
			return sv_fail(err, EIO, "the private sidecore dies again and again; see its "
				"messages");
		np->not_before_ms = again_now_ms() + ms;
	}
	if (again_now_ms() < np->not_before_ms)
		return sv_fail(err, EAGAIN, "the private sidecore died at once");
	return spawn(np, err);
}

int node_connect_again(struct node_process *np, const char *path, struct sv_error *err)
{
	struct node_process fresh;
	int rc;

	if (np->sock >= 0)
		close(np->sock);
	np->sock = -1;
	if (np->private)
		return spawn_again(np, err);
	rc = node_connect(&fresh, path, err);
	if (rc < 0)
		return rc == -ENOENT || rc == -ECONNREFUSED ? -EAGAIN : rc;
	np->sock = fresh.sock;
	return 0;
}

void node_leave(struct node_process *np)
{
	struct timespec slice = {.tv_nsec = 1000000};

	if (np->sock >= 0)
		close(np->sock);
	np->sock = -1;
	if (!np->pid)
		return;
	for (int ms = 0; ms < LEAVE_MS; ms++) {
		if (waitpid(np->pid, NULL, WNOHANG) != 0)
			goto gone;
		nanosleep(&slice, NULL);
	}
	kill(np->pid, SIGKILL);
	waitpid(np->pid, NULL, 0);
gone:
	np->pid = 0;
}
