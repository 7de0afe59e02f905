/* SPDX-License-Identifier: BSD-3-Clause */
#include "balloon.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <channels/atomics.h>
#include <io/balloon.h>

#define TURNS 64u /* between two looks at the socket */
#define QUEUES 3u
#define DEVICE_KIND 5u /* virtio's number of a balloon */

/* One device, polled by the thread that also hears its front end: nothing runs beside it. */
struct server {
	struct sv_poller_host host; /* first */
	const struct sv_vmm_memory_ops *ops;
	void *vm;
	struct sv_balloon_device *device;
	struct sv_poller *poller; /* NULL: no queue runs */
	int sock; /* -1: the front end is gone */
	void (*ready)(void *ctx);
	void *ready_ctx;
	pthread_t thread;
	int stop_fd, stop;
};

static struct server *server_of(struct sv_poller_host *h)
{
	return (struct server *)(void *)h;
}

static int attach(struct sv_poller_host *h, struct sv_poller *p)
{
	server_of(h)->poller = p;
	return 0;
}

static void detach(struct sv_poller_host *h, struct sv_poller *p)
{
	(void)p;
	server_of(h)->poller = NULL;
}

static int add_fd(struct sv_poller_host *h, int fd, void (*ready)(void *ctx), void *ctx)
{
	struct server *s = server_of(h);

	s->sock = fd;
	s->ready = ready;
	s->ready_ctx = ctx;
	return 0;
}

static void del_fd(struct sv_poller_host *h, int fd)
{
	struct server *s = server_of(h);

	if (s->sock == fd)
		s->sock = -1;
}

/* Work that is there now. Return: there may be more. */
static bool poll_queues(struct server *s)
{
	for (unsigned i = 0; i < TURNS; i++)
		if (!s->poller || s->poller->ops->poll(s->poller, 1) == SV_POLL_IDLE)
			return false;
	return true;
}

static void wait_for_work(struct server *s, bool more)
{
	struct pollfd p[2 + SV_POLLER_WAKE_FDS] = {
		{.fd = s->stop_fd, .events = POLLIN}, {.fd = s->sock, .events = POLLIN}};
	int timeout = s->ops->tick(s->vm);
	nfds_t n = 2;

	if (more || (s->poller && s->poller->ops->arm(s->poller)))
		timeout = 0;
	for (unsigned i = 0; s->poller && i < SV_POLLER_WAKE_FDS; i++)
		if (s->poller->wake_fds[i] >= 0)
			p[n++] = (struct pollfd){.fd = s->poller->wake_fds[i], .events = POLLIN};
	if (poll(p, n, timeout) < 0)
		return;
	if (s->poller)
		s->poller->ops->disarm(s->poller);
	if (p[1].revents && s->sock >= 0)
		s->ready(s->ready_ctx);
}

static void *serve(void *arg)
{
	struct server *s = arg;

	s->ops->enter(s->vm);
	while (!sv_load_acquire(&s->stop))
		wait_for_work(s, poll_queues(s));
	return NULL;
}

/* --- for the VM process ------------------------------------------------------------------------ */

static int start(struct server *s, struct sv_error *err)
{
	sigset_t all, old;
	int rc;

	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->stop_fd < 0)
		return sv_fail(err, errno, "eventfd: %s", strerror(errno));
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&s->thread, NULL, serve, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!rc)
		return 0;
	close(s->stop_fd);
	return sv_fail(err, rc, "--balloon: cannot start its thread: %s", strerror(rc));
}

static int open_balloon(const struct sv_vmm_memory_ops *ops, void *vm, const struct sv_gmem *ram,
	const char *name, int *sock, void **handle, struct sv_error *err)
{
	/* The same shape: what the VM process does is what the device asks for. */
	static struct sv_balloon_ops device_ops;
	struct sv_control_device ask = {.kind = DEVICE_KIND, .queues = QUEUES, .name = "balloon"};
	struct server *s = calloc(1, sizeof(*s));
	int pair[2], rc;

	if (!s)
		return sv_fail(err, ENOMEM, "out of memory");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		free(s);
		return sv_fail(err, errno, "socketpair: %s", strerror(errno));
	}
	device_ops = (struct sv_balloon_ops){.inflate = ops->inflate,
		.deflate = ops->deflate,
		.report = ops->report,
		.settle = ops->settle};
	s->host = (struct sv_poller_host){
		.attach = attach, .detach = detach, .add_fd = add_fd, .del_fd = del_fd};
	s->ops = ops;
	s->vm = vm;
	s->sock = -1;
	rc = sv_balloon_open(&(struct sv_device_request){.device = &ask,
				     .fds = &pair[1],
				     .nfds = 1,
				     .gmem = ram,
				     .vm = name,
				     .host = &s->host},
		&device_ops, vm, &s->device, err);
	if (rc < 0)
		close(pair[1]);
	if (rc == 0)
		rc = start(s, err);
	if (rc < 0) {
		if (s->device)
			sv_balloon_close(s->device);
		close(pair[0]);
		free(s);
		return rc;
	}
	*sock = pair[0];
	*handle = s;
	return 0;
}

static void close_balloon(void *handle)
{
	struct server *s = handle;
	uint64_t one = 1;

	sv_store_release(&s->stop, 1);
	if (write(s->stop_fd, &one, sizeof(one)) < 0)
		sv_warn("the balloon's thread cannot be told to end: %s", strerror(errno));
	pthread_join(s->thread, NULL);
	sv_balloon_close(s->device);
	close(s->stop_fd);
	free(s);
}

static void set_target(void *handle, uint64_t bytes)
{
	sv_balloon_set_target(((struct server *)handle)->device, bytes);
}

static uint64_t actual(void *handle)
{
	return sv_balloon_actual(((struct server *)handle)->device);
}

const struct sv_vmm_balloon cli_balloon_hooks = {
	.open = open_balloon, .set_target = set_target, .actual = actual, .close = close_balloon};
