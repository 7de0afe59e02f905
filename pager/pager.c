/* SPDX-License-Identifier: BSD-3-Clause */
/* The pager of a VM: its units, what devices ask of it, how it begins and ends. */
#include <pager/pager.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <channels/device_class.h>

#include "private.h"

#define UNITS (sizeof(((struct pager *)0)->unit) / sizeof(void *))
#define TIMEOUT_MS_MAX 3600000u
#define FIRST_SIZE 4u /* 64 KiB */

enum { FD_UFFD, FD_MEMORY, FD_REPORT, FD_SOURCE, FD_HOT, FDS };

/* --- what devices ask ------------------------------------------------------------------------ */

/* Say it once, whoever says it. No slot: it is said again when the device asks again. */
static void want(struct unit *u, uint64_t page)
{
	uint64_t one = 1;

	for (unsigned i = 0; i < WANTS; i++) {
		uint64_t none = 0, have = sv_load_relaxed(&u->want[i]);

		if (have == page + 1)
			return;
		if (have == 0 && __atomic_compare_exchange_n(&u->want[i], &none, page + 1, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			break;
	}
	sv_exchange_full(&u->wanted, 1u);
	if (sv_load_full(&u->sleeping) && write(u->want_fd, &one, sizeof(one)) < 0)
		return; /* its counter is full: it is awake soon */
}

/* Words at a time: a driver may name gigabytes. As many as there are slots are asked for at once. */
static bool pages_resident(struct unit *u, uint64_t page, uint64_t last)
{
	unsigned absent = 0;

	while (page <= last && absent < WANTS) {
		if (page % 64 == 0 && sv_load_acquire(&u->present[page / 64]) == UINT64_MAX) {
			page += 64;
			continue;
		}
		if (!unit_present(u, page)) {
			want(u, page);
			absent++;
		}
		page++;
	}
	return !absent;
}

static bool unit_resident(struct unit *u, uint64_t gpa, uint64_t bytes)
{
	bool all = true;

	for (unsigned i = 0; i < SV_PAGER_PIECES; i++) {
		uint64_t from = u->piece[i].gpa, to = from + u->piece[i].bytes, last;

		if (gpa > from)
			from = gpa;
		if (gpa + bytes < to)
			to = gpa + bytes;
		if (from >= to)
			continue;
		last = u->piece[i].page + (to - 1 - u->piece[i].gpa) / PAGE;
		all &= pages_resident(u, u->piece[i].page + (from - u->piece[i].gpa) / PAGE, last);
	}
	return all;
}

static bool resident(struct sv_residency *r, uint64_t gpa, uint64_t bytes)
{
	struct pager *p = (struct pager *)(void *)r;
	bool all = true;

	for (unsigned i = 0; i < p->units; i++) {
		struct unit *u = p->unit[i];

		if (sv_load_acquire(&u->state) == UNIT_DONE)
			continue;
		all &= unit_resident(u, gpa, bytes);
	}
	return all;
}

static struct sv_residency *pager_residency(void *pager)
{
	return &((struct pager *)pager)->residency;
}

/* --- a unit ---------------------------------------------------------------------------------- */

/* Exactly that kind of file, by the name that the kernel gives it. */
static bool is_uffd(int fd)
{
	static const char name[] = "anon_inode:[userfaultfd]";
	char path[32], link[sizeof(name)];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, link, sizeof(link)) == sizeof(name) - 1 &&
	       !memcmp(link, name, sizeof(name) - 1);
}

static bool is_report_socket(int fd)
{
	int domain = 0, type = 0;
	socklen_t dlen = sizeof(domain), tlen = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &dlen) == 0 && domain == AF_UNIX &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &tlen) == 0 && type == SOCK_SEQPACKET;
}

