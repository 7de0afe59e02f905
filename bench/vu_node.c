/* SPDX-License-Identifier: BSD-3-Clause */
#include "common.h"
#include "vu_node.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <vmm/vmm.h>

#define WINDOW_NS 500000ull
#define AWAY_NS 10000ull
#define QUIET_NS 10000000000ull
#define START_TRIES 500u /* 10 ms each */

uint64_t vu_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- windows --------------------------------------------------------------------------------- */

static void find_sidecore(struct vu_node *n)
{
	char path[96], name[32];
	struct dirent *e;
	DIR *d;

	n->schedstat = -1;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)n->pid);
	d = opendir(path);
	while (d && (e = readdir(d)) && n->schedstat < 0) {
		ssize_t got;
		int fd;

		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/comm", (int)n->pid, e->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		got = fd < 0 ? -1 : read(fd, name, sizeof(name));
		if (fd >= 0)
			close(fd);
		if (got < 9 || memcmp(name, "sidecore-", 9) != 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/schedstat", (int)n->pid, e->d_name);
		n->schedstat = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (d)
		closedir(d);
}

/* How long the sidecore has waited for its CPU in all. */
static uint64_t waited(const struct vu_node *n)
{
	char text[96];
	ssize_t got = n->schedstat < 0 ? -1 : pread(n->schedstat, text, sizeof(text) - 1, 0);
	char *second;

	if (got <= 0)
		return 0;
	text[got] = 0;
	second = strchr(text, ' ');
	return second ? strtoull(second, NULL, 10) : 0;
}

static void close_window(struct vu_node *n, uint64_t now)
{
	uint64_t waits = waited(n);
	bool clean = !n->late && waits - n->waited_ns < AWAY_NS;

	for (unsigned i = 0; i < n->disks; i++) {
		unsigned had = n->disk[i].nsamples, lost = vu_disk_keep(&n->disk[i], clean, n->clean_ns);

		n->kept += had - lost;
		n->lost += lost;
	}
	n->late = false;
	n->waited_ns = waits;
	n->window_ns = vu_now_ns();
	if (!clean)
		n->clean_ns = now;
}

/* All drivers once, one after the other, each with the time at its turn. */
static uint64_t poll_all(struct vu_node *n, uint64_t now)
{
	for (unsigned i = 0; i < n->disks; i++) {
		uint64_t before = now;

		vu_disk_poll(&n->disk[i], now);
		now = vu_now_ns();
		n->late |= now - before > AWAY_NS;
	}
	if (now - n->window_ns >= WINDOW_NS) {
		close_window(n, now);
		now = vu_now_ns();
	}
	return now;
}

void vu_node_run(struct vu_node *n, uint64_t ns)
{
	uint64_t now = vu_now_ns(), end = now + ns;

	while (now < end && !bench_interrupted())
		now = poll_all(n, now);
}

/* --- life ------------------------------------------------------------------------------------ */

/* Each block begins with its number: what a driver reads it can check. */
static int make_image(const struct vu_node *n, unsigned i, struct sv_error *err)
{
	static uint8_t chunk[64 * VU_DISK_BLOCK];
	char path[128];
	int fd, rc = bench_go_on(err);

	if (rc < 0)
		return rc;
	snprintf(path, sizeof(path), "%s/image%u", n->dir, i);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return sv_fail(err, errno, "%s: %s", path, strerror(errno));
	for (uint64_t b = 0; b < n->blocks && rc == 0; b += 64) {
		for (uint64_t k = 0; k < 64; k++) {
			uint64_t number = b + k;

			memcpy(chunk + k * VU_DISK_BLOCK, &number, sizeof(number));
		}
		if (write(fd, chunk, sizeof(chunk)) != sizeof(chunk))
			rc = sv_fail(err, errno ? errno : ENOSPC, "%s: %s", path, strerror(errno));
	}
	if (n->direct)
		fsync(fd);
	close(fd);
	return rc;
}

static int choose_cpus(struct vu_node *n, struct sv_error *err)
{
	cpu_set_t set;
	int first = -1, last = -1;

	sched_getaffinity(0, sizeof(set), &set);
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &set))
			continue;
		first = first < 0 ? i : first;
		last = i;
	}
	if (first == last)
		return sv_fail(err, ENOTSUP, "two CPUs are needed: one for the sidecore, one for the driver");
	n->sidecore_cpu = first;
	n->driver_cpu = last;
	return 0;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static int serve(struct vu_node *n, struct sv_error *err)
{
	char *argv[16 + 2 * VU_NODE_DISKS], socket[96], cpu[16], control[16];
	static char disk[VU_NODE_DISKS][256];
	unsigned argc = 0;

	snprintf(socket, sizeof(socket), "%s/node", n->dir);
	snprintf(cpu, sizeof(cpu), "%d", n->sidecore_cpu);
	snprintf(control, sizeof(control), "%d", n->driver_cpu);
	for (const char *const *a = (const char *const[]){"sidevisor", "serve", "--share-cores", "--isolate",
				"none", "--cpus", cpu, "--control-cpu", control, "--socket", socket, NULL};
		*a; a++)
		argv[argc++] = (char *)(uintptr_t)*a;
	for (unsigned i = 0; i < n->disks; i++) {
		snprintf(disk[i], sizeof(disk[i]), "path=%s/image%u,socket=%s/disk%u%s", n->dir, i, n->dir, i,
			n->direct ? ",direct" : "");
		argv[argc++] = (char *)(uintptr_t) "--blk";
		argv[argc++] = disk[i];
	}
	argv[argc] = NULL;
	setenv("SIDEVISOR_RUN_DIR", n->dir, 0);
	n->pid = bench_fork();
	if (n->pid == 0) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

		if (null >= 0)
			dup2(null, 1);
		execv("/proc/self/exe", argv);
		_exit(127);
	}
	return n->pid < 0 ? sv_fail(err, errno, "fork: %s", strerror(errno)) : 0;
}

