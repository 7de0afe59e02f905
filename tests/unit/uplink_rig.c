/* SPDX-License-Identifier: BSD-3-Clause */
#include "uplink_rig.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "uplink.h"

#define CABLE_FRAMES 512u
#define PATIENCE_MS 20000u

struct plug {
	struct sv_port port; /* first */
	struct plug *other;
	struct sv_switch *sw;
	struct rig *rig;
	unsigned n;
	struct {
		uint8_t *bytes;
		uint32_t len;
		struct virtio_net_hdr_v1 hdr;
	} queue[CABLE_FRAMES];
};

static struct plug plug[2];

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- the host ----------------------------------------------------------------------------------
 */

static int attach(struct sv_poller_host *host, struct sv_poller *p)
{
	struct rig_host *h = (struct rig_host *)host;

	cr_assert_lt(h->n, RIG_POLLERS);
	h->poller[h->n++] = p;
	return 0;
}

static void detach(struct sv_poller_host *host, struct sv_poller *p)
{
	struct rig_host *h = (struct rig_host *)host;
	unsigned i = 0;

	while (h->poller[i] != p)
		i++;
	h->poller[i] = h->poller[--h->n];
}

static int add_fd(struct sv_poller_host *host, int fd, void (*ready)(void *ctx), void *ctx)
{
	struct rig_host *h = (struct rig_host *)host;

	h->fd = fd;
	h->ready = ready;
	h->ctx = ctx;
	return 0;
}

static void del_fd(struct sv_poller_host *host, int fd)
{
	struct rig_host *h = (struct rig_host *)host;

	cr_assert_eq(h->fd, fd);
	h->fd = -1;
}

/* --- the cable ---------------------------------------------------------------------------------
 */

static bool deliver(struct sv_port *to, const struct sv_frame *f)
{
	struct plug *p = (struct plug *)(void *)to;

	if (p->n == CABLE_FRAMES)
		return false;
	if (f->len > p->rig->longest)
		p->rig->longest = f->len;
	p->queue[p->n].bytes = malloc(f->len);
	p->queue[p->n].len = f->len;
	p->queue[p->n].hdr = f->hdr;
	return sv_frame_read(f, 0, p->queue[p->n++].bytes, f->len);
}

static void no_flush(struct sv_port *to)
{
	(void)to;
}

static const struct sv_port_ops cable_ops = {.deliver = deliver, .flush = no_flush};

static void carry(struct plug *p)
{
	for (unsigned i = 0; i < p->n; i++) {
		struct iovec iov = {p->queue[i].bytes, p->queue[i].len};
		struct sv_frame f = {
			.iov = &iov, .niov = 1, .len = p->queue[i].len, .hdr = p->queue[i].hdr};

		sv_switch_input(p->other->sw, &p->other->port, &f);
		free(p->queue[i].bytes);
	}
	p->n = 0;
	sv_switch_flush(p->other->sw);
}

void rig_turn(struct rig *r)
{
	struct pollfd p = {.fd = r->host.fd, .events = POLLIN};

	for (unsigned i = 0; i < r->host.n; i++)
		r->host.poller[i]->ops->poll(r->host.poller[i], 32);
	carry(&plug[0]);
	carry(&plug[1]);
	if (p.fd >= 0 && poll(&p, 1, 0) == 1)
		r->host.ready(r->host.ctx);
}

/* --- namespaces --------------------------------------------------------------------------------
 */

void rig_enter(struct rig *r, int end)
{
	cr_assert_eq(setns(end < 0 ? r->home : r->ns[end], CLONE_NEWNET), 0, "setns: %s",
		strerror(errno));
}

void rig_ip(struct rig *r, int end, const char *arguments)
{
	char command[256];

	snprintf(command, sizeof(command), "ip %s", arguments);
	rig_enter(r, end);
	cr_assert_eq(system(command), 0, "%s", command);
	rig_enter(r, -1);
}