static int check_fds(const struct sv_pager_request *req, struct sv_error *err)
{
	unsigned n = req->unit->flags & SV_PAGER_F_HOT ? FDS : FD_HOT;

	if (req->nfds != n)
		return sv_fail(err, EINVAL, "PAGER: %u descriptors, %u are right", req->nfds, n);
	if (!is_uffd(req->fds[FD_UFFD]))
		return sv_fail(err, EINVAL, "PAGER: the first descriptor is no userfaultfd");
	/* Only memory files have seals: nobody's code runs when they are looked at. */
	if (fcntl(req->fds[FD_MEMORY], F_GET_SEALS) < 0 ||
		(n == FDS && fcntl(req->fds[FD_HOT], F_GET_SEALS) < 0))
		return sv_fail(err, EINVAL, "PAGER: memory and hot list come as memfds");
	if (!is_report_socket(req->fds[FD_REPORT]))
		return sv_fail(err, EINVAL, "PAGER: reports go through a Unix SEQPACKET socket");
	return 0;
}

static int check_words(const struct sv_pager_request *req, struct sv_error *err)
{
	const struct sv_control_pager *c = req->unit;
	uint64_t bytes = 0;

	if (c->flags & ~(SV_PAGER_F_SOCKET | SV_PAGER_F_HOT | SV_PAGER_F_NO_PREFETCH))
		return sv_fail(err, ENOTSUP, "PAGER: flags %#x", c->flags);
	if (!c->timeout_ms || c->timeout_ms > TIMEOUT_MS_MAX || c->offset % PAGE ||
		c->user_addr % PAGE || c->read_max < PAGE)
		return sv_fail(err, EINVAL, "PAGER: a deadline of %u ms, offset %#llx, address %#llx, "
			"requests of %u bytes", c->timeout_ms, (unsigned long long)c->offset,
			(unsigned long long)c->user_addr, c->read_max);
	for (unsigned i = 0; i < SV_PAGER_PIECES; i++) {
		uint64_t gpa = c->piece[i].gpa, n = c->piece[i].bytes;

		if (n && (n % PAGE || gpa % PAGE || !sv_gmem_ptr(req->gmem, sv_gpa(gpa), n)))
			return sv_fail(err, EFAULT, "PAGER: %#llx is not in the VM's memory",
				(unsigned long long)gpa);
		bytes += n;
	}
	if (!bytes || c->offset + bytes < bytes || c->offset + bytes > INT64_MAX)
		return sv_fail(err, EINVAL, "PAGER: a unit of %llu bytes", (unsigned long long)bytes);
	return 0;
}

static void unit_free(struct unit *u, bool buffers)
{
	if (buffers && u->buffers)
		munmap(u->buffers, FETCHES * (size_t)SV_SOURCE_BYTES_MAX);
	if (u->want_fd >= 0)
		close(u->want_fd);
	if (u->wake_fd >= 0)
		close(u->wake_fd);
	free(u->present);
	free(u->flying);
	free(u->hot);
	free(u);
}

static struct unit *unit_new(const struct sv_pager_request *req)
{
	const struct sv_control_pager *c = req->unit;
	struct unit *u = calloc(1, sizeof(*u));
	uint64_t words;

