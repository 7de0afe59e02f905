/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A network stack without privileges: libslirp speaks for the guests with sockets of this user. It
 * parses what guests send, so it lives in a process of its own that can do little else.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "uplink.h"
#include "uplink_slirp.h"

#define START_MS 5000
#define END_MS 1000
#define ARGUMENT 64u

struct slirp {
	pid_t pid;
	int pidfd; /* readable when the process has ended; -1: unknown or not watched */
	bool over; /* it has been waited for */
	uint8_t frame[SLIRP_FRAME + 1];
	char sw[SV_SWITCH_NAME];
};

extern char **environ;

/* Beside our own program, or where the environment says. */
static void find_program(char path[PATH_MAX])
{
	const char *said = getenv("SIDEVISOR_SLIRP");
	ssize_t n;
	char *slash;

	if (said) {
		snprintf(path, PATH_MAX, "%s", said);
		return;
	}
	n = readlink("/proc/self/exe", path, PATH_MAX - sizeof(SLIRP_PROGRAM) - 1);
	path[n > 0 ? n : 0] = 0;
	slash = strrchr(path, '/');
	strcpy(slash ? slash + 1 : path, SLIRP_PROGRAM);
}

static void write_arguments(const struct sv_uplink_config *c, char text[][ARGUMENT], char **argv)
{
	static char program[] = SLIRP_PROGRAM;
	unsigned n = 0;

	snprintf(text[0], ARGUMENT, "%x", c->net ? c->net : 0x0a000200);
	snprintf(text[1], ARGUMENT, "%x", c->net ? c->mask : 0xffffff00);
	snprintf(text[2], ARGUMENT, "%u",
		(c->restricted ? SLIRP_RESTRICT : 0) | (c->host_loopback ? SLIRP_LOOPBACK : 0));
	for (unsigned i = 0; i < c->forwards; i++) {
		const struct sv_uplink_forward *f = &c->forward[i];

		snprintf(text[3 + i], ARGUMENT, "%s:%x:%u:%x:%u", f->udp ? "udp" : "tcp", f->host,
			f->host_port, f->guest, f->guest_port);
	}
	argv[n++] = program;
	for (unsigned i = 0; i < 3 + c->forwards; i++)
		argv[n++] = text[i];
	argv[n] = NULL;
}

/* With the socket as descriptor 3, in a process group of its own, with no signal blocked. */
static int spawn(struct slirp *s, const struct sv_uplink_config *c, int sock, struct sv_error *err)
{
	char text[3 + SV_UPLINK_FORWARDS][ARGUMENT], *argv[5 + SV_UPLINK_FORWARDS], path[PATH_MAX];
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none;
	int rc;

	find_program(path);
	write_arguments(c, text, argv);
	sigemptyset(&none);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, sock, SLIRP_FD);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	rc = posix_spawn(&s->pid, path, &files, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	if (rc)
		return sv_fail(err, rc,
			"slirp: %s cannot be started: %s; it belongs beside sidevisor", path,
			strerror(rc));
	return 0;
}

/* What it says of itself. */
static int greet(int sock, struct sv_error *err)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};
	char said[256] = "";
	ssize_t n;

	if (poll(&p, 1, START_MS) <= 0)
		return sv_fail(err, ETIMEDOUT, "slirp: its process says nothing");
	n = recv(sock, said, sizeof(said) - 1, 0);
	if (n <= 0)
		return sv_fail(err, EIO, "slirp: its process ended at its start");
	if (said[0])
		return sv_fail(err, (unsigned char)said[0], "slirp: %s", said + 1);
	return 0;
}

/* Its socket is closed: it ends by itself. Not waited for longer than END_MS. */
static void reap(struct slirp *s)
{
	struct timespec nap = {.tv_nsec = 1000000};

	for (unsigned i = 0; i < END_MS && !s->over; i++) {
		if (waitpid(s->pid, NULL, WNOHANG) != 0)
			s->over = true;
		else
			nanosleep(&nap, NULL);
	}
}