/* The control socket and that of the last disk are there. */
static int wait_for_service(struct vu_node *n, struct sv_error *err)
{
	static const struct timespec nap = {.tv_nsec = 10000000};
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char last[96];

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/node", n->dir);
	snprintf(last, sizeof(last), "%s/disk%u", n->dir, n->disks - 1);
	for (unsigned i = 0; i < START_TRIES; i++) {
		int status;

		if (bench_interrupted())
			return bench_go_on(err);

		if (access(last, F_OK) == 0 && access(a.sun_path, F_OK) == 0) {
			n->control = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
			if (n->control >= 0 && connect(n->control, (struct sockaddr *)&a, sizeof(a)) == 0)
				return 0;
			return sv_fail(err, errno, "%s: %s", a.sun_path, strerror(errno));
		}
		if (waitpid(n->pid, &status, WNOHANG) == n->pid) {
			n->pid = 0;
			return sv_fail(err, EIO, "`sidevisor serve` ended at once");
		}
		nanosleep(&nap, NULL);
	}
	return sv_fail(err, ETIMEDOUT, "`sidevisor serve` is not ready after %u s", START_TRIES / 100);
}

static int open_drivers(struct vu_node *n, struct sv_error *err)
{
	char path[96];
	int rc = 0;

	for (unsigned g = 0; g < n->guests && rc == 0; g++)
		rc = vu_memory_open(&n->memory[g], n->per_guest, err);
	for (unsigned i = 0; i < n->disks && rc == 0; i++) {
		snprintf(path, sizeof(path), "%s/disk%u", n->dir, i);
		rc = vu_disk_open(&n->disk[i], path, &n->memory[i / n->per_guest], i % n->per_guest,
			n->blocks, err);
	}
	return rc;
}

