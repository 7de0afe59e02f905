/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The journal: what has been changed on this host, by whom, and what was there before. It is written
 * before a change is made. Private to this directory.
 *
 * A value that several owners changed is `old` with every owner's CPUs taken out (or added), so that
 * owners come and go in any order and the last one leaves `old` behind.
 */
#ifndef HOST_JOURNAL_H
#define HOST_JOURNAL_H

#include <base/error.h>
#include <host/cpus.h>
#include <host/isolate.h>

#include "files.h"

#define JOURNAL_OWNERS 1024u
#define JOURNAL_CHANGES 16384u
#define JOURNAL_BYTES (16u << 20)

enum change_kind {
	CHANGE_IRQ,	    /* /proc/irq/N/smp_affinity_list, a list */
	CHANGE_IRQ_DEFAULT, /* /proc/irq/default_smp_affinity, a mask */
	CHANGE_WORKQUEUE,   /* /sys/devices/virtual/workqueue/cpumask, a mask */
	CHANGE_EXCLUSIVE,   /* cpuset.cpus.exclusive of a cgroup above ours: CPUs are added */
	CHANGE_CONTROLLER,  /* cgroup.subtree_control: +cpuset */
	CHANGE_CGROUP,	    /* a cgroup of ours: made */
	CHANGE_KINDS
};

struct owner {
	unsigned id;
	int pid;
	unsigned long long start;
	char name[48];
	struct sv_cpus cpus;
};

/* @was is the value that @now replaces: a crash may leave either. */
struct change {
	enum change_kind kind;
	char path[512];
	struct sv_cpus old, was, now;
	unsigned owner[JOURNAL_OWNERS / 16]; /* ids; as many VMs as may share one value */
	unsigned owners;
};

#define CHANGE_OWNERS (JOURNAL_OWNERS / 16)

struct journal {
	const char *root, *dir;
	char file[32], new_file[40], lock_file[32]; /* in dir, each with its slash */
	int lock_fd;
	bool was_there; /* a file that an empty journal must remove */
	struct owner *owner;
	unsigned owners;
	struct change *change;
	unsigned changes, room;
};

/* "irq", "cgroup" …; the words of the file. */
const char *change_name(enum change_kind kind);
bool change_has_value(enum change_kind kind);
/* Is it one of the few paths that we ever write? */
bool change_path_is_ours(enum change_kind kind, const char *path);

/*
 * Lock the journal (for at most 5 s) and read it. What another boot left is forgotten. Return: 0, or
 * -errno with a sentence: -EBADMSG when the file is not one of ours.
 */
int journal_open(struct journal *j, const char *root, const char *dir, struct sv_error *err);
/* Replace the file: written, synced, renamed. Return: 0 or -errno with a sentence. */
int journal_save(struct journal *j, struct sv_error *err);
void journal_close(struct journal *j);
/* Those without a share in any change. */
void journal_forget_owners(struct journal *j);

struct change *journal_find(struct journal *j, const char *path);
/* A new entry at the end, or NULL: out of memory or full. Pointers to others become stale. */
struct change *journal_add(struct journal *j, enum change_kind kind, const char *path);
struct owner *journal_owner(struct journal *j, unsigned id);
bool change_is_of(const struct change *c, unsigned id);
/* Return: 0 or -ENOSPC. */
int change_add_owner(struct change *c, unsigned id);
void change_drop_owner(struct change *c, unsigned id);

/* The file's value now. Return: 0 or -errno. */
int change_read(const struct journal *j, const struct change *c, struct sv_cpus *value);
int change_write(const struct journal *j, const struct change *c, const struct sv_cpus *value);
/* What the owners together ask for; `old` when there is none. */
void change_target(struct journal *j, const struct change *c, struct sv_cpus *target);

/*
 * Owners for whom @leaves answers true give up their share in a change: restore, or what the others
 * need. A value that is neither `now` nor `was` was changed by someone else and stays. Nothing is
 * written with @dry. Return: 0, or the -errno of the first change that could not be undone; it
 * stays in the journal.
 */
typedef bool (*leaves_fn)(const struct owner *o, const struct change *c, void *ctx);
int journal_settle(struct journal *j, leaves_fn leaves, void *ctx, bool dry,
	const struct sv_restore_report *report);
bool journal_owner_is_dead(const struct owner *o, const struct change *c, void *journal);

#endif
