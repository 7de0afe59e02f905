/* SPDX-License-Identifier: BSD-3-Clause */
#include <base/dial.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/fdpass.h>

#define READY_MS 15000
#define LEAVE_MS 10000
#define DIALER_FD 3

bool sv_dial_is_address(const char *image)
{
	static const char *const scheme[] = {"nbd://", "nbds://", "nbd+unix://", "nbds+unix://",
		"nbd+vsock://"};

	for (unsigned i = 0; i < sizeof(scheme) / sizeof(scheme[0]); i++)
		if (!strncmp(image, scheme[i], strlen(scheme[i])))
			return true;
	return false;
}

/* In the child of a child: nobody has to wait for it. */
static void become_dialer(int sock, const struct sv_dial_spec *spec)
{
	char *argv[8], fd[8];
	sigset_t none;
	int n = 0;

	snprintf(fd, sizeof(fd), "%d", DIALER_FD);
	argv[n++] = (char *)(uintptr_t) "sidevisor";
	argv[n++] = (char *)(uintptr_t) "dial";
	argv[n++] = fd;
	argv[n++] = (char *)(uintptr_t)spec->image;
	argv[n++] = (char *)(uintptr_t)(spec->format ? spec->format : "");
	argv[n++] = (char *)(uintptr_t)(spec->readonly ? "readonly" : "");
	argv[n++] = (char *)(uintptr_t)(spec->direct ? "direct" : "");
	argv[n] = NULL;
	setpgid(0, 0); /* the terminal's signals are for those who use the disk */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(sock, DIALER_FD) == DIALER_FD && (sock != DIALER_FD || !fcntl(sock, F_SETFD, 0)))
		execv("/proc/self/exe", argv);
	_exit(1);
}

static int start(int sock, const struct sv_dial_spec *spec)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		pid = fork();
		if (pid == 0)
			become_dialer(sock, spec);
		_exit(pid < 0);
	}
	if (pid < 0)
		return -errno;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 0; /* somebody else waits for children here */
	return status ? -EAGAIN : 0;
}

static int wait_ready(int sock, const char *image, struct sv_export *export, struct sv_error *err)
{
	struct sv_dial_ready r;
	ssize_t n = sv_fd_recv(sock, &r, sizeof(r), NULL, NULL, READY_MS);

	if (n == -ETIMEDOUT)
		return sv_fail(err, ETIMEDOUT, "disk %s: its server does not answer", image);
	if (n != sizeof(r) || r.magic != SV_DIAL_MAGIC)
		return sv_fail(err, EIO, "disk %s: the process that connects to it ended", image);
	r.text[sizeof(r.text) - 1] = 0;
	if (r.status)
		return sv_fail(err, r.status <= 4095 ? (int)r.status : EIO, "disk %s: %s", image, r.text);
	*export = r.export;
	return 0;
}

int sv_dial_spawn(const struct sv_dial_spec *spec, int *sock, struct sv_export *export,
	struct sv_error *err)
{
	int pair[2], rc;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return sv_fail(err, errno, "socketpair: %s", strerror(errno));
	rc = start(pair[1], spec);
	close(pair[1]);
	if (rc < 0)
		sv_fail(err, -rc, "disk %s: no process for its connection: %s", spec->image,
			strerror(-rc));
	else
		rc = wait_ready(pair[0], spec->image, export, err);
	if (rc < 0) {
		close(pair[0]);
		return rc;
	}
	*sock = pair[0];
	return 0;
}

void sv_dial_close(int sock)
{
	uint64_t until = sv_clock_ms() + LEAVE_MS;
	struct sv_dial_reply r;
	unsigned nfds;
	int fd;

	shutdown(sock, SHUT_WR);
	for (;;) {
		int ms = (int)(int64_t)(until - sv_clock_ms());

		nfds = 1;
		if (ms <= 0 || sv_fd_recv(sock, &r, sizeof(r), &fd, &nfds, ms) <= 0)
			break;
		if (nfds)
			close(fd); /* a reply that nobody took */
	}
	close(sock);
}
