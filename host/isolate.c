/* SPDX-License-Identifier: BSD-3-Clause */
#include <host/isolate.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "making.h"

/* Shallow C-states stay: 0 would make every idle CPU of the machine spin. */
#define DMA_LATENCY_US 2
#define UNDO_MS 5000

void making_note(struct making *m, const char *fmt, ...)
{
	va_list ap;

	if (m->iso->notes == SV_ISOLATION_NOTES)
		return;
	va_start(ap, fmt);
	vsnprintf(m->iso->note[m->iso->notes++], sizeof(m->iso->note[0]), fmt, ap);
	va_end(ap);
}

unsigned making_me(struct making *m)
{
	struct journal *j = m->j;
	unsigned top = 0;

	for (unsigned i = 0; i < j->owners; i++) {
		if (j->owner[i].pid == m->iso->pid && j->owner[i].start == m->iso->start)
			return j->owner[i].id;
		if (j->owner[i].id > top)
			top = j->owner[i].id;
	}
	if (j->owners == JOURNAL_OWNERS || top >= 1000000000)
		return 0;
	j->owner[j->owners] = (struct owner){
		.id = top + 1, .pid = m->iso->pid, .start = m->iso->start, .cpus = m->taken};
	snprintf(j->owner[j->owners].name, sizeof(j->owner[0].name), "%s", m->req->name);
	return j->owner[j->owners++].id;
}

int making_stake(struct making *m, enum change_kind kind, const char *path)
{
	struct change *c = journal_find(m->j, path), probe = {.kind = kind};
	unsigned me = making_me(m);
	struct sv_cpus value;
	int rc;

	snprintf(probe.path, sizeof(probe.path), "%s", path);
	rc = change_read(m->j, &probe, &value);
	if (rc < 0)
		return rc;
	if (c && !sv_cpus_equal(&value, &c->now) && !sv_cpus_equal(&value, &c->was)) {
		c->owners = 0; /* changed by someone else meanwhile: what is there now is the original */
		c->old = value;
	}
	if (!c && !sv_cpus_overlap(&value, &m->taken))
		return -ENOENT;
	if (!c) {
		c = journal_add(m->j, kind, path);
		if (c)
			c->old = value;
	}
	if (!c || !me || change_add_owner(c, me) < 0)
		return -ENOSPC;
	c->was = value;
	change_target(m->j, c, &c->now);
	return (int)(c - m->j->change);
}

int making_apply(struct making *m, int number)
{
	struct change *c = &m->j->change[number];
	int rc;

	if (sv_cpus_equal(&c->was, &c->now))
		return 0;
	rc = change_write(m->j, c, &c->now);
	if (rc == 0)
		return 0;
	change_drop_owner(c, making_me(m));
	c->now = c->was;
	return rc;
}

/* --- groups ------------------------------------------------------------------------------------ */

static int dma_group(struct making *m, struct sv_error *err)
{
	static const char path[] = "/dev/cpu_dma_latency";
	int32_t us = DMA_LATENCY_US;
	int fd = sv_file_ask("open", path);

	if (fd >= 0)
		fd = sv_file_open(m->j->root, path, O_WRONLY, 0);
	if (fd >= 0 && write(fd, &us, sizeof(us)) != sizeof(us)) {
		close(fd);
		fd = -EIO;
	}
	if (fd < 0)
		return sv_fail(err, -fd, "%s: deep C-states stay possible: %s", path, strerror(-fd));
	m->iso->dma_fd = fd;
	m->iso->dma_latency = true;
	return 0;
}

static const struct group {
	const char *name;
	int (*make)(struct making *m, struct sv_error *err);
	unsigned kinds; /* of changes: bits */
	bool required;	/* by `require`, whatever the host has */
} groups[] = {
	{"interrupts", irq_group, 1u << CHANGE_IRQ | 1u << CHANGE_IRQ_DEFAULT, true},
	{"workqueue", workqueue_group, 1u << CHANGE_WORKQUEUE, false},
	{"cpuset", cpuset_group,
		1u << CHANGE_EXCLUSIVE | 1u << CHANGE_CONTROLLER | 1u << CHANGE_CGROUP, true},
	{"cpu_dma_latency", dma_group, 0, false},
};

#define GROUPS (sizeof(groups) / sizeof(groups[0]))

/* What this host does not have or does not permit, as against what fails on the way. */
static bool is_refusal(int rc)
{
	return rc == -EACCES || rc == -EPERM || rc == -EROFS || rc == -ENOENT || rc == -ENOTDIR ||
	       rc == -EOPNOTSUPP || rc == -EINVAL || rc == -EBUSY || rc == -ENODEV || rc == -ENXIO;
}

struct leaving {
	int pid;
	unsigned long long start;
	unsigned kinds;
};

static bool is_leaving(const struct owner *o, const struct change *c, void *ctx)
{
	const struct leaving *l = ctx;

	return o->pid == l->pid && o->start == l->start && (l->kinds >> c->kind & 1);
}

static int leave(struct journal *j, const struct sv_isolation *iso, unsigned kinds)
{
	struct leaving l = {.pid = iso->pid, .start = iso->start, .kinds = kinds};

	return journal_settle(j, is_leaving, &l, false, NULL);
}

