/* SPDX-License-Identifier: BSD-3-Clause */
#include "pager_source.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/disk.h>
#include <channels/control.h>
#include <channels/memory_source.h>

#define PAGE SV_SOURCE_PAGE
#define MIB (1ull << 20)

static int source_fail(const struct sv_pager_source *s, int e, const char *what, struct sv_error *err)
{
	return sv_fail(err, e, "memory source %s: %s", s->path, what);
}

static int check_size(const struct sv_pager_source *s, uint64_t memory_bytes, struct sv_error *err)
{
	if (s->bytes >= memory_bytes)
		return 0;
	return sv_fail(err, ENODATA, "memory source %s: it has %llu bytes, --memory asks for %llu; give the "
		"guest what the source has, or a source that is complete", s->path,
		(unsigned long long)s->bytes, (unsigned long long)memory_bytes);
}

static int open_file(struct sv_pager_source *s, struct sv_error *err)
{
	struct sv_error why;
	struct stat st;
	int rc;

	/* The lock of readers: no VM has it as a disk to write to. */
	rc = sv_disk_open(s->path, true, false, &s->fd, &s->bytes, &why);
	if (rc < 0)
		return sv_fail(err, -rc, "--memory-source: %.400s", why.text);
	if (fstat(s->fd, &st) < 0)
		return source_fail(s, errno, strerror(errno), err);
	s->generation = sv_source_file_generation(st.st_ino, (uint64_t)st.st_size, st.st_mtim.tv_sec,
		(uint32_t)st.st_mtim.tv_nsec);
	return 0;
}

/* --- a process ------------------------------------------------------------------------------- */

