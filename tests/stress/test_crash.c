/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `sidevisor serve` is killed again and again under load, and every request of this driver, which is
 * the test's own, comes back exactly once with the right data. Blocks are few, so that a request that
 * was repeated too late, or twice, overwrites what came after it and is found by the next read.
 *
 * usage: test_crash SIDEVISOR KILLS [seed=N] [OPTION OF --blk...]
 * Prints the outages: from the signal to the first answer after it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <base/fdpass.h>
#include <channels/vhost_user.h>

#include "vq_driver.h"

#define MEM (16u << 20)
#define USER 0x7f0000000000ull
#define QUEUES 2u
#define SIZE 128u
#define DEPTH 32u /* requests out, per queue */
#define RINGS 0x10000u
#define DATA 0x100000u
#define BLOCK 4096u
#define BLOCKS 192u
#define WORDS (BLOCK / 8)
#define DEADLINE_MS 20000
#define KILLS_MAX 10000u

struct request {
	uint32_t type;
	unsigned block; /* BLOCKS: none */
	uint64_t version;
	bool out;
};

struct queue {
	struct vqd vq;
	struct request request[DEPTH];
	int slot_of[SIZE]; /* by head, -1: not out */
};

static struct {
	const char *program;
	char dir[64], image[96], sock[96], node[96], blk[512];
	pid_t server;
	int sock_fd, memfd, inflight_fd;
	struct vu_inflight inflight;
	uint8_t *mem;
	struct queue q[QUEUES];
	uint64_t version[BLOCKS]; /* as written last */
	bool busy[BLOCKS];
	uint64_t next_version, done, writes, reads, flushes;
	uint64_t features;
	unsigned seed;
} t;

static void clean_up(void)
{
	if (t.server > 0) {
		kill(t.server, SIGTERM);
		waitpid(t.server, NULL, 0);
	}
	unlink(t.image);
	unlink(t.sock);
	unlink(t.node);
	rmdir(t.dir);
}

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fprintf(stderr, "test_crash: ");
	vfprintf(stderr, format, ap);
	fprintf(stderr, " (seed %u, %llu requests done)\n", t.seed, (unsigned long long)t.done);
	va_end(ap);
	clean_up();
	exit(1);
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static unsigned dice(unsigned n)
{
	return (unsigned)rand() % n;
}

/* --- the server ------------------------------------------------------------------------------ */

static void server_start(void)
{
	char cpu[16];

	snprintf(cpu, sizeof(cpu), "%d", sched_getcpu() ? 0 : 1);
	t.server = fork();
	if (t.server == 0) {
		int log = open("/dev/null", O_WRONLY);

		if (!getenv("SIDEVISOR_CRASH_LOG"))
			dup2(log, STDERR_FILENO);
		execl(t.program, "sidevisor", "serve", "--socket", t.node, "--blk", t.blk, "--idle", "200",
			NULL);
		_exit(127);
	}
	if (t.server < 0)
		fail("fork: %s", strerror(errno));
}

static void server_connect(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	double end = now_ms() + DEADLINE_MS;
	struct timespec nap = {.tv_nsec = 200000};

	strcpy(a.sun_path, t.sock);
	for (;;) {
		t.sock_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(t.sock_fd, (struct sockaddr *)&a, sizeof(a)) == 0)
			return;
		close(t.sock_fd);
		if (now_ms() > end || waitpid(t.server, NULL, WNOHANG) != 0)
			fail("nobody listens at %s", t.sock);
		nanosleep(&nap, NULL);
	}
}

static uint32_t call(uint32_t request, uint32_t flags, const void *payload, uint32_t size,
	const int *fds, unsigned nfds, union vu_payload *reply, int *fd)
{
	struct vu_header h = {.request = request, .flags = VU_VERSION | flags, .size = size};
	uint8_t out[sizeof(h) + sizeof(union vu_payload)];
	unsigned n_in = fd ? 1 : 0;

	memcpy(out, &h, sizeof(h));
	if (size)
		memcpy(out + sizeof(h), payload, size);
	if (sv_fd_send(t.sock_fd, out, sizeof(h) + size, fds, nfds, DEADLINE_MS) < 0)
		fail("request %u cannot be sent", request);
	if (!reply)
		return 0;
	if (sv_fd_recv(t.sock_fd, &h, sizeof(h), fd, &n_in, DEADLINE_MS) != sizeof(h) ||
		h.request != request || h.size > sizeof(*reply))
		fail("request %u is not answered", request);
	if (h.size && sv_fd_recv(t.sock_fd, reply, h.size, NULL, NULL, DEADLINE_MS) != (int)h.size)
		fail("the answer to request %u is cut short", request);
	return h.size;
}

