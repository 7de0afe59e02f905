/* SPDX-License-Identifier: BSD-3-Clause */
/* A unit of the pager, polled by hand, with a source by hand: how it ends, and what it no longer listens to. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include <channels/atomics.h>
#include <channels/device_class.h>
#include <channels/memory_source.h>
#include <pager/pager.h>

#define PAGE 4096ull
#define PAGES 64u
#define BYTES (PAGES * PAGE)
#define GENERATION 77u
#define PATIENCE_S 20

static struct sv_poller *unit; /* as attached */
static struct sv_gmem gmem;
static void *pager;
static int report, source;
static uint8_t *ram;

static int attach(struct sv_poller_host *host, struct sv_poller *p)
{
	(void)host;
	unit = p;
	return 0;
}

static void detach(struct sv_poller_host *host, struct sv_poller *p)
{
	(void)host;
	cr_assert_eq(p, unit);
	unit = NULL;
}

static struct sv_poller_host host = {.attach = attach, .detach = detach};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

/* Of our own accesses only: no privilege is needed for that. */
static int watch_ram(void)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_MISSING_SHMEM};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd < 0)
		cr_skip_test("SKIPPED BECAUSE there is no userfaultfd: %s", strerror(errno));
	reg.range.start = (uintptr_t)ram;
	reg.range.len = BYTES;
	cr_assert_eq(ioctl(fd, UFFDIO_API, &api), 0);
	cr_assert_eq(ioctl(fd, UFFDIO_REGISTER, &reg), 0);
	return fd;
}

/* A unit of 64 pages; @fd is the source. */
static void begin(int fd, uint32_t flags, uint64_t generation, uint32_t timeout_ms)
{
	int memory = memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING), pair[2];
	struct sv_control_pager c = {.flags = flags,
		.piece[0] = {.bytes = BYTES},
		.generation = generation,
		.timeout_ms = timeout_ms,
		.read_max = PAGE};
	struct sv_pager_request req = {
		.unit = &c, .nfds = 4, .gmem = &gmem, .host = &host, .vm = "by-hand"};
	struct sv_error err;
	int fds[4];

	cr_assert_eq(ftruncate(memory, BYTES), 0);
	ram = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	cr_assert_neq(ram, MAP_FAILED);
	gmem = (struct sv_gmem){.n = 1, .region[0] = {.size = BYTES, .host = ram, .fd = memory}};
	c.user_addr = (uintptr_t)ram;
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	report = pair[0];
	fds[0] = watch_ram();
	fds[1] = memory;
	fds[2] = pair[1];
	fds[3] = fd;
	req.fds = fds;
	pager = sv_pager_class.create();
	cr_assert_eq(sv_pager_class.add(pager, &req, &err), 0, "%s", err.text);
	cr_assert_eq(sv_pager_class.start(pager, &err), 0, "%s", err.text);
	cr_assert(unit);
}

static int source_pair(void)
{
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	source = pair[0];
	return pair[1];
}

/* Answer one request, but for that of page @mute. Return: there was one. */
static bool answer(uint64_t mute)
{
	struct sv_source_request q;
	struct sv_source_reply r;
	uint8_t page[PAGE];

	if (recv(source, &q, sizeof(q), 0) != sizeof(q))
		return false;
	if (q.offset == mute * PAGE)
		return true;
	memset(page, (int)(1 + q.offset / PAGE), sizeof(page));
	r = (struct sv_source_reply){.magic = SV_SOURCE_MAGIC,
		.version = SV_SOURCE_VERSION,
		.op = SV_SOURCE_READ,
		.tag = q.tag,
		.offset = q.offset,
		.bytes = q.bytes,
		.generation = GENERATION,
		.check = XXH3_64bits_withSeed(page, q.bytes, q.offset)};
	cr_assert_eq(q.bytes, PAGE);
	/* Nobody listens any more where it has let us go. */
	return send(source, &r, sizeof(r), MSG_NOSIGNAL) == sizeof(r) &&
	       send(source, page, PAGE, MSG_NOSIGNAL) == (ssize_t)PAGE;
}