static void close_fds(struct sv_isolation *iso)
{
	if (iso->tasks_fd >= 0)
		close(iso->tasks_fd);
	if (iso->dma_fd >= 0)
		close(iso->dma_fd);
	iso->tasks_fd = iso->dma_fd = -1;
}

/* What a group that failed has opened is closed. */
static void close_group_fd(const struct sv_isolation *iso, const struct sv_isolation *before)
{
	if (iso->tasks_fd != before->tasks_fd)
		close(iso->tasks_fd);
}

static int make_groups(struct making *m, struct sv_error *err)
{
	for (size_t i = 0; i < GROUPS; i++) {
		const struct group *g = &groups[i];
		struct sv_isolation before = *m->iso;
		struct sv_error why = {""};
		int rc = g->make(m, &why);

		if (rc == 0)
			continue;
		if (is_refusal(rc) && (m->req->mode == SV_ISOLATE_AUTO || !g->required)) {
			leave(m->j, m->iso, g->kinds);
			close_group_fd(m->iso, &before);
			*m->iso = before;
			making_note(m, "%s", why.text);
			continue;
		}
		return sv_fail(err, -rc, "--isolate: %s; the host is as it was", why.text);
	}
	return 0;
}

/* Sidecores are isolated too, where that leaves a CPU for everything else. */
static void choose_taken(struct making *m)
{
	char text[SV_CPUS_TEXT];
	struct sv_cpus rest;

	m->taken = m->req->guest;
	if (sv_file_read(m->j->root, "/sys/devices/system/cpu/online", text, sizeof(text)) <= 0 ||
		sv_cpus_parse_list(text, &rest) < 0)
		return;
	sv_cpus_remove(&rest, &m->req->guest);
	sv_cpus_remove(&rest, &m->req->sidecore);
	if (!sv_cpus_empty(&rest))
		sv_cpus_add(&m->taken, &m->req->sidecore);
}

static int begin(struct making *m, struct sv_error *err)
{
	struct sv_isolation *iso = m->iso;

	*iso = (struct sv_isolation){.tasks_fd = -1, .dma_fd = -1, .keeper_fd = -1};
	iso->pid = m->req->pid ? m->req->pid : getpid();
	snprintf(iso->root, sizeof(iso->root), "%s", m->req->root);
	snprintf(iso->run_dir, sizeof(iso->run_dir), "%s", m->req->run_dir);
	if (sv_process_start(iso->root, iso->pid, &iso->start) < 0)
		return sv_fail(err, ESRCH, "/proc/%d/stat cannot be read; is /proc mounted?", iso->pid);
	return 0;
}

static bool owns_something(const struct journal *j, const struct sv_isolation *iso)
{
	for (unsigned i = 0; i < j->owners; i++)
		if (j->owner[i].pid == iso->pid && j->owner[i].start == iso->start)
			return true;
	return false;
}

int sv_isolation_make(const struct sv_isolation_request *req, struct sv_isolation *iso,
	struct sv_error *err)
{
	struct journal j;
	struct making m = {.j = &j, .iso = iso, .req = req};
	int rc = begin(&m, err);

	if (rc < 0 || req->mode == SV_ISOLATE_NONE)
		return rc;
	rc = journal_open(&j, iso->root, iso->run_dir, err);
	if (rc < 0)
		return rc;
	journal_settle(&j, journal_owner_is_dead, &j, false, NULL);
	choose_taken(&m);
	iso->cpus = m.taken;
	rc = sv_cpus_empty(&m.taken) ? 0 : make_groups(&m, err);
	if (rc == 0) {
		leave(&j, iso, 0); /* entries that came to nothing */
		rc = journal_save(&j, err);
	}
	if (rc < 0) {
		close_fds(iso);
		leave(&j, iso, ~0u);
	}
	iso->made = rc == 0 && owns_something(&j, iso);
	journal_close(&j);
	return rc;
}

/* Cgroups of a process that is ending are busy for a moment. */
int sv_isolation_release(const struct sv_isolation *iso, struct sv_error *err)
{
	struct timespec slice = {.tv_nsec = 10000000};
	struct journal j;
	int rc = 0;

	for (int ms = 0; ms < UNDO_MS; ms += 10) {
		rc = journal_open(&j, iso->root, iso->run_dir, err);
		if (rc < 0)
			return rc;
		rc = leave(&j, iso, ~0u);
		journal_close(&j);
		if (rc != -EBUSY)
			break;
		nanosleep(&slice, NULL);
	}
	return rc < 0 ? sv_fail(err, -rc,
		"not everything on the host is as it was (%s); `sidevisor restore-host` tries again and "
		"says what", strerror(-rc)) : 0;
}

int sv_isolation_undo(struct sv_isolation *iso, struct sv_error *err)
{
	close_fds(iso);
	if (!iso->made)
		return 0;
	iso->made = false;
	if (iso->keeper && sv_keeper_dismiss(iso) == 0)
		return 0;
	return sv_isolation_release(iso, err);
}