static void ok(uint32_t request, const void *payload, uint32_t size, const int *fds, unsigned nfds)
{
	union vu_payload reply;

	if (call(request, VU_FLAG_NEED_REPLY, payload, size, fds, nfds, &reply, NULL) != 8 || reply.u64)
		fail("request %u is refused", request);
}

static void queue_start(unsigned i, uint16_t base)
{
	struct vqd *q = &t.q[i].vq;
	struct vu_addr a = {.index = i,
		.desc = USER + q->desc_gpa,
		.avail = USER + q->avail_gpa,
		.used = USER + q->used_gpa};
	struct vu_state s = {.index = i, .num = SIZE};
	uint64_t index = i;

	ok(VU_SET_VRING_NUM, &s, sizeof(s), NULL, 0);
	s.num = base;
	ok(VU_SET_VRING_BASE, &s, sizeof(s), NULL, 0);
	ok(VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	ok(VU_SET_VRING_CALL, &index, sizeof(index), &q->call_fd, 1);
	ok(VU_SET_VRING_KICK, &index, sizeof(index), &q->kick_fd, 1);
	s.num = 1;
	ok(VU_SET_VRING_ENABLE, &s, sizeof(s), NULL, 0);
}

/* As a front end does after a reconnection: everything again, and the region that it kept. */
static void session_start(void)
{
	struct vu_memory m = {
		.n = 1, .region[0] = {.gpa = 0, .size = MEM, .user_addr = USER}};
	union vu_payload reply;

	call(VU_GET_PROTOCOL_FEATURES, 0, NULL, 0, NULL, 0, &reply, NULL);
	if (!(reply.u64 & VU_PROTOCOL_F_INFLIGHT_SHMFD))
		fail("in-flight regions are not offered");
	call(VU_SET_PROTOCOL_FEATURES, 0, &reply.u64, 8, NULL, 0, NULL, NULL);
	call(VU_GET_FEATURES, 0, NULL, 0, NULL, 0, &reply, NULL);
	t.features = reply.u64 & ~VU_F_RING_PACKED;
	ok(VU_SET_FEATURES, &t.features, 8, NULL, 0);
	ok(VU_SET_MEM_TABLE, &m, VU_MEMORY_HEADER + sizeof(m.region[0]), &t.memfd, 1);
	if (t.inflight_fd < 0) {
		t.inflight = (struct vu_inflight){.queues = QUEUES, .queue_size = SIZE};
		call(VU_GET_INFLIGHT_FD, 0, &t.inflight, sizeof(t.inflight), NULL, 0, &reply,
			&t.inflight_fd);
		t.inflight = reply.inflight;
	}
	ok(VU_SET_INFLIGHT_FD, &t.inflight, sizeof(t.inflight), &t.inflight_fd, 1);
	for (unsigned i = 0; i < QUEUES; i++)
		queue_start(i, __atomic_load_n(&t.q[i].vq.used->idx, __ATOMIC_ACQUIRE));
}

/* --- requests -------------------------------------------------------------------------------- */

/* Of slot @s of queue @i: header, status and data. */
static uint64_t slot_gpa(unsigned i, unsigned s)
{
	return DATA + (i * DEPTH + s) * 2ull * BLOCK;
}

static void fill(uint64_t *words, unsigned block, uint64_t version)
{
	for (unsigned k = 0; k < WORDS; k++)
		words[k] = (uint64_t)block << 48 ^ version << 10 ^ k;
}

static bool holds(const uint64_t *words, unsigned block, uint64_t version)
{
	for (unsigned k = 0; k < WORDS; k++)
		if (words[k] != (version ? (uint64_t)block << 48 ^ version << 10 ^ k : 0))
			return false;
	return true;
}

static unsigned free_block(void)
{
	unsigned b = dice(BLOCKS);

	while (t.busy[b])
		b = (b + 1) % BLOCKS;
	return b;
}

static void begin(unsigned i, unsigned s)
{
	struct queue *q = &t.q[i];
	struct request *r = &q->request[s];
	uint64_t at = slot_gpa(i, s);
	struct virtio_blk_outhdr *h = (void *)(t.mem + at);
	struct vqd_buf b[3] = {{at, sizeof(*h), false}, {at + BLOCK, BLOCK, false}, {at + 64, 1, true}};
	unsigned what = dice(16);
	int head;

	*r = (struct request){.type = what == 0  ? VIRTIO_BLK_T_FLUSH
				      : what < 9 ? VIRTIO_BLK_T_OUT
						 : VIRTIO_BLK_T_IN,
		.block = BLOCKS,
		.out = true};
	memset(h, 0, sizeof(*h));
	h->type = r->type;
	t.mem[at + 64] = 0xff;
	if (r->type == VIRTIO_BLK_T_FLUSH) {
		b[1] = b[2];
	} else {
		r->block = free_block();
		t.busy[r->block] = true;
		h->sector = r->block * (BLOCK / 512);
		b[1].writable = r->type == VIRTIO_BLK_T_IN;
		r->version = r->type == VIRTIO_BLK_T_OUT ? ++t.next_version : t.version[r->block];
		if (r->type == VIRTIO_BLK_T_OUT)
			fill((void *)(t.mem + at + BLOCK), r->block, r->version);
		else
			memset(t.mem + at + BLOCK, 0xee, BLOCK);
	}
	head = vqd_add(&q->vq, b, r->type == VIRTIO_BLK_T_FLUSH ? 2 : 3, 0);
	if (head < 0 || q->slot_of[head] >= 0)
		fail("the queue has no room for its own requests");
	q->slot_of[head] = (int)s;
}

static void end(unsigned i, int head, uint32_t len)
{
	struct queue *q = &t.q[i];
	int s = head < (int)SIZE ? q->slot_of[head] : -1;
	struct request *r = s < 0 ? NULL : &q->request[s];
	uint64_t at = s < 0 ? 0 : slot_gpa(i, (unsigned)s);

	if (!r || !r->out)
		fail("queue %u: descriptor %d came back, and was not out", i, head);
	q->slot_of[head] = -1;
	r->out = false;
	if (t.mem[at + 64] != VIRTIO_BLK_S_OK)
		fail("a request of type %u ended with status %u", r->type, t.mem[at + 64]);
	if (len != (r->type == VIRTIO_BLK_T_IN ? BLOCK + 1 : 1))
		fail("a request of type %u says that %u bytes were written", r->type, len);
	if (r->type == VIRTIO_BLK_T_IN && !holds((void *)(t.mem + at + BLOCK), r->block, r->version))
		fail("block %u has not what was written last, version %llu", r->block,
			(unsigned long long)r->version);
	if (r->type == VIRTIO_BLK_T_OUT)
		t.version[r->block] = r->version;
	if (r->block < BLOCKS)
		t.busy[r->block] = false;
	t.done++;
	t.writes += r->type == VIRTIO_BLK_T_OUT;
	t.reads += r->type == VIRTIO_BLK_T_IN;
	t.flushes += r->type == VIRTIO_BLK_T_FLUSH;
}

/* Take what came back; with @more put new requests in their place. Return: how many came. */
static unsigned turn(bool more)
{
	unsigned n = 0;

	for (unsigned i = 0; i < QUEUES; i++) {
		struct queue *q = &t.q[i];
		uint32_t len;
		int head;

		while ((head = vqd_get(&q->vq, &len)) >= 0) {
			end(i, head, len);
			n++;
		}
		for (unsigned s = 0; more && s < DEPTH; s++)
			if (!q->request[s].out)
				begin(i, s);
		if (more)
			vqd_kick(&q->vq);
	}
	return n;
}

static void load(double ms)
{
	double until = now_ms() + ms;

	while (now_ms() < until)
		if (!turn(true))
			sched_yield();
}

static unsigned out(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < QUEUES; i++)
		for (unsigned s = 0; s < DEPTH; s++)
			n += t.q[i].request[s].out;
	return n;
}

