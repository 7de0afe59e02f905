/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keeping the host off guest cores, and undoing it.
 *
 * Every change is recorded in RUN_DIR/host.journal before it is made, with the old value and its
 * owner (pid and start time). docs/isolation.md lists what is changed.
 */
#ifndef HOST_ISOLATE_H
#define HOST_ISOLATE_H

#include <stdbool.h>
#include <sys/types.h>

#include <base/error.h>
#include <host/cpus.h>

/* none: touch nothing. auto: what this host allows. require: all that it has, or an error. */
enum sv_isolate { SV_ISOLATE_AUTO = 0, SV_ISOLATE_REQUIRE = 1, SV_ISOLATE_NONE = 2 };

enum sv_cpuset_kind { SV_CPUSET_NONE = 0, SV_CPUSET_V1 = 1, SV_CPUSET_V2 = 2 };

#define SV_ISOLATION_NOTES 8u

struct sv_isolation_request {
	const char *root;    /* before /proc, /sys, /dev: "" but in tests */
	const char *run_dir; /* where the journal is; see sv_run_dir() */
	const char *name;    /* of the VM, for people */
	enum sv_isolate mode;
	struct sv_cpus guest;	 /* guest cores: interrupts leave them, they become a cpuset */
	struct sv_cpus sidecore; /* the same for our own sidecores, where a CPU is left for the rest */
	bool shared;	/* others use these cores too: no exclusive cpuset */
	pid_t pid;	/* the owner; 0: this process */
};

/* What was done. Zeroed by the caller; owned by it until sv_isolation_undo(). */
struct sv_isolation {
	unsigned irqs_moved, irqs_refused; /* refused: the kernel manages them itself */
	bool default_irq, workqueue, dma_latency, exclusive;
	enum sv_cpuset_kind cpuset;
	struct sv_cpus cpus;	/* the guest cores, and sidecores where there was room for that */
	char cgroup[512];	/* the cpuset's directory, "" when there is none */
	/*
	 * A thread that writes "0" here becomes one of the cpuset's, and may then be pinned to its CPUs;
	 * with a v2 partition no other thread may. -1: no cpuset.
	 */
	int tasks_fd;
	int dma_fd;
	char note[SV_ISOLATION_NOTES][256]; /* what could not be done, one sentence each */
	unsigned notes;
	/* private */
	char root[256], run_dir[256];
	pid_t pid;
	unsigned long long start;
	pid_t keeper;
	int keeper_fd;
	bool made;
};

/*
 * Isolate. First undoes what dead owners left. All or nothing: after an error the host is as before.
 * Mode auto turns what this host does not permit into notes; a failure on the way is an error in
 * either mode. Context: the main thread before other threads exist; some milliseconds, tens with
 * a cpuset; waits for at most 5 s for another's lock.
 * Return: 0, or -errno with a sentence.
 */
int sv_isolation_make(const struct sv_isolation_request *req, struct sv_isolation *iso,
	struct sv_error *err);
/*
 * Start the keeper: a process that undoes everything when this one has ended, however that happened. It
 * runs on @cpus (empty: anywhere) and holds no descriptor of ours. Does nothing when nothing
 * was changed. Return: 0 or -errno with a sentence.
 */
int sv_isolation_keep(struct sv_isolation *iso, const struct sv_cpus *cpus, struct sv_error *err);
/* Undo, by the keeper where there is one. Return: 0, or -errno with a sentence: see restore-host. */
int sv_isolation_undo(struct sv_isolation *iso, struct sv_error *err);

/* Each change that sv_restore() looks at: kind, path, and "restored", "kept: …" or "failed: …". */
struct sv_restore_report {
	void (*line)(void *ctx, const char *kind, const char *path, const char *old, const char *what);
	void *ctx;
};

/*
 * Undo what dead owners left. @all: also cgroups and records of VMs that are gone and stand in no journal.
 * @dry: say only. Context: as sv_isolation_make(). Return: 0, or -errno with a sentence; changes
 * that could not be undone stay recorded.
 */
int sv_restore(const char *root, const char *run_dir, bool all, bool dry,
	const struct sv_restore_report *report, struct sv_error *err);

#endif
