/* SPDX-License-Identifier: BSD-3-Clause */
#include "made_up_kernel.h"

#include <errno.h>

#include "fuzz_input.h"

#define FIRST 1000
#define FDS 96u
#define MAPS 80u
#define SAY_BYTES 1024u
#define SAY_FDS 16u

static uint8_t file[MK_FILE_BYTES + WALL] __attribute__((aligned(4096)));
static uint8_t record[MK_RECORD_BYTES + WALL] __attribute__((aligned(4096)));

static struct {
	struct {
		enum mk_kind kind;
		bool is_record, watched;
		uint64_t bytes;
	} fd[FDS];
	struct {
		void *base;
		size_t bytes;
	} map[MAPS];
	uint8_t say[SAY_BYTES];
	size_t said, heard;
	int say_fd[SAY_FDS];
	unsigned say_fds;
	uint64_t now_ns;
	bool deaf;
	unsigned fail_in;
} k;

void (*mk_meanwhile)(void);

void mk_boot(void)
{
	memset(&k, 0, sizeof(k));
	memset(file, 0, MK_FILE_BYTES);
	wall_up(file + MK_FILE_BYTES);
	wall_up(record + MK_RECORD_BYTES);
}

void mk_check_empty(unsigned fds)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FDS; i++)
		n += k.fd[i].kind != MK_FREE;
	CHECK(n == fds);
	for (unsigned i = 0; i < MAPS; i++)
		CHECK(!k.map[i].base);
	wall_check(file + MK_FILE_BYTES);
	wall_check(record + MK_RECORD_BYTES);
}

void mk_fail(unsigned n)
{
	k.fail_in = n;
}

bool mk_fails(int error)
{
	if (!k.fail_in || --k.fail_in)
		return false;
	errno = error;
	return true;
}

void *mk_calloc(size_t n, size_t bytes)
{
	return mk_fails(ENOMEM) ? NULL : calloc(n, bytes);
}

uint8_t *mk_file(void)
{
	return file;
}

uint8_t *mk_record(void)
{
	return record;
}

static unsigned slot(int fd)
{
	unsigned i = (unsigned)(fd - FIRST);

	CHECK(i < FDS && k.fd[i].kind != MK_FREE);
	return i;
}

int mk_open(enum mk_kind kind)
{
	for (unsigned i = 0; i < FDS; i++) {
		if (k.fd[i].kind != MK_FREE)
			continue;
		k.fd[i].kind = kind;
		k.fd[i].is_record = k.fd[i].watched = false;
		k.fd[i].bytes = kind == MK_SEALED || kind == MK_UNSEALED ? MK_FILE_BYTES : 0;
		return FIRST + (int)i;
	}
	errno = EMFILE;
	return -1;
}

int mk_close(int fd)
{
	k.fd[slot(fd)].kind = MK_FREE;
	return 0;
}

int mk_memfd_create(void)
{
	int fd = mk_fails(EMFILE) ? -1 : mk_open(MK_UNSEALED);

	if (fd < 0)
		return fd;
	k.fd[fd - FIRST].is_record = true;
	k.fd[fd - FIRST].bytes = 0;
	return fd;
}

int mk_epoll_create(void)
{
	return mk_fails(EMFILE) ? -1 : mk_open(MK_EPOLL);
}

int mk_open_record(uint64_t bytes)
{
	int fd = mk_open(MK_SEALED);

	if (fd < 0)
		return fd;
	CHECK(bytes <= MK_RECORD_BYTES);
	k.fd[fd - FIRST].is_record = true;
	k.fd[fd - FIRST].bytes = bytes;
	return fd;
}

int mk_ftruncate(int fd, off_t bytes)
{
	unsigned i = slot(fd);

	CHECK(k.fd[i].is_record && bytes >= 0);
	if (mk_fails(ENOSPC))
		return -1;
	if (bytes > (off_t)MK_RECORD_BYTES) {
		errno = ENOSPC;
		return -1;
	}
	k.fd[i].bytes = (uint64_t)bytes;
	memset(record, 0, (size_t)bytes);
	return 0;
}

int mk_fstat(int fd, struct stat *st)
{
	static const mode_t mode[] = {[MK_SEALED] = S_IFREG,
		[MK_UNSEALED] = S_IFREG,
		[MK_PIPE] = S_IFIFO,
		[MK_NULL] = S_IFCHR,
		[MK_SOCKET] = S_IFSOCK,
		[MK_SESSION] = S_IFSOCK};
	unsigned i = slot(fd);

	if (mk_fails(EIO))
		return -1;
	memset(st, 0, sizeof(*st));
	st->st_mode = mode[k.fd[i].kind];
	st->st_size = (off_t)k.fd[i].bytes;
	st->st_blksize = 4096;
	return 0;
}

int mk_fcntl(int fd, int cmd, int arg)
{
	unsigned i = slot(fd);

	(void)arg;
	if (k.fd[i].kind != MK_SEALED && k.fd[i].kind != MK_UNSEALED) {
		errno = EINVAL;
		return -1;
	}
	if (cmd == F_ADD_SEALS)
		k.fd[i].kind = MK_SEALED;
	return k.fd[i].kind == MK_SEALED ? F_SEAL_SHRINK : 0;
}

