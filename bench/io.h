/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The parts of `sidevisor bench io`: guests that run fio when told to, and back ends that serve their
 * disks. A target is a disk in a guest; all targets of a run take turns at each workload.
 * Context of everything here: the one thread of the program.
 */
#ifndef BENCH_IO_H
#define BENCH_IO_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <jansson.h>

#include <base/error.h>

#define IO_TARGETS 4u
#define IO_ROUNDS_MAX 101u
#define IO_KINDS 8u /* of exits */

/* A guest is a kernel whose first process takes commands on its console. */
struct io_guest {
	pid_t pid; /* 0: not there */
	int in, out; /* its console, from our side: out is written, in is read */
	char log[160]; /* its errors */
	char text[1u << 16];
	size_t have;
};

enum io_counter {
	IO_INTERRUPTS,	/* taken by the guest's driver */
	IO_KICKS,	/* that the back end was woken by */
	IO_BUSY_NS,	/* of the sidecore, for this device */
	IO_CPU_NS,	/* of the back end's process */
	IO_EXITS,	/* of the guest, all together */
	IO_COUNTERS
};

struct io_sample {
	double of[IO_COUNTERS]; /* < 0: not known */
	double exits[IO_KINDS];
};

/* One workload on one target in one round. */
struct io_cell {
	double iops, p50_us, p99_us, mean_us;
	struct io_sample per_op;
};

struct io_target {
	const char *key, *what;
	bool ours;
	pid_t back_end; /* 0: the VM process itself */
	char node[128]; /* socket of our node; "": not ours */
	char device[32]; /* in the guest: vda … */
	char socket[128];
	char cache[32]; /* as the guest sees it: "write back" … */
	struct io_guest *guest;
};

struct io_workload {
	const char *key, *fio;
};

struct io_options {
	unsigned rounds, image_mib, piece_kib;
	double seconds;
	bool json, direct, writethrough;
	const char *only, *report, *dir;
	const char *kernel, *initrd, *root; /* the rig of virtual machines; NULL: User-mode Linux */
	int guest_cpu, sidecore_cpu, other_cpu;
};

struct io_run {
	struct io_options o;
	char dir[96]; /* ours, removed at the end */
	char substrate[160];
	struct io_guest guest[IO_TARGETS];
	unsigned guests;
	struct io_target target[IO_TARGETS];
	unsigned targets;
};

extern const char *const io_kind_name[IO_KINDS];

/* io_guest.c: start @argv on CPUs @a and @b with its console on pipes. Return: 0 or -errno. */
int io_guest_start(struct io_guest *g, char *const argv[], int a, int b, const char *log,
	struct sv_error *err);
/* Put the threads that QEMU names as vCPUs on @cpu. */
int io_pin_vcpus(pid_t pid, int cpu, struct sv_error *err);
/* Wait for the line that says it is up, and lacks nothing. */
int io_guest_up(struct io_guest *g, char *release, size_t room, struct sv_error *err);
/* Run fio with @args on /dev/@device. Return: 0, or -errno with a sentence. */
int io_guest_fio(struct io_guest *g, const char *device, const char *args, double seconds,
	struct sv_error *err);
/*
 * What it found: error; read and write, each with iops, total_ios and, of clat in ns, mean, p50, p99;
 * the interrupts of the guest's disks in order, before and after; cache. Return: as above.
 */
int io_guest_record(struct io_guest *g, json_t **out, struct sv_error *err);
/* Give the guest a line; *answer: in g->text, what it says between the markers. Return: as above. */
int io_guest_ask(struct io_guest *g, const char *line, unsigned ms, char **answer,
	struct sv_error *err);
void io_guest_stop(struct io_guest *g);
/* The shell function that answers io_guest_fio(); a guest's first process ends with it. */
extern const char io_guest_loop[];

/* io_rig.c, io_rig_vm.c: the rigs. io_rig_stop() takes down what was started, also after a failure. */
int io_rig_uml(struct io_run *r, struct sv_error *err);
int io_rig_vm(struct io_run *r, struct sv_error *err);
void io_rig_stop(struct io_run *r);
/* Start a process on CPUs @a and @b. Its errors go to @log. Return: pid or -errno. */
pid_t io_spawn(char *const argv[], int a, int b, int in, int out, const char *log);
/* The beginning of a file, "" if there is none. */
void io_beginning(const char *path, char *text, size_t room);
/* A copy of the one image for this target. */
int io_image(struct io_run *r, unsigned i, char *path, size_t room, struct sv_error *err);
/* End a process that io_spawn() made. */
void io_end(pid_t pid);
/* Before a User-mode Linux is started: its preloaded library, if it is there. */
void io_uml_preload(void);
/* The module of that name for User-mode Linux. Return: false: there is none. */
bool io_uml_module(const char *name, char *path, size_t room);
/* Wait for a socket to appear. */
int io_await(const char *socket, pid_t server, const char *log, struct sv_error *err);

/*
 * The program's arguments: GUEST,SIDECORE[,OTHER], or NULL for the first CPUs there are. Return: 0; -EINVAL
 * (such are not there, or not for us) or -ENOTSUP (there are too few) with a sentence.
 */
int io_choose_cpus(const char *text, int *guest, int *sidecore, int *other, struct sv_error *err);
void io_remove(const char *dir);
struct io_spread {
	double median, least, most;
};
struct io_spread io_spread_of(double *v, unsigned n); /* sorts @v */
json_t *io_spread_json(struct io_spread s);

/* io_sample.c: what the host counts for a target. */
void io_sample(const struct io_target *t, struct io_sample *s);

/* io_report.c: io.json and io.svg in o->report. @o: the record. */
int io_report(const char *dir, json_t *record, struct sv_error *err);

#endif
