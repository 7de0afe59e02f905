/* SPDX-License-Identifier: BSD-3-Clause */
#include "node.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/memtrap.h>

int sv_node_watch(struct sv_node *n, int fd, void (*ready)(void *ctx), void *ctx)
{
	struct sv_watch *w = calloc(1, sizeof(*w));
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = w};

	if (!w)
		return -ENOMEM;
	if (epoll_ctl(n->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		free(w);
		return -errno;
	}
	*w = (struct sv_watch){.fd = fd, .ready = ready, .ctx = ctx, .next = n->watches};
	n->watches = w;
	return 0;
}

/* The watch itself is freed after this round of events: one of them may still name it. */
void sv_node_unwatch(struct sv_node *n, int fd)
{
	for (struct sv_watch **at = &n->watches; *at; at = &(*at)->next) {
		struct sv_watch *w = *at;

		if (w->fd != fd)
			continue;
		epoll_ctl(n->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		*at = w->next;
		w->ready = NULL;
		w->next = n->dead_watches;
		n->dead_watches = w;
		return;
	}
}

static void bury_watches(struct sv_node *n)
{
	while (n->dead_watches) {
		struct sv_watch *w = n->dead_watches;

		n->dead_watches = w->next;
		free(w);
	}
}

/* --- what a sidecore offers to devices ------------------------------------------------------- */

static struct sv_sidecore *sidecore_of(struct sv_poller_host *host)
{
	return (struct sv_sidecore *)host;
}

static int host_attach(struct sv_poller_host *host, struct sv_poller *p)
{
	return sv_reactor_attach(sidecore_of(host)->reactor, p);
}

static void host_detach(struct sv_poller_host *host, struct sv_poller *p)
{
	sv_reactor_detach(sidecore_of(host)->reactor, p);
}

static int host_add_fd(struct sv_poller_host *host, int fd, void (*ready)(void *ctx), void *ctx)
{
	return sv_node_watch(sidecore_of(host)->node, fd, ready, ctx);
}

static void host_del_fd(struct sv_poller_host *host, int fd)
{
	sv_node_unwatch(sidecore_of(host)->node, fd);
}

static void host_sync(struct sv_poller_host *host)
{
	sv_reactor_sync(sidecore_of(host)->reactor);
}

static int start_sidecores(struct sv_node *n, struct sv_error *err)
{
	for (unsigned i = 0; i < n->config.sidecores; i++) {
		struct sv_reactor_config rc = {
			.cpu = n->config.cpu[i],
			.join_fd = n->config.join_fd,
			.idle_spin_us = n->config.idle_spin_us};
		int ret;

		n->sidecore[i] = (struct sv_sidecore){.host = {.attach = host_attach,
							      .detach = host_detach,
							      .add_fd = host_add_fd,
							      .del_fd = host_del_fd,
							      .sync = host_sync},
			.node = n};
		ret = sv_reactor_create(&n->sidecore[i].reactor, &rc, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static void stop_sidecores(struct sv_node *n)
{
	for (unsigned i = 0; i < n->config.sidecores; i++)
		if (n->sidecore[i].reactor)
			sv_reactor_destroy(n->sidecore[i].reactor);
}

/* --- the control thread ---------------------------------------------------------------------- */

static void on_connection(void *ctx)
{
	struct sv_node *n = ctx;
	int sock = accept4(n->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (sock < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			sv_warn("no connection can be accepted until a VM ends: %s", strerror(errno));
			sv_node_unwatch(n, n->listener);
			n->deaf = true;
		}
		return;
	}
	if (sv_lease_open(n, sock) < 0 && !n->refused++)
		sv_warn("a connection was refused: %u of %u are open, or memory is short",
			n->nleases, SV_NODE_VMS);
}

static void on_signal(void *ctx)
{
	struct sv_node *n = ctx;
	struct signalfd_siginfo si;

	if (read(n->sigfd, &si, sizeof(si)) == sizeof(si))
		n->done = true;
}

/* Some VM's memory went away under its mapping (base/memtrap.h): that VM's lease ends. */
static void on_lost_memory(void *ctx)
{
	struct sv_node *n = ctx;
	uint64_t drain;

	if (read(n->trapfd, &drain, sizeof(drain)) < 0)
		return;
	for (struct sv_lease *l = n->leases; l; l = l->next) {
		if (!sv_lease_lost_memory(l))
			continue;
		sv_warn("%s: its memory was lost under the node's mapping; it is served no more", l->vm);
		l->gone = true;
	}
}

static void close_gone(struct sv_node *n)
{
	unsigned before = n->nleases;

	for (struct sv_lease *l = n->leases, *next; l; l = next) {
		next = l->next;
		if (l->gone)
			sv_lease_close(l);
	}
	if (n->deaf && n->nleases < before)
		n->deaf = sv_node_watch(n, n->listener, on_connection, n) < 0;
	if (n->config.private_fd >= 0 && !n->leases)
		n->done = true;
}

static void control_loop(struct sv_node *n)
{
	struct epoll_event ev[32];

	while (!n->done) {
		int got = epoll_wait(n->epoll_fd, ev, 32, -1);

		for (int i = 0; i < got; i++) {
			struct sv_watch *w = ev[i].data.ptr;

			if (w->ready)
				w->ready(w->ctx);
		}
		close_gone(n);
		bury_watches(n);
	}
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		sv_warn("cannot run the control thread on CPU %d: %s", cpu, strerror(errno));
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Descriptors: one per connection and doorbell, more per device. */
static void raise_descriptor_limit(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

static int open_traps(struct sv_node *n)
{
	int rc;

	n->trapfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (n->trapfd < 0)
		return -errno;
	rc = sv_node_watch(n, n->trapfd, on_lost_memory, n);
	return rc < 0 ? rc : sv_memtrap_start(n->trapfd);
}

static int open_control(struct sv_node *n, struct sv_error *err)
{
	int rc;

	pin(n->config.control_cpu);
	raise_descriptor_limit();
	n->sigfd = open_signals();
	n->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	rc = n->sigfd < 0 || n->epoll_fd < 0 ? -errno : sv_node_watch(n, n->sigfd, on_signal, n);
	if (rc == 0)
		rc = open_traps(n);
	return rc < 0 ? sv_fail(err, -rc, "cannot set the control thread up: %s", strerror(-rc)) : 0;
}

static int open_clients(struct sv_node *n, struct sv_error *err)
{
	if (n->config.private_fd >= 0) {
		if (sv_lease_open(n, n->config.private_fd) < 0)
			return sv_fail(err, ENOMEM, "out of memory");
		return 0;
	}
	n->listener = sv_node_listen(n->config.socket, err);
	if (n->listener < 0)
		return n->listener;
	return sv_node_watch(n, n->listener, on_connection, n);
}

static void close_control(struct sv_node *n)
{
	while (n->leases)
		sv_lease_close(n->leases);
	stop_sidecores(n);
	if (n->listener >= 0) {
		sv_node_unwatch(n, n->listener);
		close(n->listener);
		unlink(n->config.socket);
	}
	sv_node_unwatch(n, n->sigfd);
	sv_node_unwatch(n, n->trapfd);
	bury_watches(n);
	sv_memtrap_start(-1);
	close_if_open(n->trapfd);
	close_if_open(n->sigfd);
	close_if_open(n->epoll_fd);
}

static int open_devices(struct sv_node *n, struct sv_error *err)
{
	n->devices_open = true;
	return n->config.open_devices(&n->sidecore[0].host, n->config.devices, err);
}

int sv_node_run(const struct sv_node_config *config, struct sv_error *err)
{
	struct sv_node *n = calloc(1, sizeof(*n));
	int rc;

	if (!n)
		return sv_fail(err, ENOMEM, "out of memory");
	n->config = *config;
	n->listener = n->sigfd = n->epoll_fd = n->trapfd = -1;
	rc = open_control(n, err);
	if (rc == 0)
		rc = start_sidecores(n, err);
	if (rc == 0)
		rc = open_clients(n, err);
	if (rc == 0 && n->config.open_devices)
		rc = open_devices(n, err);
	if (rc == 0)
		rc = sv_node_confine(err);
	if (rc == 0)
		control_loop(n);
	if (n->devices_open)
		n->config.close_devices(n->config.devices);
	close_control(n);
	free(n);
	return rc;
}