ssize_t mk_readlink(const char *path, char *to, size_t n)
{
	int fd = atoi(path + sizeof("/proc/self/fd/") - 1);
	const char *text =
		k.fd[slot(fd)].kind == MK_EVENT ? "anon_inode:[eventfd]" : "anon_inode:[other]";
	size_t len = strlen(text);

	CHECK(len <= n);
	memcpy(to, text, len);
	return (ssize_t)len;
}

void *mk_mmap(size_t bytes, int fd, off_t at)
{
	unsigned i = slot(fd), m = 0;

	CHECK((k.fd[i].kind == MK_SEALED || k.fd[i].kind == MK_UNSEALED) && bytes && at >= 0 &&
		at % 4096 == 0);
	CHECK((uint64_t)at + bytes <= ((k.fd[i].bytes + 4095) & ~4095ull));
	if (mk_fails(ENOMEM))
		return MAP_FAILED;
	while (m < MAPS && k.map[m].base)
		m++;
	if (m == MAPS) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	k.map[m].base = (k.fd[i].is_record ? record : file) + at;
	k.map[m].bytes = bytes;
	return k.map[m].base;
}

int mk_munmap(void *base, size_t bytes)
{
	for (unsigned m = 0; m < MAPS; m++) {
		if (k.map[m].base != base || k.map[m].bytes != bytes)
			continue;
		k.map[m].base = NULL;
		return 0;
	}
	CHECK(!"unmapped what was not mapped");
	return -1;
}

bool mk_mapped(const void *p, size_t n)
{
	const uint8_t *at = p;

	for (unsigned m = 0; m < MAPS; m++) {
		const uint8_t *base = k.map[m].base;

		if (base && at >= base && at + n <= base + ((k.map[m].bytes + 4095) & ~4095ull))
			return true;
	}
	return false;
}

int mk_epoll_ctl(int op, int fd)
{
	unsigned i = slot(fd);

	if (op == EPOLL_CTL_DEL) {
		CHECK(k.fd[i].watched);
		k.fd[i].watched = false;
		return 0;
	}
	if (k.fd[i].kind == MK_SEALED || k.fd[i].kind == MK_UNSEALED || k.fd[i].kind == MK_NULL) {
		errno = EPERM;
		return -1;
	}
	if (mk_fails(ENOSPC))
		return -1;
	CHECK(!k.fd[i].watched);
	k.fd[i].watched = true;
	return 0;
}

int mk_nanosleep(const struct timespec *t)
{
	k.now_ns += (uint64_t)t->tv_nsec;
	if (mk_meanwhile)
		mk_meanwhile();
	return 0;
}

/* Each look at the time takes some. */
int mk_clock_gettime(struct timespec *t)
{
	k.now_ns += 20000;
	t->tv_sec = (time_t)(k.now_ns / 1000000000u);
	t->tv_nsec = (long)(k.now_ns % 1000000000u);
	return 0;
}

void mk_deaf(bool deaf)
{
	k.deaf = deaf;
}

ssize_t mk_fd_send(const int *fds, unsigned nfds, size_t n)
{
	for (unsigned i = 0; i < nfds; i++)
		slot(fds[i]);
	return k.deaf ? -ETIMEDOUT : (ssize_t)n;
}

void mk_say(const void *bytes, size_t n, const int *fds, unsigned nfds)
{
	/* What was not heard of the message before is lost with its descriptors. */
	while (k.say_fds)
		mk_close(k.say_fd[--k.say_fds]);
	CHECK(n <= SAY_BYTES && nfds <= SAY_FDS);
	memcpy(k.say, bytes, n);
	k.said = n;
	k.heard = 0;
	for (unsigned i = 0; i < nfds; i++)
		k.say_fd[i] = fds[i];
	k.say_fds = nfds;
}

/* Like sv_fd_recv(): descriptors come with the first byte; too many are closed. */
ssize_t mk_fd_recv(void *buf, size_t len, int *fds, unsigned *nfds)
{
	size_t n = k.said - k.heard < len ? k.said - k.heard : len;
	unsigned room = *nfds, got = k.say_fds;

	*nfds = 0;
	if (!n)
		return -ETIMEDOUT;
	memcpy(buf, k.say + k.heard, n);
	k.heard += n;
	k.say_fds = 0;
	if (got > room) {
		while (got)
			mk_close(k.say_fd[--got]);
		return -EMSGSIZE;
	}
	memcpy(fds, k.say_fd, got * sizeof(fds[0]));
	*nfds = got;
	return (ssize_t)n;
}

int mk_call_open(struct sv_call *c, int fd, bool is_socket)
{
	unsigned i = slot(fd);

	if (!is_socket && k.fd[i].kind != MK_EVENT)
		return -EINVAL;
	CHECK(!is_socket || k.fd[i].kind == MK_SOCKET || k.fd[i].kind == MK_SESSION);
	if (mk_fails(ENOMEM))
		return -ENOMEM;
	c->fd = fd;
	return 0;
}

void mk_call_signal(struct sv_call *c)
{
	slot(c->fd);
}

void mk_call_close(struct sv_call *c)
{
	if (c->fd >= 0)
		mk_close(c->fd);
	c->fd = -1;
}