	if (!u)
		return NULL;
	for (unsigned i = 0; i < SV_PAGER_PIECES; i++) {
		u->piece[i].gpa = c->piece[i].gpa;
		u->piece[i].bytes = c->piece[i].bytes;
		u->piece[i].page = u->pages;
		u->pages += c->piece[i].bytes / PAGE;
	}
	words = (u->pages + 63) / 64;
	u->want_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	u->wake_fd = epoll_create1(EPOLL_CLOEXEC);
	u->present = calloc(words, sizeof(uint64_t));
	u->flying = calloc(words, sizeof(uint64_t));
	u->buffers = mmap(NULL, FETCHES * (size_t)SV_SOURCE_BYTES_MAX, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (u->buffers == MAP_FAILED)
		u->buffers = NULL;
	if (u->want_fd < 0 || u->wake_fd < 0 || !u->present || !u->flying || !u->buffers) {
		unit_free(u, true);
		return NULL;
	}
	for (unsigned i = 0; i < FETCHES; i++)
		u->fetch[i].buffer = u->buffers + i * (size_t)SV_SOURCE_BYTES_MAX;
	u->number = c->unit;
	u->flags = c->flags;
	u->timeout_ms = c->timeout_ms;
	u->generation = c->generation;
	u->offset = c->offset;
	u->user_addr = c->user_addr;
	u->uffd = req->fds[FD_UFFD];
	u->memfd = req->fds[FD_MEMORY];
	u->report = req->fds[FD_REPORT];
	u->source_fd = req->fds[FD_SOURCE];
	u->host = req->host;
	u->counts.pages = u->pages;
	while (u->size_max + 1 < SIZES && (PAGE << (u->size_max + 1)) <= c->read_max &&
		(PAGE << (u->size_max + 1)) <= SV_SOURCE_BYTES_MAX)
		u->size_max++;
	u->size = FIRST_SIZE < u->size_max ? FIRST_SIZE : u->size_max;
	u->poller.ops = &unit_ops;
	strncpy(u->poller.vm, req->vm, sizeof(u->poller.vm) - 1);
	return u;
}

/* In an epoll of its own: what has come to its end is taken out of it by whoever polls. */
static int watch(struct unit *u, struct sv_error *err)
{
	const int fds[] = {u->uffd, u->source_wake, u->want_fd};
	struct epoll_event ev = {.events = EPOLLIN};

	for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (epoll_ctl(u->wake_fd, EPOLL_CTL_ADD, fds[i], &ev) < 0)
			return sv_fail(err, errno, "PAGER: its descriptors cannot be watched: %s",
				strerror(errno));
	for (unsigned i = 0; i < SV_POLLER_WAKE_FDS; i++)
		u->poller.wake_fds[i] = -1;
	u->poller.wake_fds[0] = u->wake_fd;
	return 0;
}

static int pager_add(void *pager, const struct sv_pager_request *req, struct sv_error *err)
{
	struct pager *p = pager;
	struct unit *u;
	int rc = check_fds(req, err);

	if (rc == 0)
		rc = check_words(req, err);
	if (rc < 0)
		return rc;
	if (p->units == UNITS)
		return sv_fail(err, ENOSPC, "PAGER: more than %zu units", UNITS);
	u = unit_new(req);
	if (!u)
		return sv_fail(err, ENOMEM, "the node is out of memory");
	if (u->flags & SV_PAGER_F_HOT)
		rc = order_take_hot(u, req->fds[FD_HOT], err);
	if (rc == 0)
		rc = u->flags & SV_PAGER_F_SOCKET ? source_socket_open(u, u->source_fd, err)
						  : source_file_open(u, u->source_fd, err);
	if (rc == 0) {
		rc = watch(u, err);
		if (rc < 0)
			u->source->close(u);
	}
	if (rc < 0) {
		unit_free(u, true);
		return rc;
	}
	if (u->flags & SV_PAGER_F_HOT)
		close(req->fds[FD_HOT]);
	p->unit[p->units++] = u;
	return 0;
}

static void unit_close(struct unit *u)
{
	bool free_all;

	if (u->polled)
		u->host->detach(u->host, &u->poller);
	free_all = u->source->close(u) == 0;
	if (!free_all)
		sv_warn("%s: reads of its memory source do not come back; their buffers stay", u->poller.vm);
	close(u->uffd);
	close(u->memfd);
	close(u->report);
	if (u->source_fd >= 0)
		close(u->source_fd);
	unit_free(u, free_all);
}

/* --- all of them ----------------------------------------------------------------------------- */

/* Pages that the VM process wrote before the start are its own: the kernel, its tables. */
static int find_own(struct unit *u, struct sv_error *err)
{
	uint64_t at = u->offset, end = u->offset + u->pages * PAGE;

	while (at < end) {
		off_t data = lseek(u->memfd, (off_t)at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			break;
		hole = data < 0 ? -1 : lseek(u->memfd, data, SEEK_HOLE);
		if (hole < 0)
			return sv_fail(err, errno, "PAGER: what is in the VM's memory: %s",
				strerror(errno));
		for (at = (uint64_t)data & ~(PAGE - 1); at < (uint64_t)hole && at < end; at += PAGE) {
			uint64_t page = (at - u->offset) / PAGE;

			u->counts.own += !bit(u->present, page);
			u->present[page / 64] |= 1ull << page % 64;
		}
	}
	u->counts.present = u->counts.own;
	return 0;
}

/* Faults that somebody read before us and never answered come again. */
static void wake_all(const struct unit *u)
{
	struct uffdio_range r = {.start = u->user_addr, .len = u->pages * PAGE};

	ioctl(u->uffd, UFFDIO_WAKE, &r);
}

static int pager_start(void *pager, struct sv_error *err)
{
	struct pager *p = pager;
	int rc = 0;

	for (unsigned i = 0; i < p->units && rc == 0; i++) {
		struct unit *u = p->unit[i];

		if (u->polled)
			continue;
		rc = find_own(u, err);
		if (rc < 0)
			break;
		wake_all(u);
		u->started_ns = u->reported_ns = now_ns();
		rc = u->host->attach(u->host, &u->poller);
		if (rc < 0)
			return sv_fail(err, -rc, "START: the pager: %s", strerror(-rc));
		u->polled = true;
	}
	return rc;
}

static void *pager_create(void)
{
	struct pager *p = calloc(1, sizeof(*p));

	if (p)
		p->residency.resident = resident;
	return p;
}

static void pager_destroy(void *pager)
{
	struct pager *p = pager;

	while (p->units)
		unit_close(p->unit[--p->units]);
	free(p);
}

static char *pager_stats(void *pager)
{
	static const char *const states[] = {[UNIT_RUNNING] = "running", [UNIT_ENDING] = "running",
		[UNIT_DONE] = "done", [UNIT_LOST] = "lost", [UNIT_GONE] = "gone"};
	struct pager *p = pager;
	struct sv_pager_counts sum = {0};
	unsigned state = p->units ? UNIT_DONE : UNIT_RUNNING;
	char *text;

	for (unsigned i = 0; i < p->units; i++) {
		const struct sv_pager_counts *c = &p->unit[i]->counts;
		unsigned s = sv_load_relaxed(&p->unit[i]->state);

		if (s != UNIT_DONE)
			state = s;
		sum.pages += c->pages;
		sum.present += sv_load_relaxed(&c->present);
		sum.own += c->own;
		sum.faults += sv_load_relaxed(&c->faults);
		sum.waits += sv_load_relaxed(&c->waits);
		sum.requests += sv_load_relaxed(&c->requests);
		sum.demanded += sv_load_relaxed(&c->demanded);
		sum.bytes += sv_load_relaxed(&c->bytes);
	}
	if (asprintf(&text,
		    "{\"units\": %u, \"state\": \"%s\", \"pages\": %llu, \"present\": %llu, \"own\": %llu, "
		    "\"faults\": %llu, \"device_waits\": %llu, \"requests\": %llu, \"demanded\": %llu, "
		    "\"bytes\": %llu}",
		    p->units, states[state], (unsigned long long)sum.pages,
		    (unsigned long long)sum.present, (unsigned long long)sum.own,
		    (unsigned long long)sum.faults, (unsigned long long)sum.waits,
		    (unsigned long long)sum.requests, (unsigned long long)sum.demanded,
		    (unsigned long long)sum.bytes) < 0)
		return NULL;
	return text;
}

const struct sv_pager_class sv_pager_class = {.create = pager_create,
	.add = pager_add,
	.residency = pager_residency,
	.start = pager_start,
	.destroy = pager_destroy,
	.stats = pager_stats};
