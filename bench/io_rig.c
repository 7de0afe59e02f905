/* SPDX-License-Identifier: BSD-3-Clause */
/* User-mode Linux with one disk per back end: an unmodified driver at native speed, without KVM. */
#include "common.h"
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define AWAIT_MS 20000
#define STOP_MS 3000

/* --- processes ------------------------------------------------------------------------------- */

pid_t io_spawn(char *const argv[], int a, int b, int in, int out, const char *log)
{
	pid_t pid = bench_fork();
	cpu_set_t cpus;
	int fd;

	if (pid)
		return pid < 0 ? -errno : pid;
	setpgid(0, 0);
	CPU_ZERO(&cpus);
	CPU_SET(a, &cpus);
	CPU_SET(b, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	dup2(in >= 0 ? in : open("/dev/null", O_RDONLY | O_CLOEXEC), 0);
	dup2(out >= 0 ? out : fd, 1);
	dup2(fd, 2);
	execvp(argv[0], argv);
	dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

void io_beginning(const char *log, char *text, size_t room)
{
	FILE *f = fopen(log, "re");
	size_t n = f ? fread(text, 1, room - 1, f) : 0;

	text[n] = 0;
	if (f)
		fclose(f);
}

int io_await(const char *socket, pid_t server, const char *log, struct sv_error *err)
{
	char text[300];

	for (unsigned ms = 0; ms < AWAIT_MS; ms += 10) {
		if (access(socket, F_OK) == 0)
			return 0;
		if (bench_interrupted())
			return bench_go_on(err);
		if (waitpid(server, NULL, WNOHANG))
			break;
		usleep(10000);
	}
	io_beginning(log, text, sizeof(text));
	return sv_fail(err, EIO, "%s does not appear: %s", socket, text);
}

void io_end(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGTERM);
	for (unsigned ms = 0; ms < STOP_MS; ms += 10) {
		if (waitpid(pid, NULL, WNOHANG))
			return;
		usleep(10000);
	}
	kill(-pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

void io_rig_stop(struct io_run *r)
{
	for (unsigned i = 0; i < r->guests; i++)
		io_guest_stop(&r->guest[i]);
	for (unsigned i = 0; i < r->targets; i++)
		io_end(r->target[i].back_end);
}

/* --- images ---------------------------------------------------------------------------------- */

/* Not zeroes and no holes: every back end has the same to do. */
int io_image(struct io_run *r, unsigned i, char *path, size_t room, struct sv_error *err)
{
	static uint64_t block[1 << 17];
	size_t piece = (size_t)r->o.piece_kib << 10;
	uint64_t x = 88172645463325252ull;
	int fd, rc = 0;

	bench_progress("image %u of %u: %u MiB", i + 1, IO_TARGETS, r->o.image_mib);
	snprintf(path, room, "%s/disk%u", r->dir, i);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return sv_fail(err, errno, "%s: %s", path, strerror(errno));
	for (unsigned mib = 0; mib < r->o.image_mib && rc == 0; mib++) {
		for (size_t k = 0; k < sizeof(block) / sizeof(block[0]); k++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			block[k] = x;
		}
		for (size_t at = 0; at < sizeof(block) && rc == 0; at += piece)
			if (write(fd, (const char *)block + at, piece) != (ssize_t)piece)
				rc = sv_fail(err, errno, "%s: %s", path, strerror(errno));
		if (rc == 0)
			rc = bench_go_on(err);
	}
	if (rc == 0 && fsync(fd) < 0)
		rc = sv_fail(err, errno, "%s: %s", path, strerror(errno));
	close(fd);
	return rc;
}

/* --- back ends ------------------------------------------------------------------------------- */

static int start_ours(struct io_run *r, unsigned i, const char *idle, struct sv_error *err)
{
	char image[128], disk[320], cpu[16], control[16], log[160];
	struct io_target *t = &r->target[i];
	char *argv[] = {(char[]){"/proc/self/exe"}, (char[]){"serve"}, (char[]){"--isolate=none"},
		(char[]){"--share-cores"}, (char[]){"--cpus"}, cpu, (char[]){"--control-cpu"}, control,
		(char[]){"--idle"}, (char *)(uintptr_t)idle, (char[]){"--socket"}, t->node,
		(char[]){"--blk"}, disk, NULL};
	int rc = io_image(r, i, image, sizeof(image), err);

	if (rc < 0)
		return rc;
	snprintf(t->node, sizeof(t->node), "%s/node%u", r->dir, i);
	snprintf(t->socket, sizeof(t->socket), "%s/blk%u", r->dir, i);
	snprintf(disk, sizeof(disk), "path=%s,socket=%s%s%s", image, t->socket,
		r->o.direct ? ",direct" : "", r->o.writethrough ? ",writethrough" : "");
	snprintf(cpu, sizeof(cpu), "%d", r->o.sidecore_cpu);
	snprintf(control, sizeof(control), "%d", r->o.other_cpu);
	snprintf(log, sizeof(log), "%s/log%u", r->dir, i);
	t->back_end = io_spawn(argv, r->o.sidecore_cpu, r->o.other_cpu, -1, -1, log);
	if (t->back_end < 0)
		return sv_fail(err, -t->back_end, "sidevisor serve: %s", strerror(-t->back_end));
	return io_await(t->socket, t->back_end, log, err);
}

static int start_peer(struct io_run *r, unsigned i, bool best, struct sv_error *err)
{
	char image[128], file[320], raw[64], export[320], log[160];
	struct io_target *t = &r->target[i];
	const char *direct = r->o.direct ? "on" : "off";
	/* An object comes before the export that names it. */
	char *all[] = {(char[]){"qemu-storage-daemon"}, (char[]){"--object"},
		(char[]){"iothread,id=io0,poll-max-ns=2000000"}, (char[]){"--blockdev"}, file,
		(char[]){"--blockdev"}, raw, (char[]){"--export"}, export, NULL};
	char **argv = best ? all : all + 2;
	int rc = io_image(r, i, image, sizeof(image), err);

	if (rc < 0)
		return rc;
	argv[0] = all[0];
	snprintf(t->socket, sizeof(t->socket), "%s/blk%u", r->dir, i);
	snprintf(file, sizeof(file), "driver=file,node-name=f,filename=%s,cache.direct=%s,aio=%s", image,
		direct, best ? "io_uring" : "threads");
	snprintf(raw, sizeof(raw), "driver=raw,node-name=d,file=f,cache.direct=%s", direct);
	snprintf(export, sizeof(export),
		"type=vhost-user-blk,id=e,node-name=d,addr.type=unix,addr.path=%s,writable=on,"
		"num-queues=1,writethrough=%s%s", t->socket, r->o.writethrough ? "on" : "off",
		best ? ",iothread=io0" : "");
	snprintf(log, sizeof(log), "%s/log%u", r->dir, i);
	t->back_end = io_spawn(argv, r->o.sidecore_cpu, r->o.other_cpu, -1, -1, log);
	if (t->back_end < 0)
		return sv_fail(err, -t->back_end, "qemu-storage-daemon: %s", strerror(-t->back_end));
	return io_await(t->socket, t->back_end, log, err);
}

/* --- the guest ------------------------------------------------------------------------------- */

bool io_uml_module(const char *name, char *path, size_t room)
{
	char pattern[128];
	glob_t g;

	snprintf(pattern, sizeof(pattern), "/usr/lib/uml/modules/*/kernel/drivers/%s.ko", name);
	if (glob(pattern, 0, NULL, &g) != 0)
		return false;
	snprintf(path, room, "%s", g.gl_pathv[g.gl_pathc - 1]);
	globfree(&g);
	return true;
}

/* The first process of a kernel whose root is the host's own file system. */
static int write_init(const struct io_run *r, char *path, size_t room, struct sv_error *err)
{
	char module[256];
	FILE *f;
	int rc;

	if (!io_uml_module("block/virtio_blk", module, sizeof(module)))
		return sv_fail(err, ENOENT, "no virtio_blk module for User-mode Linux: install "
					    "user-mode-linux");
	snprintf(path, room, "%s/init", r->dir);
	f = fopen(path, "we");
	if (!f)
		return sv_fail(err, errno, "%s: %s", path, strerror(errno));
	fprintf(f, "#!/bin/sh\nexport PATH=/usr/sbin:/usr/bin:/sbin:/bin\n"
		   "mount -t proc none /proc; mount -t sysfs none /sys\n"
		   "mount -t devtmpfs none /dev 2>/dev/null\n"
		   "mount -t tmpfs none /tmp; cd /tmp\ninsmod %s\n%s"
		   "echo o >/proc/sysrq-trigger\nsleep 5\n", module, io_guest_loop);
	rc = ferror(f) | fchmod(fileno(f), 0700);
	return fclose(f) || rc ? sv_fail(err, EIO, "%s: cannot be written", path) : 0;
}

/* It mends User-mode Linux on CPUs with AMX. */
void io_uml_preload(void)
{
	static const char *const places[] = {"../bench/libuml_xstate.so",
		"../lib/sidevisor/libuml_xstate.so"};
	char exe[PATH_MAX], path[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;

	if (n < 0)
		return;
	exe[n] = 0;
	slash = strrchr(exe, '/');
	*(slash ? slash : exe) = 0;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", exe, places[i]);
		if (access(path, R_OK) == 0)
			setenv("LD_PRELOAD", path, 1);
	}
}

static int start_guest(struct io_run *r, struct sv_error *err)
{
	char init[128], init_is[160], uml_dir[128], disk[IO_TARGETS][192], log[128], release[64];
	char *argv[24];
	int n = 0, rc = write_init(r, init, sizeof(init), err);

	if (rc < 0)
		return rc;
	snprintf(init_is, sizeof(init_is), "init=%s", init);
	snprintf(uml_dir, sizeof(uml_dir), "uml_dir=%s/", r->dir);
	snprintf(log, sizeof(log), "%s/guest", r->dir);
	argv[n++] = (char *)(uintptr_t) "linux.uml";
	argv[n++] = (char *)(uintptr_t) "mem=256M";
	argv[n++] = (char *)(uintptr_t) "rootfstype=hostfs";
	argv[n++] = (char *)(uintptr_t) "rootflags=/";
	argv[n++] = (char *)(uintptr_t) "rw";
	argv[n++] = init_is;
	for (unsigned i = 0; i < r->targets; i++) {
		snprintf(disk[i], sizeof(disk[i]), "virtio_uml.device=%s:2", r->target[i].socket);
		argv[n++] = disk[i];
	}
	argv[n++] = (char *)(uintptr_t) "con=null";
	argv[n++] = (char *)(uintptr_t) "con0=fd:0,fd:1";
	argv[n++] = (char *)(uintptr_t) "ssl=null";
	argv[n++] = (char *)(uintptr_t) "quiet";
	argv[n++] = (char *)(uintptr_t) "loglevel=1";
	argv[n++] = uml_dir;
	argv[n] = NULL;
	bench_progress("the guest boots");
	io_uml_preload();
	rc = io_guest_start(&r->guest[0], argv, r->o.guest_cpu, r->o.guest_cpu, log, err);
	unsetenv("LD_PRELOAD");
	r->guests = rc < 0 ? 0 : 1;
	rc = rc < 0 ? rc : io_guest_up(&r->guest[0], release, sizeof(release), err);
	if (rc == 0)
		snprintf(r->substrate, sizeof(r->substrate), "User-mode Linux %s, native", release);
	return rc;
}

int io_rig_uml(struct io_run *r, struct sv_error *err)
{
	static const struct io_target plan[IO_TARGETS] = {
		{.key = "ours", .what = "sidevisor, the sidecore polls", .ours = true},
		{.key = "ours_exit", .what = "sidevisor, woken by kicks", .ours = true},
		{.key = "peer_best", .what = "qemu-storage-daemon, iothread, io_uring"},
		{.key = "peer_default", .what = "qemu-storage-daemon, default"},
	};
	int rc = 0;

	for (unsigned i = 0; i < IO_TARGETS && rc == 0; i++) {
		struct io_target *t = &r->target[i];

		*t = plan[i];
		t->guest = &r->guest[0];
		snprintf(t->device, sizeof(t->device), "vd%c", 'a' + i);
		r->targets = i + 1;
		rc = t->ours ? start_ours(r, i, i ? "0" : "2000", err)
			     : start_peer(r, i, i == 2, err);
	}
	return rc < 0 ? rc : start_guest(r, err);
}