/* Until the unit says how it ended. @slowly: an answer each so many milliseconds. */
static struct sv_pager_report finish(uint64_t mute, uint64_t slowly)
{
	uint64_t until = now_ms() + PATIENCE_S * 1000u, next = 0;
	struct sv_pager_report r;

	while (now_ms() < until) {
		if (unit->ops->poll(unit, 64) == SV_POLL_IDLE) { /* as a sidecore that goes to sleep */
			unit->ops->arm(unit);
			unit->ops->disarm(unit);
		}
		if (source >= 0 && now_ms() >= next && answer(mute))
			next = now_ms() + slowly;
		while (recv(report, &r, sizeof(r), 0) == sizeof(r))
			if (r.kind != SV_PAGER_PROGRESS)
				return r;
	}
	cr_assert_fail("it does not end");
	abort();
}

/* Would the sidecore sleep? */
static bool sleeps(void)
{
	struct pollfd p[SV_POLLER_WAKE_FDS];
	bool pending;

	for (unsigned i = 0; i < 64; i++)
		unit->ops->poll(unit, 64);
	pending = unit->ops->arm(unit);
	for (unsigned i = 0; i < SV_POLLER_WAKE_FDS; i++)
		p[i] = (struct pollfd){.fd = unit->wake_fds[i], .events = POLLIN};
	return !pending && poll(p, SV_POLLER_WAKE_FDS, 0) == 0;
}

static void end(void)
{
	sv_pager_class.destroy(pager);
	cr_assert_null(unit);
	close(report);
	if (source >= 0)
		close(source);
	munmap(ram, BYTES);
}

static void up(void)
{
	source = -1;
}

TestSuite(pager, .init = up);

Test(pager, a_source_that_hangs_up_when_all_is_there_wakes_nobody)
{
	struct sv_pager_report r;
	char byte;

	begin(source_pair(), SV_PAGER_F_SOCKET, GENERATION, 10000);
	r = finish(PAGES, 0);
	cr_assert_eq(r.kind, SV_PAGER_DONE, "%s", r.text);
	cr_assert_eq(r.counts.present, PAGES);
	for (unsigned i = 0; i < PAGES; i++)
		cr_assert_eq(ram[i * PAGE + 5], (uint8_t)(1 + i));
	cr_assert_eq(recv(source, &byte, 1, 0), 0, "the connection is let go");
	close(source);
	source = -1;
	cr_assert(sleeps());
	end();
}

Test(pager, nor_one_whose_connection_somebody_else_still_holds)
{
	int theirs = source_pair(), kept = dup(theirs);

	begin(theirs, SV_PAGER_F_SOCKET, GENERATION, 10000);
	cr_assert_eq(finish(PAGES, 0).kind, SV_PAGER_DONE);
	close(source);
	source = -1;
	cr_assert(sleeps());
	close(kept);
	end();
}

Test(pager, a_lost_source_wakes_nobody)
{
	struct sv_pager_report r;

	begin(source_pair(), SV_PAGER_F_SOCKET, GENERATION + 1, 10000);
	r = finish(PAGES, 0);
	cr_assert_eq(r.kind, SV_PAGER_LOST);
	cr_assert(strstr(r.text, "another one than in the beginning"), "%s", r.text);
	cr_assert(sleeps());
	end();
}

Test(pager, a_request_that_is_never_answered_has_a_deadline_whatever_else_comes)
{
	struct sv_pager_report r;

	begin(source_pair(), SV_PAGER_F_SOCKET, GENERATION, 100);
	r = finish(3, 28);
	cr_assert_eq(r.kind, SV_PAGER_LOST);
	cr_assert(strstr(r.text, "no answer within 100 ms"), "%s", r.text);
	cr_assert_lt(r.counts.present, PAGES - 1, "while others still came");
	end();
}

