/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest cores as a cpuset of their own: a v2 isolated partition, where no other thread runs and no
 * load is balanced, or a v1 cpuset. It lies below the cgroup that this process is in, so that
 * whoever started us (systemd, Slurm) keeps its limits and its accounts. Only vCPU and sidecore
 * threads enter it: in v2 it is a threaded cgroup.
 */
#include "making.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- where ------------------------------------------------------------------------------------- */

static FILE *open_proc(const char *root, pid_t pid, const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = sv_file_open(root, path, O_RDONLY, 0);
	return fd < 0 ? NULL : fdopen(fd, "r");
}

/* Is @word one of the comma-separated words of @list? */
static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at += len)
		if ((at == list || at[-1] == ',') && (!at[len] || at[len] == ',' || at[len] == '\n'))
			return true;
	return false;
}

struct mount {
	char point[256], top[256]; /* top: which directory of the hierarchy is mounted there */
};

/* The mount of the v1 cpuset hierarchy, else of v2. */
static enum sv_cpuset_kind find_mount(const char *root, pid_t pid, struct mount *m)
{
	FILE *f = open_proc(root, pid, "mountinfo");
	enum sv_cpuset_kind kind = SV_CPUSET_NONE;
	char *line = NULL;
	size_t room = 0;

	while (f && kind != SV_CPUSET_V1 && getline(&line, &room, f) > 0) {
		char top[256], point[256], type[32], super[512];
		const char *rest = strstr(line, " - ");

		if (!rest || sscanf(line, "%*d %*d %*s %255s %255s", top, point) != 2 ||
			sscanf(rest, " - %31s %*s %511s", type, super) != 2)
			continue;
		if (!strcmp(type, "cgroup") && has_word(super, "cpuset"))
			kind = SV_CPUSET_V1;
		else if (!strcmp(type, "cgroup2") && kind == SV_CPUSET_NONE)
			kind = SV_CPUSET_V2;
		else
			continue;
		strcpy(m->point, point);
		strcpy(m->top, top);
	}
	free(line);
	if (f)
		fclose(f);
	return kind;
}