static void set_deadline(int fd, uint32_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static int connect_to(const struct sv_pager_source *s, struct sv_error *err)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd, e;

	if (strlen(s->path) >= sizeof(a.sun_path))
		return source_fail(s, ENAMETOOLONG, "the path of a socket has 107 characters at most", err);
	strcpy(a.sun_path, s->path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return source_fail(s, errno, strerror(errno), err);
	set_deadline(fd, s->timeout_ms);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	e = errno;
	close(fd);
	return source_fail(s, e, e == ENOENT ? "no such socket; is the process that has the memory running?"
			       : e == ECONNREFUSED ? "nobody listens there; start the process that has the memory"
						   : strerror(e), err);
}

static int greet(struct sv_pager_source *s, int fd, struct sv_error *err)
{
	struct sv_source_request q = {
		.magic = SV_SOURCE_MAGIC, .version = SV_SOURCE_VERSION, .op = SV_SOURCE_HELLO};
	struct sv_source_reply r;
	ssize_t n = send(fd, &q, sizeof(q), MSG_NOSIGNAL);

	if (n == sizeof(q))
		n = recv(fd, &r, sizeof(r), MSG_WAITALL);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return source_fail(s, ETIMEDOUT, "it does not answer the greeting", err);
	if (n != sizeof(r))
		return source_fail(s, n < 0 ? errno : ECONNRESET,
			n < 0 ? strerror(errno) : "it closed the connection at the greeting", err);
	if (r.magic != SV_SOURCE_MAGIC || r.version != SV_SOURCE_VERSION || r.op != SV_SOURCE_HELLO)
		return source_fail(s, EPROTO, "what answers there is no memory source", err);
	if (r.status)
		return source_fail(s, EIO, strerror((int)(r.status & 0xffff)), err);
	if (r.bytes < PAGE || r.bytes % PAGE)
		return source_fail(s, EPROTO, "its greeting allows no request of whole pages", err);
	s->bytes = r.offset;
	s->generation = r.generation;
	s->read_max = r.bytes < SV_SOURCE_BYTES_MAX ? r.bytes : SV_SOURCE_BYTES_MAX;
	return 0;
}

static int open_socket(struct sv_pager_source *s, struct sv_error *err)
{
	int fd = connect_to(s, err), rc;

	if (fd < 0)
		return fd;
	rc = greet(s, fd, err);
	if (rc < 0)
		close(fd);
	else
		s->fd = fd;
	return rc;
}

int sv_pager_source_connect(struct sv_pager_source *s, struct sv_error *err)
{
	struct sv_pager_source again = *s;
	int fd = s->fd, rc;

	if (!s->is_socket)
		return fd;
	s->fd = -1;
	if (fd >= 0)
		return fd;
	rc = open_socket(&again, err);
	if (rc < 0)
		return rc;
	if (again.generation == s->generation && again.bytes == s->bytes)
		return again.fd;
	close(again.fd);
	return source_fail(s, ESTALE, "its memory is another one than a moment ago", err);
}

/* --- hot list -------------------------------------------------------------------------------- */

/* A line of the list: FIRST or FIRST-LAST in pages of 4 KiB, # begins a comment. */
static int parse_line(const char *line, struct sv_pager_range *r)
{
	unsigned long long first, last;
	char *end;

	errno = 0;
	first = last = strtoull(line, &end, 0);
	if (end == line || *line == '-')
		return -1;
	if (*end == '-') {
		const char *from = end + 1;

		last = strtoull(from, &end, 0);
		if (end == from || *from == '-')
			return -1;
	}
	while (isspace((unsigned char)*end))
		end++;
	if ((*end && *end != '#') || errno || last < first || last >= UINT64_MAX / PAGE - 1)
		return -1;
	*r = (struct sv_pager_range){.offset = first * PAGE, .bytes = (last - first + 1) * PAGE};
	return 0;
}

static int read_hot(FILE *f, const char *path, int fd, uint64_t memory_bytes, struct sv_error *err)
{
	struct sv_pager_range r;
	unsigned n = 0, number = 0;
	char line[256];

	while (fgets(line, sizeof(line), f)) {
		const char *s = line + strspn(line, " \t\r\n");

		number++;
		if (!*s || *s == '#')
			continue;
		if (!strchr(line, '\n') && !feof(f))
			return sv_fail(err, EINVAL, "hot list %s:%u: a line of more than 254 characters",
				path, number);
		if (parse_line(s, &r) < 0)
			return sv_fail(err, EINVAL, "hot list %s:%u: write a page number, or FIRST-LAST, of "
				"pages of 4 KiB", path, number);
		if (r.offset >= memory_bytes || r.bytes > memory_bytes - r.offset)
			return sv_fail(err, ERANGE, "hot list %s:%u: past the guest's %llu pages", path,
				number, (unsigned long long)(memory_bytes / PAGE));
		if (n++ == SV_PAGER_HOT_MAX)
			return sv_fail(err, E2BIG, "hot list %s: more than %u lines", path,
				SV_PAGER_HOT_MAX);
		if (write(fd, &r, sizeof(r)) != sizeof(r))
			return sv_fail(err, errno, "hot list: %s", strerror(errno));
	}
	return ferror(f) ? sv_fail(err, errno, "hot list %s: %s", path, strerror(errno)) : 0;
}

static int open_hot(struct sv_pager_source *s, const char *path, uint64_t memory_bytes,
	struct sv_error *err)
{
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), rc;
	FILE *f = file >= 0 ? fdopen(file, "re") : NULL;
	struct stat st;

	if (!f)
		return sv_fail(err, errno, "hot list %s: %s", path, strerror(errno));
	if (fstat(file, &st) < 0 || !S_ISREG(st.st_mode))
		rc = sv_fail(err, EINVAL, "hot list %s: not a regular file", path);
	else if ((s->hot_fd = memfd_create("sidevisor-hot", MFD_CLOEXEC | MFD_ALLOW_SEALING)) < 0)
		rc = sv_fail(err, errno, "memfd_create: %s", strerror(errno));
	else
		rc = read_hot(f, path, s->hot_fd, memory_bytes, err);
	fclose(f);
	return rc;
}

static bool is_socket(const struct sv_memory_source_config *c)
{
	struct stat st;

	if (c->kind != SV_SOURCE_ANY)
		return c->kind == SV_SOURCE_UNIX;
	return stat(c->path, &st) == 0 && S_ISSOCK(st.st_mode);
}

int sv_pager_source_open(struct sv_pager_source *s, const struct sv_memory_source_config *c,
	uint64_t memory_bytes, struct sv_error *err)
{
	int rc;

	*s = (struct sv_pager_source){.is_socket = is_socket(c),
		.path = c->path,
		.fd = -1,
		.hot_fd = -1,
		.timeout_ms = c->timeout_s * 1000,
		.read_max = SV_SOURCE_BYTES_MAX};
	rc = s->is_socket ? open_socket(s, err) : open_file(s, err);
	if (rc == 0)
		rc = check_size(s, memory_bytes, err);
	if (rc == 0 && c->hot)
		rc = open_hot(s, c->hot, memory_bytes, err);
	if (rc < 0)
		sv_pager_source_close(s);
	return rc;
}

void sv_pager_source_close(struct sv_pager_source *s)
{
	if (s->fd >= 0)
		close(s->fd);
	if (s->hot_fd >= 0)
		close(s->hot_fd);
	s->fd = s->hot_fd = -1;
}