/* Wait for an answer with the call eventfds, as a driver with interrupts would. */
static void wait_one(bool more)
{
	double limit = now_ms() + DEADLINE_MS;
	struct pollfd p[QUEUES];

	while (!turn(more)) {
		for (unsigned i = 0; i < QUEUES; i++)
			vqd_want_call(&t.q[i].vq, true);
		if (turn(more))
			return;
		for (unsigned i = 0; i < QUEUES; i++)
			p[i] = (struct pollfd){.fd = t.q[i].vq.call_fd, .events = POLLIN};
		if (poll(p, QUEUES, DEADLINE_MS) == 0)
			fail("no answer and no interrupt within %d ms; %u requests are out", DEADLINE_MS,
				out());
		for (unsigned i = 0; i < QUEUES; i++)
			vqd_calls(&t.q[i].vq);
		if (now_ms() > limit)
			fail("interrupts, and no answer");
	}
}

/* --- the test -------------------------------------------------------------------------------- */

static void wait_for_end_of_connection(void)
{
	struct pollfd p = {.fd = t.sock_fd, .events = POLLIN};
	char byte;

	if (poll(&p, 1, DEADLINE_MS) != 1 || recv(t.sock_fd, &byte, 1, 0) > 0)
		fail("the connection does not end");
	close(t.sock_fd);
}

