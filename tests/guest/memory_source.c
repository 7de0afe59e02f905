/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A memory source for tests: the words that the guest's app=arrive expects, one request after the other,
 * each DELAY ms late, whatever its size; and everything that a source can do wrong.
 *
 *   memory_source image FILE BYTES            write that memory into a file
 *   memory_source sum BYTES FIRSTPAGE PAGES   the sum that the guest prints
 *   memory_source serve SOCKET BYTES DELAY [die|stall|corrupt|liar|change|refuse|garble|flip N]
 *
 * With a fault, from request N on: closes, says nothing, sends wrong bytes, (flip: once, every Nth),
 * gives another length, another generation, an error, or nonsense for a header. Prints the number of
 * requests when the connection ends.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <xxhash.h>

#include <channels/memory_source.h>

static uint64_t size;
static long delay_ms;
static const char *fault = "";
static unsigned long fault_at;
static _Atomic unsigned long served, bytes_served;

static uint64_t word(uint64_t offset)
{
	uint64_t z = (offset / 8 + 1) * 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static void fill(uint64_t *buf, uint64_t offset, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes / 8; i++)
		buf[i] = word(offset + 8 * i);
}

static int send_all(int fd, const void *p, size_t n)
{
	while (n) {
		ssize_t k = send(fd, p, n, MSG_NOSIGNAL);

		if (k <= 0)
			return -1;
		p = (const char *)p + k;
		n -= (size_t)k;
	}
	return 0;
}

static int is(const char *what)
{
	return !strcmp(fault, what) && served >= fault_at;
}

/* Once for each place: a pager that asks again is answered well. */
static int flips(uint64_t offset)
{
	static unsigned char flipped[1 << 20];
	unsigned char *f = &flipped[offset / 4096 % sizeof(flipped)];

	if (strcmp(fault, "flip") || served % fault_at || *f)
		return 0;
	*f = 1;
	return 1;
}

static int answer(int fd, const struct sv_source_request *q, uint64_t *buf)
{
	struct timespec late = {.tv_sec = delay_ms / 1000, .tv_nsec = delay_ms % 1000 * 1000000};
	struct sv_source_reply r = {.magic = SV_SOURCE_MAGIC, .version = SV_SOURCE_VERSION, .op = q->op,
		.tag = q->tag, .offset = q->offset, .bytes = q->bytes, .generation = 7};

	if (q->op == SV_SOURCE_HELLO) {
		r.offset = size;
		r.bytes = SV_SOURCE_BYTES_MAX;
		return send_all(fd, &r, sizeof(r));
	}
	if (q->bytes > SV_SOURCE_BYTES_MAX || q->offset % 4096 || q->bytes % 4096 || q->offset + q->bytes > size)
		return -1;
	nanosleep(&late, NULL);
	served++;
	bytes_served += q->bytes;
	if (is("die"))
		return -1;
	while (is("stall"))
		pause();
	fill(buf, q->offset, q->bytes);
	r.check = XXH3_64bits_withSeed(buf, q->bytes, q->offset);
	if (is("corrupt") || flips(q->offset))
		buf[q->bytes / 16] ^= 1;
	if (is("liar"))
		r.bytes -= 4096;
	if (is("change"))
		r.generation++;
	if (is("refuse")) {
		r.status = EIO;
		r.bytes = 0;
		return send_all(fd, &r, sizeof(r));
	}
	if (is("garble"))
		memset(&r, 0x5a, sizeof(r));
	return send_all(fd, &r, sizeof(r)) ? -1 : send_all(fd, buf, r.bytes <= q->bytes ? r.bytes : 0);
}

static void *connection(void *arg)
{
	uint64_t *buf = malloc(SV_SOURCE_BYTES_MAX);
	struct sv_source_request q;
	int fd = *(int *)arg;

	free(arg);
	while (buf && recv(fd, &q, sizeof(q), MSG_WAITALL) == sizeof(q) && q.magic == SV_SOURCE_MAGIC)
		if (answer(fd, &q, buf) < 0)
			break;
	close(fd);
	free(buf);
	printf("%lu requests, %lu bytes\n", served, bytes_served);
	fflush(stdout);
	return NULL;
}

static int serve(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int l = socket(AF_UNIX, SOCK_STREAM, 0);

	signal(SIGPIPE, SIG_IGN);
	unlink(path);
	strncpy(a.sun_path, path, sizeof(a.sun_path) - 1);
	if (bind(l, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(l, 8) < 0) {
		perror(path);
		return 1;
	}
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int *fd = malloc(sizeof(*fd));
		pthread_t t;

		*fd = accept(l, NULL, NULL);
		if (*fd < 0 || pthread_create(&t, NULL, connection, fd))
			return 1;
		pthread_detach(t);
	}
}

static int image(const char *path)
{
	static uint64_t buf[1 << 16];
	FILE *f = fopen(path, "w");

	for (uint64_t at = 0; f && at < size; at += sizeof(buf)) {
		uint64_t n = size - at < sizeof(buf) ? size - at : sizeof(buf);

		fill(buf, at, n);
		if (fwrite(buf, 1, n, f) != n)
			return 1;
	}
	return !f || fclose(f);
}

static int sum(uint64_t first, uint64_t pages)
{
	uint64_t total = 0;

	for (uint64_t p = first; p < first + pages; p++) {
		uint64_t s = 0;

		for (uint64_t i = 0; i < 512; i++)
			s += word(p * 4096 + 8 * i) * (2 * i + 1);
		total += s * (p + 1);
	}
	printf("%lx\n", (unsigned long)total);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 4 && !strcmp(argv[1], "image")) {
		size = strtoull(argv[3], NULL, 0);
		return image(argv[2]);
	}
	if (argc >= 5 && !strcmp(argv[1], "sum"))
		return sum(strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0));
	if (argc >= 5 && !strcmp(argv[1], "serve")) {
		size = strtoull(argv[3], NULL, 0);
		delay_ms = strtol(argv[4], NULL, 0);
		if (argc >= 7) {
			fault = argv[5];
			fault_at = strtoul(argv[6], NULL, 0);
		}
		return serve(argv[2]);
	}
	fprintf(stderr, "usage: see the source\n");
	return 2;
}