static int new_namespace(void)
{
	if (unshare(CLONE_NEWNET) < 0) {
		printf("SKIPPED BECAUSE network namespaces are not permitted here: %s\n",
			strerror(errno));
		fflush(stdout);
		cr_skip_test("no network namespaces: %s", strerror(errno));
	}
	return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

void rig_open(struct rig *r, uint32_t cable_offloads)
{
	static const char *const name[RIG_ENDS] = {"left", "right"};
	struct sv_error err;

	if (system("ip link >/dev/null 2>&1") != 0) {
		printf("SKIPPED BECAUSE there is no `ip` here (Debian package iproute2)\n");
		fflush(stdout);
		cr_skip_test("no ip");
	}
	*r = (struct rig){.host = {.fd = -1}};
	r->host.host = (struct sv_poller_host){
		.attach = attach, .detach = detach, .add_fd = add_fd, .del_fd = del_fd};
	if (geteuid() != 0)
		(void)!unshare(CLONE_NEWUSER); /* or the next one says why not */
	r->home = new_namespace();
	for (unsigned i = 0; i < RIG_ENDS; i++)
		r->ns[i] = new_namespace();
	for (int i = -1; i < (int)RIG_ENDS; i++)
		rig_ip(r, i, "link set lo up");
	for (unsigned i = 0; i < RIG_ENDS; i++) {
		struct plug *p = &plug[i];

		*p = (struct plug){.other = &plug[1 - i], .rig = r};
		p->port = (struct sv_port){.ops = &cable_ops,
			.name = "cable",
			.flags = SV_PORT_LEARN,
			.flood_per_s = 1000000,
			.offloads = cable_offloads};
		cr_assert_eq(sv_switch_get(&p->sw, name[i], &r->host.host, &err), 0);
		cr_assert_eq(sv_switch_attach(p->sw, &p->port, &err), 0);
	}
}

void rig_close(struct rig *r)
{
	for (unsigned i = 0; i < RIG_ENDS; i++)
		if (r->uplink[i])
			sv_uplink_close(r->uplink[i]);
	for (unsigned i = 0; i < RIG_ENDS; i++) {
		for (unsigned k = 0; k < plug[i].n; k++)
			free(plug[i].queue[k].bytes);
		sv_switch_detach(plug[i].sw, &plug[i].port);
		sv_switch_put(plug[i].sw);
		close(r->ns[i]);
	}
	close(r->home);
	cr_assert_eq(r->host.n, 0);
	cr_assert_eq(r->host.fd, -1);
}

void rig_uplink(struct rig *r, unsigned which, int end, const char *text)
{
	struct sv_uplink_config c;
	struct sv_error err = {""};
	char words[256];

	snprintf(words, sizeof(words), "%s%sswitch=%s", text, strchr(text, ':')[1] ? "," : "",
		which ? "right" : "left");
	cr_assert_eq(sv_uplink_parse(words, &c, &err), 0, "%s", err.text);
	rig_enter(r, end);
	cr_assert_eq(sv_uplink_open(&r->uplink[which], &c, &r->host.host, &err), 0, "%s", err.text);
	rig_enter(r, -1);
}

struct sv_port *rig_port(struct rig *r, unsigned which)
{
	return &r->uplink[which]->port;
}

/* --- traffic -----------------------------------------------------------------------------------
 */

struct talk {
	struct rig *rig;
	int from, to;
	struct sockaddr_in server, listen_on;
	unsigned bytes;
	uint32_t ready, done; /* atomics */
	bool right;
};

static struct sockaddr_in address_of(const char *text, unsigned port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	cr_assert_eq(inet_pton(AF_INET, text, &a.sin_addr), 1);
	return a;
}

static int new_socket(struct talk *t, int end, int type)
{
	static const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
	int s, one = 1;

	rig_enter(t->rig, end);
	s = socket(AF_INET, type, 0);
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return s;
}

/* Echo until the end. */
static void *tcp_server(void *ctx)
{
	static uint8_t bytes[65536];
	struct talk *t = ctx;
	int s = new_socket(t, t->to, SOCK_STREAM), c;
	ssize_t n;

	if (bind(s, (struct sockaddr *)&t->listen_on, sizeof(t->listen_on)) < 0 || listen(s, 1) < 0)
		perror("the test's server");
	__atomic_store_n(&t->ready, 1, __ATOMIC_RELEASE);
	c = accept(s, NULL, NULL);
	while ((n = recv(c, bytes, sizeof(bytes), 0)) > 0)
		for (ssize_t at = 0, sent = 0; at < n && sent >= 0; at += sent)
			sent = send(c, bytes + at, (size_t)(n - at), MSG_NOSIGNAL);
	if (c >= 0)
		close(c);
	close(s);
	return NULL;
}

static uint8_t byte_at(unsigned i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

struct writer {
	int sock;
	unsigned bytes;
};

static void *tcp_writer(void *ctx)
{
	struct writer *w = ctx;
	uint8_t bytes[16384];

	for (unsigned at = 0; at < w->bytes;) {
		unsigned n =
			w->bytes - at < sizeof(bytes) ? w->bytes - at : (unsigned)sizeof(bytes);
		ssize_t sent;

		for (unsigned i = 0; i < n; i++)
			bytes[i] = byte_at(at + i);
		sent = send(w->sock, bytes, n, MSG_NOSIGNAL);
		if (sent <= 0)
			break;
		at += (unsigned)sent;
	}
	shutdown(w->sock, SHUT_WR);
	return NULL;
}

static void *tcp_client(void *ctx)
{
	struct talk *t = ctx;
	struct writer w = {.sock = new_socket(t, t->from, SOCK_STREAM), .bytes = t->bytes};
	static uint8_t bytes[65536];
	pthread_t writer;
	unsigned at = 0;
	ssize_t n;

	if (connect(w.sock, (struct sockaddr *)&t->server, sizeof(t->server)) == 0) {
		bool same = true;

		pthread_create(&writer, NULL, tcp_writer, &w);
		while ((n = recv(w.sock, bytes, sizeof(bytes), 0)) > 0)
			for (ssize_t i = 0; i < n; i++, at++)
				same &= bytes[i] == byte_at(at);
		pthread_join(writer, NULL);
		t->right = same && at == t->bytes;
	}
	close(w.sock);
	__atomic_store_n(&t->done, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void turn_until(struct rig *r, uint32_t *flag)
{
	uint64_t until = now_ms() + PATIENCE_MS;

	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE) && now_ms() < until)
		rig_turn(r);
}

bool rig_tcp(struct rig *r, int from, int to, const char *address, unsigned port,
	const char *listen_on, unsigned listen_port, unsigned bytes)
{
	struct talk t = {.rig = r, .from = from, .to = to, .bytes = bytes};
	pthread_t server, client;

	t.server = address_of(address, port);
	t.listen_on = address_of(listen_on, listen_port);
	pthread_create(&server, NULL, tcp_server, &t);
	turn_until(r, &t.ready);
	pthread_create(&client, NULL, tcp_client, &t);
	turn_until(r, &t.done);
	pthread_join(client, NULL);
	if (!t.right) { /* the server may still wait for somebody */
		int s = new_socket(&t, to, SOCK_STREAM);

		(void)!connect(s, (struct sockaddr *)&t.listen_on, sizeof(t.listen_on));
		close(s);
		rig_enter(r, -1);
	}
	pthread_join(server, NULL);
	return t.right;
}

bool rig_udp(struct rig *r, int from, int to, const char *address, unsigned port)
{
	struct talk t = {.rig = r};
	struct sockaddr_in at = address_of(address, port), who;
	int server = new_socket(&t, to, SOCK_DGRAM), client = new_socket(&t, from, SOCK_DGRAM);
	uint64_t until = now_ms() + 1000, next = 0;
	socklen_t n = sizeof(who);
	char text[8] = "";
	bool back = false;

	rig_enter(r, -1);
	cr_assert_eq(bind(server, (struct sockaddr *)&at, sizeof(at)), 0);
	cr_assert_eq(connect(client, (struct sockaddr *)&at, sizeof(at)), 0);
	while (!back && now_ms() < until) {
		if (now_ms() >= next) {
			(void)!send(client, "there", 5, 0);
			next = now_ms() + 50;
		}
		rig_turn(r);
		if (recvfrom(server, text, 5, MSG_DONTWAIT, (struct sockaddr *)&who, &n) == 5)
			(void)!sendto(server, "back!", 5, 0, (struct sockaddr *)&who, n);
		back = recv(client, text, sizeof(text), MSG_DONTWAIT) == 5 &&
		       !memcmp(text, "back!", 5);
	}
	close(server);
	close(client);
	return back;
}