static int image(char *path, struct stat *st)
{
	int fd = mkstemp(path);
	uint8_t page[PAGE];

	cr_assert_geq(fd, 0);
	for (unsigned i = 0; i < PAGES; i++) {
		memset(page, (int)(1 + i), sizeof(page));
		cr_assert_eq(write(fd, page, sizeof(page)), (ssize_t)sizeof(page));
	}
	cr_assert_eq(fstat(fd, st), 0);
	unlink(path);
	return fd;
}

static uint64_t generation(const struct stat *st)
{
	return sv_source_file_generation(st->st_ino, (uint64_t)st->st_size, st->st_mtim.tv_sec,
		(uint32_t)st->st_mtim.tv_nsec);
}

Test(pager, a_file_arrives)
{
	char path[] = "/tmp/sidevisor-pager-XXXXXX";
	struct sv_pager_report r;
	struct stat st;
	int fd = image(path, &st);

	begin(fd, 0, generation(&st), 10000);
	r = finish(PAGES, 0);
	cr_assert_eq(r.kind, SV_PAGER_DONE, "%s", r.text);
	for (unsigned i = 0; i < PAGES; i++)
		cr_assert_eq(ram[i * PAGE + 5], (uint8_t)(1 + i));
	cr_assert(sleeps());
	end();
}

/* A sidecore process that takes another one's place has not seen the file before. */
Test(pager, a_file_that_changed_before_this_sidecore_saw_it_is_not_used)
{
	char path[] = "/tmp/sidevisor-pager-XXXXXX";
	struct sv_pager_report r;
	struct stat st;
	int fd = image(path, &st);

	st.st_mtim.tv_nsec ^= 1;
	begin(fd, 0, generation(&st), 10000);
	r = finish(PAGES, 0);
	cr_assert_eq(r.kind, SV_PAGER_LOST);
	cr_assert(strstr(r.text, "it changed"), "%s", r.text);
	cr_assert(sleeps());
	end();
}

static uint32_t stop;

static void *poll_for_ever(void *arg)
{
	(void)arg;
	while (!sv_load_acquire(&stop))
		if (unit->ops->poll(unit, 4) == SV_POLL_IDLE) {
			unit->ops->arm(unit);
			sched_yield();
			unit->ops->disarm(unit);
		}
	return NULL;
}

static void *answer_for_ever(void *arg)
{
	(void)arg;
	while (!sv_load_acquire(&stop))
		if (!answer(PAGES))
			sched_yield();
	return NULL;
}

/* The sidecore's thread, devices of other threads, the control thread's statistics. */
Test(pager, devices_ask_while_pages_arrive_and_see_them_whole)
{
	uint64_t until = now_ms() + PATIENCE_S * 1000u;
	struct sv_residency *there;
	pthread_t poller, server;
	uint64_t page = 0;

	begin(source_pair(), SV_PAGER_F_SOCKET | SV_PAGER_F_NO_PREFETCH, GENERATION, 10000);
	there = sv_pager_class.residency(pager);
	stop = 0;
	cr_assert_eq(pthread_create(&poller, NULL, poll_for_ever, NULL), 0);
	cr_assert_eq(pthread_create(&server, NULL, answer_for_ever, NULL), 0);
	while (page < PAGES && now_ms() < until) {
		if (!there->resident(there, page * PAGE, PAGE)) {
			sched_yield();
			continue;
		}
		cr_assert_eq(ram[page * PAGE + 5], (uint8_t)(1 + page));
		page++;
		free(sv_pager_class.stats(pager));
	}
	cr_assert_eq(page, PAGES);
	while (!there->resident(there, 0, BYTES) && now_ms() < until)
		;
	sv_store_release(&stop, 1u);
	pthread_join(poller, NULL);
	pthread_join(server, NULL);
	end();
}
