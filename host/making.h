/* SPDX-License-Identifier: BSD-3-Clause */
/* What the groups of changes share while an isolation is made. Private to this directory. */
#ifndef HOST_MAKING_H
#define HOST_MAKING_H

#include "journal.h"

struct making {
	struct journal *j;
	struct sv_isolation *iso;
	const struct sv_isolation_request *req;
	struct sv_cpus taken; /* CPUs that the rest of the host shall leave */
};

/* Our entry among the owners. Return: its id, or 0: the journal is full. */
unsigned making_me(struct making *m);
void making_note(struct making *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/*
 * Have a share in a value. Nothing is written yet. Return: the entry's number, -ENOENT: nothing to
 * change there, or -errno.
 */
int making_stake(struct making *m, enum change_kind kind, const char *path);
/* Write what was staked under this number. Return: 0 or -errno; then the share is gone. */
int making_apply(struct making *m, int number);

/*
 * The groups. Return: 0 done, or -errno with a sentence; what is half done is in the journal, and the
 * caller undoes it.
 */
int irq_group(struct making *m, struct sv_error *err);
int workqueue_group(struct making *m, struct sv_error *err);
int cpuset_group(struct making *m, struct sv_error *err);

/* Give everything back, in this process. Return: 0, or -errno with a sentence. */
int sv_isolation_release(const struct sv_isolation *iso, struct sv_error *err);
/* Let the keeper do it, and wait. Return: 0, or -errno: it did not. */
int sv_keeper_dismiss(struct sv_isolation *iso);

/* Where this process's cpuset is: the directory, and the depth of its hierarchy's mount in it. */
struct cpuset_place {
	enum sv_cpuset_kind kind;
	char dir[400];
	size_t mount_len;
};
/* Return: 0 (kind SV_CPUSET_NONE: there is none) or -errno. */
int cpuset_find(const char *root, pid_t pid, struct cpuset_place *place);

#endif
