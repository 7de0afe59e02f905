/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A disk for foreign front ends on one sidecore, until SIGTERM: what a test puts under QEMU or
 * User-mode Linux. usage: blk_server path=IMAGE,socket=SOCKET[,...] [idle microseconds]
 */
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <io/blk_export.h>
#include <sidecore/reactor.h>

#define WATCHES 8

struct server {
	struct sv_poller_host host; /* first */
	struct sv_reactor *reactor;
	struct pollfd fd[WATCHES];
	struct {
		void (*ready)(void *ctx);
		void *ctx;
	} watch[WATCHES];
};

static volatile sig_atomic_t done;

static void on_term(int sig)
{
	(void)sig;
	done = 1;
}

static struct server *server_of(struct sv_poller_host *h)
{
	return (struct server *)(void *)h;
}

static int attach(struct sv_poller_host *h, struct sv_poller *p)
{
	return sv_reactor_attach(server_of(h)->reactor, p);
}

static void detach(struct sv_poller_host *h, struct sv_poller *p)
{
	sv_reactor_detach(server_of(h)->reactor, p);
}

static int add_fd(struct sv_poller_host *h, int fd, void (*ready)(void *ctx), void *ctx)
{
	struct server *s = server_of(h);

	for (int i = 0; i < WATCHES; i++) {
		if (s->fd[i].fd >= 0)
			continue;
		s->fd[i] = (struct pollfd){.fd = fd, .events = POLLIN};
		s->watch[i].ready = ready;
		s->watch[i].ctx = ctx;
		return 0;
	}
	return -12;
}

static void del_fd(struct sv_poller_host *h, int fd)
{
	struct server *s = server_of(h);

	for (int i = 0; i < WATCHES; i++)
		if (s->fd[i].fd == fd)
			s->fd[i] = (struct pollfd){.fd = -1};
}

static void serve(struct server *s)
{
	while (!done) {
		if (poll(s->fd, WATCHES, 1000) <= 0)
			continue;
		for (int i = 0; i < WATCHES; i++)
			if (s->fd[i].fd >= 0 && s->fd[i].revents)
				s->watch[i].ready(s->watch[i].ctx);
	}
}

int main(int argc, char **argv)
{
	struct server s = {
		.host = {.attach = attach, .detach = detach, .add_fd = add_fd, .del_fd = del_fd}};
	struct sv_reactor_config rc = {.idle_spin_us = 500};
	struct sv_blk_export_config config;
	struct sv_blk_export *e;
	struct sv_error err = {""};
	cpu_set_t set;

	if (argc < 2)
		return 2;
	if (argc > 2)
		rc.idle_spin_us = strtoull(argv[2], NULL, 10);
	sched_getaffinity(0, sizeof(set), &set);
	while (!CPU_ISSET(rc.cpu, &set))
		rc.cpu++;
	signal(SIGTERM, on_term);
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < WATCHES; i++)
		s.fd[i].fd = -1;
	if (sv_blk_export_parse(argv[1], &config, &err) < 0 ||
		sv_reactor_create(&s.reactor, &rc, &err) < 0 ||
		sv_blk_export_open(&e, &config, &s.host, &err) < 0) {
		fprintf(stderr, "blk_server: %s\n", err.text);
		return 1;
	}
	serve(&s);
	sv_blk_export_close(e);
	sv_reactor_destroy(s.reactor);
	return 0;
}
