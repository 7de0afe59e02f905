/* SPDX-License-Identifier: BSD-3-Clause */
/* Giving back: what an owner leaves goes back to what it was, or to what the others still need. */
#include "journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is to become of one change. */
enum fate { STAYS, DROPPED, TO_WRITE, FAILED };

struct settling {
	struct journal *j;
	const struct sv_restore_report *report;
	bool dry;
	enum fate *fate;
	int first_error;
	bool busy; /* a cgroup of ours could not go yet */
};

static void say(const struct settling *s, const struct change *c, const char *what)
{
	char old[256] = "";

	if (!s->report || !s->report->line)
		return;
	if (change_has_value(c->kind) && sv_cpus_print_list(&c->old, old, sizeof(old)) < 0)
		snprintf(old, sizeof(old), "a long list");
	s->report->line(s->report->ctx, change_name(c->kind), c->path, old, what);
}

static void say_failed(struct settling *s, const struct change *c, int rc)
{
	char what[128];

	snprintf(what, sizeof(what), "failed: %s", strerror(-rc));
	say(s, c, what);
	if (!s->first_error)
		s->first_error = rc;
}

/* Compare before writing back: only what we wrote is ours to undo. */
static enum fate decide_value(struct settling *s, struct change *c)
{
	struct sv_cpus value, target;
	int rc = change_read(s->j, c, &value);

	if (rc == -ENOENT || rc == -ENOTDIR) {
		say(s, c, "gone");
		return DROPPED;
	}
	if (rc < 0) {
		say_failed(s, c, rc);
		return FAILED;
	}
	change_target(s->j, c, &target);
	if (sv_cpus_equal(&value, &target)) {
		c->was = c->now = target;
		if (!c->owners)
			say(s, c, "restored");
		return c->owners ? STAYS : DROPPED;
	}
	if (!sv_cpus_equal(&value, &c->now) && !sv_cpus_equal(&value, &c->was)) {
		say(s, c, "kept: someone else changed it meanwhile");
		return DROPPED;
	}
	c->was = value;
	c->now = target;
	return TO_WRITE;
}

/* Does a cgroup below this one use the controller? Then it is no longer ours to take away. */
static bool controller_is_used(const struct journal *j, const char *control)
{
	char dir[600], path[900], text[SV_CPUS_TEXT];
	const struct dirent *e;
	bool used = false;
	int at;
	DIR *d;

	snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(control, '/') - control), control);
	at = sv_file_open(j->root, dir, O_RDONLY | O_DIRECTORY, 0);
	d = at < 0 ? NULL : fdopendir(at);
	if (!d) {
		if (at >= 0)
			close(at);
		return false;
	}
	while (!used && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s/cpuset.cpus", dir, e->d_name);
		if (sv_file_read(j->root, path, text, sizeof(text)) > 1)
			used = true;
		snprintf(path, sizeof(path), "%s/%s/cgroup.subtree_control", dir, e->d_name);
		if (sv_file_read(j->root, path, text, sizeof(text)) > 0 && strstr(text, "cpuset"))
			used = true;
	}
	closedir(d);
	return used;
}

static enum fate decide(struct settling *s, struct change *c)
{
	if (change_has_value(c->kind))
		return decide_value(s, c);
	if (c->owners)
		return STAYS;
	if (!sv_file_is_there(s->j->root, c->path)) {
		say(s, c, "gone");
		return DROPPED;
	}
	return TO_WRITE;
}

static int undo(struct settling *s, struct change *c)
{
	if (change_has_value(c->kind))
		return change_write(s->j, c, &c->now);
	if (c->kind == CHANGE_CGROUP)
		return sv_file_rmdir(s->j->root, c->path);
	if (!controller_is_used(s->j, c->path))
		return sv_file_write(s->j->root, c->path, "-cpuset");
	if (s->busy)
		return -EBUSY; /* perhaps by that one alone: asked again when it has gone */
	say(s, c, "kept: other cgroups use it");
	return 1;
}

/* The last change made is the first undone. */
static void undo_all(struct settling *s)
{
	for (unsigned i = s->j->changes; i--;) {
		struct change *c = &s->j->change[i];
		int rc;

		if (s->fate[i] != TO_WRITE)
			continue;
		rc = s->dry ? 0 : undo(s, c);
		if (rc == -ENOENT)
			rc = 0;
		if (rc < 0) {
			s->busy |= c->kind == CHANGE_CGROUP;
			say_failed(s, c, rc);
			s->fate[i] = FAILED;
			continue;
		}
		s->fate[i] = c->owners ? STAYS : DROPPED;
		if (rc == 0)
			say(s, c, s->dry ? "would be restored" : c->owners ? "given back in part" : "restored");
	}
}

static void drop(struct settling *s)
{
	unsigned to = 0;

	for (unsigned i = 0; i < s->j->changes; i++)
		if (s->fate[i] != DROPPED)
			s->j->change[to++] = s->j->change[i];
	s->j->changes = to;
}

/* Take the leaving owners out. Return: something is to be done about this change. */
static bool leave(struct journal *j, struct change *c, leaves_fn leaves, void *ctx)
{
	bool any = c->owners == 0; /* an earlier attempt failed */

	for (unsigned i = 0; i < c->owners;) {
		const struct owner *o = journal_owner(j, c->owner[i]);

		if (o && !leaves(o, c, ctx)) {
			i++;
			continue;
		}
		change_drop_owner(c, c->owner[i]);
		any = true;
	}
	return any;
}

int journal_settle(struct journal *j, leaves_fn leaves, void *ctx, bool dry,
	const struct sv_restore_report *report)
{
	struct settling s = {.j = j, .report = report, .dry = dry};
	bool any = false;

	s.fate = calloc(j->changes + 1, sizeof(s.fate[0]));
	if (!s.fate)
		return -ENOMEM;
	for (unsigned i = 0; i < j->changes; i++) {
		if (!leave(j, &j->change[i], leaves, ctx))
			continue;
		any = true;
		s.fate[i] = decide(&s, &j->change[i]);
	}
	if (any && !dry) {
		/* Written before it is done. Full disks do not keep us from undoing. */
		journal_save(j, NULL);
		undo_all(&s);
		drop(&s);
		journal_forget_owners(j);
		if (journal_save(j, NULL) < 0 && !s.first_error)
			s.first_error = -EIO;
	} else if (any) {
		undo_all(&s);
	}
	free(s.fate);
	return s.first_error;
}

bool journal_owner_is_dead(const struct owner *o, const struct change *c, void *journal)
{
	const struct journal *j = journal;

	(void)c;
	return !sv_process_lives(j->root, o->pid, o->start);
}