static void set_up(void)
{
	int image;

	snprintf(t.dir, sizeof(t.dir), "%s/sidevisor-crash.XXXXXX", getenv("TMPDIR") ?: "/tmp");
	if (!mkdtemp(t.dir))
		fail("%s: %s", t.dir, strerror(errno));
	snprintf(t.image, sizeof(t.image), "%s/image", t.dir);
	snprintf(t.sock, sizeof(t.sock), "%s/disk.sock", t.dir);
	snprintf(t.node, sizeof(t.node), "%s/node.sock", t.dir);
	image = open(t.image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (image < 0 || ftruncate(image, BLOCKS * BLOCK) < 0)
		fail("%s: %s", t.image, strerror(errno));
	close(image);
	t.memfd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (t.memfd < 0 || ftruncate(t.memfd, MEM) < 0 || fcntl(t.memfd, F_ADD_SEALS, F_SEAL_SHRINK))
		fail("guest memory: %s", strerror(errno));
	t.mem = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, t.memfd, 0);
	for (unsigned i = 0; i < QUEUES; i++) {
		vqd_init(&t.q[i].vq, t.mem, RINGS * (i + 1), SIZE, true);
		t.q[i].vq.kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		t.q[i].vq.call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		memset(t.q[i].slot_of, 0xff, sizeof(t.q[i].slot_of));
	}
	t.inflight_fd = -1;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	static double outage[KILLS_MAX];
	unsigned kills = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
	char options[256] = "";

	if (!kills || kills > KILLS_MAX) {
		fprintf(stderr, "usage: test_crash SIDEVISOR KILLS [seed=N] [OPTION...]\n");
		return 2;
	}
	t.program = argv[1];
	t.seed = (unsigned)time(NULL);
	for (int i = 3; i < argc; i++)
		if (sscanf(argv[i], "seed=%u", &t.seed) != 1)
			snprintf(options + strlen(options), sizeof(options) - strlen(options), ",%s",
				argv[i]);
	srand(t.seed);
	signal(SIGPIPE, SIG_IGN);
	set_up();
	snprintf(t.blk, sizeof(t.blk), "path=%s,socket=%s,queues=%u%s", t.image, t.sock, QUEUES, options);
	server_start();
	server_connect();
	session_start();
	for (unsigned k = 0; k < kills; k++) {
		double at;

		load(dice(4) ? dice(20000) / 1000.0 : dice(300) / 1000.0);
		at = now_ms();
		kill(t.server, SIGKILL);
		turn(dice(2));
		waitpid(t.server, NULL, 0);
		wait_for_end_of_connection();
		turn(true); /* what came before the end */
		for (unsigned i = 0; i < QUEUES; i++)
			vqd_calls(&t.q[i].vq);
		server_start();
		server_connect();
		session_start();
		wait_one(true);
		outage[k] = now_ms() - at;
	}
	while (out())
		wait_one(false);
	qsort(outage, kills, sizeof(outage[0]), by_size);
	printf("kills %u, requests %llu (%llu writes, %llu reads, %llu flushes), none lost, repeated or "
	       "wrong; outage ms: median %.1f, p90 %.1f, most %.1f; seed %u\n",
		kills, (unsigned long long)t.done, (unsigned long long)t.writes,
		(unsigned long long)t.reads, (unsigned long long)t.flushes, outage[kills / 2],
		outage[kills * 9 / 10], outage[kills - 1], t.seed);
	clean_up();
	return 0;
}