/* Which cgroup of that hierarchy this process is in. */
static bool find_own(const char *root, pid_t pid, enum sv_cpuset_kind kind, char *own, size_t bytes)
{
	FILE *f = open_proc(root, pid, "cgroup");
	bool found = false;
	char *line = NULL;
	size_t room = 0;

	while (f && !found && getline(&line, &room, f) > 0) {
		char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = 0;
		if (kind == SV_CPUSET_V2 ? names[1] == 0 : has_word(names + 1, "cpuset")) {
			path[strcspn(path, "\n")] = 0;
			found = snprintf(own, bytes, "%s", path) < (int)bytes;
		}
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

int cpuset_find(const char *root, pid_t pid, struct cpuset_place *place)
{
	char own[300], probe[600];
	const char *below = own;
	struct mount m;

	*place = (struct cpuset_place){.kind = find_mount(root, pid, &m)};
	if (place->kind == SV_CPUSET_NONE || !find_own(root, pid, place->kind, own, sizeof(own))) {
		place->kind = SV_CPUSET_NONE;
		return 0;
	}
	if (strcmp(m.top, "/") != 0 && !strncmp(own, m.top, strlen(m.top)))
		below = own + strlen(m.top);
	if (!strcmp(below, "/"))
		below = "";
	place->mount_len = strlen(m.point);
	if (snprintf(place->dir, sizeof(place->dir), "%s%s", m.point, below) >= (int)sizeof(place->dir))
		return -ENAMETOOLONG;
	snprintf(probe, sizeof(probe), "%s/sidevisor.1", place->dir);
	return change_path_is_ours(CHANGE_CGROUP, probe) ? 0 : -EOPNOTSUPP;
}

/* --- making ------------------------------------------------------------------------------------ */

static int put(const struct making *m, const char *dir, const char *file, const char *text,
	struct sv_error *err)
{
	char path[600];
	int rc;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	rc = sv_file_write(m->j->root, path, text);
	return rc < 0 ? sv_fail(err, -rc, "%s: cannot write '%s': %s", path, text, strerror(-rc)) : 0;
}

static int get(const struct making *m, const char *dir, const char *file, char *text, size_t bytes)
{
	char path[600];
	ssize_t len;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	len = sv_file_read(m->j->root, path, text, bytes);
	if (len >= 0)
		text[strcspn(text, "\n")] = 0;
	return len < 0 ? (int)len : 0;
}

static int make_dir(const struct making *m, const char *dir, struct sv_error *err)
{
	int rc = sv_file_mkdir(m->j->root, dir);

	if (rc == -EEXIST) { /* of an earlier process with our pid */
		rc = sv_file_rmdir(m->j->root, dir);
		if (rc == 0)
			rc = sv_file_mkdir(m->j->root, dir);
	}
	return rc < 0 ? sv_fail(err, -rc, "%s: cannot be made: %s", dir, strerror(-rc)) : 0;
}

static int open_tasks(struct making *m, const char *dir, const char *file, struct sv_error *err)
{
	char path[600];
	int rc;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	rc = sv_file_ask("open", path);
	if (rc >= 0)
		rc = sv_file_open(m->j->root, path, O_WRONLY, 0);
	if (rc < 0)
		return sv_fail(err, -rc, "%s: %s", path, strerror(-rc));
	m->iso->tasks_fd = rc;
	return 0;
}

static int make_v1(struct making *m, const char *base, const char *dir, const char *cpus,
	struct sv_error *err)
{
	char mems[SV_CPUS_TEXT];
	struct sv_error why;
	int rc = make_dir(m, dir, err);

	if (rc == 0)
		rc = put(m, dir, "cpuset.cpus", cpus, err);
	if (rc == 0 && get(m, base, "cpuset.mems", mems, sizeof(mems)) == 0)
		rc = put(m, dir, "cpuset.mems", mems, err);
	if (rc == 0 && !m->req->shared) {
		rc = put(m, dir, "cpuset.cpu_exclusive", "1", &why);
		m->iso->exclusive = rc == 0;
		if (rc == -EINVAL || rc == -EACCES || rc == -EBUSY) {
			making_note(m, "%s: not exclusive, another cpuset has these CPUs too", dir);
			rc = 0;
		} else if (rc < 0) {
			*err = why;
		}
	}
	if (rc == 0)
		rc = put(m, dir, "cpuset.sched_load_balance", "0", err);
	return rc < 0 ? rc : open_tasks(m, dir, "tasks", err);
}

/*
 * Every directory from the mount down to ours offers cpuset to its children; those below the mount also
 * pass our CPUs down as exclusive ones, without which a partition below them is not valid.
 */
static int stake_above(struct making *m, const struct cpuset_place *place, struct sv_error *err)
{
	size_t len = strlen(place->dir);
	char path[600], text[256];
	unsigned me = making_me(m);

	for (size_t at = place->mount_len; at <= len; at++) {
		struct change *c;
		int rc;

		if (at != place->mount_len && at != len && place->dir[at] != '/')
			continue;
		snprintf(path, sizeof(path), "%.*s", (int)at, place->dir);
		rc = get(m, path, "cgroup.subtree_control", text, sizeof(text));
		if (rc < 0)
			return sv_fail(err, -rc, "%s/cgroup.subtree_control: %s", path, strerror(-rc));
		strcat(path, "/cgroup.subtree_control");
		c = journal_find(m->j, path);
		if (!c && !strstr(text, "cpuset"))
			c = journal_add(m->j, CHANGE_CONTROLLER, path);
		if (c && (!me || change_add_owner(c, me) < 0))
			return sv_fail(err, ENOSPC, "the journal is full");
		if (at == place->mount_len)
			continue;
		snprintf(path, sizeof(path), "%.*s/cpuset.cpus.exclusive", (int)at, place->dir);
		if (strlen(path) >= sizeof(c->path))
			return sv_fail(err, ENAMETOOLONG, "%s: too long", path);
		c = journal_find(m->j, path);
		c = c ? c : journal_add(m->j, CHANGE_EXCLUSIVE, path);
		if (!c || change_add_owner(c, me) < 0)
			return sv_fail(err, ENOSPC, "the journal is full");
	}
	return 0;
}

/* From the mount down, now that the threaded child is there. */
static int apply_above(struct making *m, const struct cpuset_place *place, struct sv_error *err)
{
	for (unsigned i = 0; i < m->j->changes; i++) {
		struct change *c = &m->j->change[i];
		int rc = 0;

		if ((c->kind != CHANGE_CONTROLLER && c->kind != CHANGE_EXCLUSIVE) ||
			!change_is_of(c, making_me(m)))
			continue;
		if (c->kind == CHANGE_CONTROLLER) {
			rc = sv_file_write(m->j->root, c->path, "+cpuset");
		} else {
			rc = change_read(m->j, c, &c->was);
			if (rc == 0 && sv_cpus_empty(&c->now))
				c->old = c->was;
			change_target(m->j, c, &c->now);
			if (rc == 0)
				rc = journal_save(m->j, NULL);
			if (rc == 0)
				rc = change_write(m->j, c, &c->now);
		}
		if (rc == -ENOENT && c->kind == CHANGE_EXCLUSIVE)
			return sv_fail(err, EOPNOTSUPP,
				"%s: no partition below a cgroup before Linux 6.7", place->dir);
		if (rc < 0)
			return sv_fail(err, -rc, "%s: cannot be written: %s", c->path, strerror(-rc));
	}
	return 0;
}

static int make_v2(struct making *m, const struct cpuset_place *place, const char *dir,
	const char *cpus, struct sv_error *err)
{
	char text[512];
	int rc = get(m, place->dir, "cgroup.controllers", text, sizeof(text));

	if (rc < 0 || (!strstr(text, "cpuset") && strlen(place->dir) == place->mount_len))
		return sv_fail(err, EOPNOTSUPP, "%s: no cpuset controller there", place->dir);
	rc = make_dir(m, dir, err);
	if (rc == 0)
		rc = put(m, dir, "cgroup.type", "threaded", err);
	if (rc == 0)
		rc = apply_above(m, place, err);
	if (rc == 0)
		rc = put(m, dir, "cpuset.cpus", cpus, err);
	if (rc == 0 && strlen(place->dir) != place->mount_len)
		rc = put(m, dir, "cpuset.cpus.exclusive", cpus, err);
	if (rc == 0)
		rc = put(m, dir, "cpuset.cpus.partition", "isolated", err);
	if (rc < 0)
		return rc;
	rc = get(m, dir, "cpuset.cpus.partition", text, sizeof(text));
	if (rc < 0 || strcmp(text, "isolated") != 0)
		return sv_fail(err, EOPNOTSUPP, "%s: no isolated partition of CPUs %s: %s", dir, cpus,
			rc < 0 ? strerror(-rc) : text);
	m->iso->exclusive = true;
	return open_tasks(m, dir, "cgroup.threads", err);
}

int cpuset_group(struct making *m, struct sv_error *err)
{
	char dir[512], cpus[SV_CPUS_TEXT];
	struct cpuset_place place;
	struct change *c;
	unsigned me;
	int rc = cpuset_find(m->j->root, m->iso->pid, &place);

	if (rc < 0 || place.kind == SV_CPUSET_NONE)
		return sv_fail(err, rc < 0 ? -rc : EOPNOTSUPP, "no cpuset hierarchy that we may use");
	if (place.kind == SV_CPUSET_V2 && m->req->shared)
		return sv_fail(err, EOPNOTSUPP, "cores shared with another VM or with our control thread cannot be an isolated "
			"partition");
	rc = sv_cpus_print_list(&m->taken, cpus, sizeof(cpus));
	snprintf(dir, sizeof(dir), "%s/sidevisor.%d", place.dir, (int)m->iso->pid);
	if (rc == 0 && place.kind == SV_CPUSET_V2)
		rc = stake_above(m, &place, err);
	if (rc < 0)
		return rc;
	c = journal_find(m->j, dir);
	c = c ? c : journal_add(m->j, CHANGE_CGROUP, dir);
	me = making_me(m);
	if (!c || !me || change_add_owner(c, me) < 0)
		return sv_fail(err, ENOSPC, "the journal is full");
	rc = journal_save(m->j, err);
	if (rc == 0)
		rc = place.kind == SV_CPUSET_V1 ? make_v1(m, place.dir, dir, cpus, err)
						: make_v2(m, &place, dir, cpus, err);
	if (rc == 0) {
		m->iso->cpuset = place.kind;
		snprintf(m->iso->cgroup, sizeof(m->iso->cgroup), "%s", dir);
	}
	return rc;
}