int vu_node_open(struct vu_node *n, const char *dir, unsigned guests, unsigned per_guest,
	uint64_t blocks, bool direct, struct sv_error *err)
{
	int rc;

	memset(n, 0, sizeof(*n));
	n->guests = guests;
	n->per_guest = per_guest;
	n->disks = guests * per_guest;
	n->blocks = blocks;
	n->direct = direct;
	n->control = n->schedstat = -1;
	for (unsigned i = 0; i < VU_NODE_DISKS; i++)
		n->disk[i].sock = n->disk[i].kick = n->disk[i].inflight = -1;
	if (!dir)
		dir = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
	if (snprintf(n->dir, sizeof(n->dir), "%s/sidevisor-bench-XXXXXX", dir) >= (int)sizeof(n->dir))
		return sv_fail(err, ENAMETOOLONG, "%s: too long for sockets below it", dir);
	if (!mkdtemp(n->dir)) {
		n->dir[0] = 0;
		return sv_fail(err, errno, "%s: no directory can be made there: %s", dir, strerror(errno));
	}
	rc = choose_cpus(n, err);
	for (unsigned i = 0; i < n->disks && rc == 0; i++)
		rc = make_image(n, i, err);
	if (rc == 0)
		rc = serve(n, err);
	if (rc == 0)
		rc = wait_for_service(n, err);
	if (rc == 0)
		rc = open_drivers(n, err);
	if (rc == 0) {
		pin(n->driver_cpu);
		find_sidecore(n);
		n->told = n->schedstat >= 0;
		n->waited_ns = waited(n);
		n->window_ns = vu_now_ns();
	}
	return rc;
}

static int reopen(struct vu_node *n, unsigned i, uint64_t deadline, struct sv_error *err)
{
	static const struct timespec nap = {.tv_nsec = 200000};
	char path[96];
	int rc;

	snprintf(path, sizeof(path), "%s/disk%u", n->dir, i);
	for (;;) {
		rc = vu_disk_reopen(&n->disk[i], path, &n->memory[i / n->per_guest], err);
		if ((rc != -ENOENT && rc != -ECONNREFUSED) || vu_now_ns() > deadline || bench_interrupted())
			return rc;
		nanosleep(&nap, NULL);
	}
}

int vu_node_restart(struct vu_node *n, uint64_t *ready_ns, struct sv_error *err)
{
	uint64_t begin = vu_now_ns();
	int rc;

	kill(n->pid, SIGKILL);
	waitpid(n->pid, NULL, 0);
	n->pid = 0;
	/* What it had answered is not the next one's. */
	for (unsigned i = 0; i < n->disks; i++)
		vu_disk_poll(&n->disk[i], begin);
	if (n->control >= 0)
		close(n->control);
	n->control = -1;
	rc = serve(n, err);
	for (unsigned i = 0; i < n->disks && rc == 0; i++)
		rc = reopen(n, i, begin + QUIET_NS, err);
	*ready_ns = vu_now_ns() - begin;
	return rc;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

void vu_node_close(struct vu_node *n)
{
	for (unsigned i = 0; i < n->disks; i++)
		vu_disk_close(&n->disk[i]);
	for (unsigned g = 0; g < n->guests; g++)
		if (n->memory[g].base)
			vu_memory_close(&n->memory[g]);
	if (n->control >= 0)
		close(n->control);
	if (n->schedstat >= 0)
		close(n->schedstat);
	if (n->pid > 0) {
		kill(n->pid, SIGTERM);
		waitpid(n->pid, NULL, 0);
	}
	if (!n->dir[0])
		return;
	/* The service's records are below it, when no other place was named. */
	if (nftw(n->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS) < 0)
		sv_warn("%s was left behind: %s", n->dir, strerror(errno));
}

int vu_node_set(struct vu_node *n, unsigned disk, const char *key, const char *value,
	struct sv_error *err)
{
	char name[16], *text = NULL;
	int rc;

	snprintf(name, sizeof(name), "disk%u", disk);
	rc = sv_node_set_device(n->control, "node", name, key, value, &text, err);
	free(text);
	return rc;
}

int vu_node_quiet(struct vu_node *n, struct sv_error *err)
{
	uint64_t now = vu_now_ns(), end = now + QUIET_NS;
	unsigned out;

	for (unsigned i = 0; i < n->disks; i++)
		n->disk[i].depth = 0, n->disk[i].every_ns = 0;
	do {
		out = 0;
		now = poll_all(n, now);
		for (unsigned i = 0; i < n->disks; i++)
			out += vu_disk_out(&n->disk[i]);
	} while (out && now < end && !bench_interrupted());
	if (bench_interrupted())
		return bench_go_on(err);
	return out ? sv_fail(err, ETIMEDOUT, "%u requests were not answered", out) : 0;
}

void vu_node_mark(struct vu_node *n)
{
	for (unsigned i = 0; i < n->disks; i++)
		vu_disk_mark(&n->disk[i]);
	n->clean_ns = vu_now_ns();
}