static void slirp_close(struct sv_uplink *u)
{
	struct slirp *s = u->kind;

	for (unsigned i = 0; i < u->fds; i++)
		close(u->fd[i]);
	u->fds = 0;
	if (s->pid > 0)
		reap(s);
	if (s->pidfd >= 0)
		close(s->pidfd);
	free(s);
}

static int slirp_open(struct sv_uplink *u, const struct sv_uplink_config *c, struct sv_error *err)
{
	struct slirp *s = calloc(1, sizeof(*s));
	int pair[2], rc;

	if (!s)
		return sv_fail(err, ENOMEM, "out of memory");
	s->pidfd = -1;
	snprintf(s->sw, sizeof(s->sw), "%s", c->sw);
	u->kind = s;
	u->port.max_frame = SLIRP_FRAME;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		rc = sv_fail(err, errno, "slirp: socketpair: %s", strerror(errno));
	} else {
		u->fd[u->fds++] = pair[0];
		rc = spawn(s, c, pair[1], err);
		close(pair[1]);
		if (rc == 0)
			rc = greet(pair[0], err);
	}
	if (rc < 0)
		slirp_close(u);
	return rc;
}

/* --- in the control thread: does it live? ------------------------------------------------------
 */

static void on_end(void *ctx)
{
	struct sv_uplink *u = ctx;
	struct slirp *s = u->kind;

	u->host->del_fd(u->host, s->pidfd);
	s->over = waitpid(s->pid, NULL, WNOHANG) != 0;
	sv_warn("slirp of switch %s: its process ended; nothing leaves the switch that way any "
		"more",
		s->sw);
}

static void slirp_watch(struct sv_uplink *u)
{
	struct slirp *s = u->kind;

	s->pidfd = u->host ? (int)syscall(SYS_pidfd_open, s->pid, 0) : -1;
	if (s->pidfd >= 0 && u->host->add_fd(u->host, s->pidfd, on_end, u) < 0) {
		close(s->pidfd);
		s->pidfd = -1;
	}
}

static void slirp_unwatch(struct sv_uplink *u)
{
	struct slirp *s = u->kind;

	if (s->pidfd >= 0 && !s->over)
		u->host->del_fd(u->host, s->pidfd);
}

/* --- in the polling thread ---------------------------------------------------------------------
 */

static unsigned slirp_receive(struct sv_uplink *u, unsigned i, unsigned budget)
{
	struct slirp *s = u->kind;
	unsigned done = 0;

	while (done < budget) {
		ssize_t n = recv(u->fd[i], s->frame, sizeof(s->frame), MSG_DONTWAIT);
		struct iovec iov = {s->frame, 0};
		struct sv_frame f = {.iov = &iov, .niov = 1};

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0) {
			uplink_lost(u, i);
			break;
		}
		iov.iov_len = f.len = (uint32_t)n;
		done += sv_switch_work(sv_switch_input(u->sw, &u->port, &f));
	}
	return done;
}

static bool slirp_deliver(struct sv_port *to, const struct sv_frame *f)
{
	struct sv_uplink *u = (struct sv_uplink *)(void *)to;
	struct iovec iov[1 + SV_FRAME_PIECES];
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = f->niov};

	if (u->dead)
		return false;
	memcpy(iov, f->iov, f->niov * sizeof(iov[0]));
	return sendmsg(u->fd[0], &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static void no_flush(struct sv_port *to)
{
	(void)to;
}

const struct uplink_ops uplink_slirp = {.type = SV_UPLINK_SLIRP,
	.name = "slirp",
	.open = slirp_open,
	.close = slirp_close,
	.watch = slirp_watch,
	.unwatch = slirp_unwatch,
	.receive = slirp_receive,
	.port = {.deliver = slirp_deliver, .flush = no_flush}};
