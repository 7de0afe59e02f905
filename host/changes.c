/* SPDX-License-Identifier: BSD-3-Clause */
/* The entries of the journal, and the values that they stand for. */
#include "journal.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[CHANGE_KINDS] = {[CHANGE_IRQ] = "irq",
	[CHANGE_IRQ_DEFAULT] = "irq-default",
	[CHANGE_WORKQUEUE] = "workqueue",
	[CHANGE_EXCLUSIVE] = "exclusive",
	[CHANGE_CONTROLLER] = "controller",
	[CHANGE_CGROUP] = "cgroup"};

const char *change_name(enum change_kind kind)
{
	return names[kind];
}

bool change_has_value(enum change_kind kind)
{
	return kind != CHANGE_CONTROLLER && kind != CHANGE_CGROUP;
}

/* --- the few paths that we ever write ---------------------------------------------------------- */

static bool all_digits(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isdigit((unsigned char)s[i]))
			return false;
	return len > 0 && len <= 10;
}

/* /sys/fs/cgroup, then plain names, then @last: a file name, or "sidevisor.N" for NULL. */
static bool is_cgroup_path(const char *path, const char *last)
{
	static const char top[] = "/sys/fs/cgroup/";
	const char *slash = strrchr(path, '/');

	if (strncmp(path, top, sizeof(top) - 1) != 0 || strstr(path, "//") || strstr(path, "/../") ||
		strstr(path, "/./"))
		return false;
	if (last)
		return strcmp(slash + 1, last) == 0;
	return strncmp(slash + 1, "sidevisor.", 10) == 0 && all_digits(slash + 11, strlen(slash + 11));
}

bool change_path_is_ours(enum change_kind kind, const char *path)
{
	static const char irq[] = "/proc/irq/", list[] = "/smp_affinity_list";
	size_t len = strlen(path);

	switch (kind) {
	case CHANGE_IRQ:
		return len > sizeof(irq) + sizeof(list) - 2 && !strncmp(path, irq, sizeof(irq) - 1) &&
		       !strcmp(path + len - (sizeof(list) - 1), list) &&
		       all_digits(path + sizeof(irq) - 1, len - (sizeof(irq) + sizeof(list) - 2));
	case CHANGE_IRQ_DEFAULT:
		return !strcmp(path, "/proc/irq/default_smp_affinity");
	case CHANGE_WORKQUEUE:
		return !strcmp(path, "/sys/devices/virtual/workqueue/cpumask");
	case CHANGE_EXCLUSIVE:
		return is_cgroup_path(path, "cpuset.cpus.exclusive");
	case CHANGE_CONTROLLER:
		return is_cgroup_path(path, "cgroup.subtree_control");
	case CHANGE_CGROUP:
		return is_cgroup_path(path, NULL);
	default:
		return false;
	}
}

/* --- entries ----------------------------------------------------------------------------------- */

struct change *journal_find(struct journal *j, const char *path)
{
	for (unsigned i = 0; i < j->changes; i++)
		if (!strcmp(j->change[i].path, path))
			return &j->change[i];
	return NULL;
}

struct change *journal_add(struct journal *j, enum change_kind kind, const char *path)
{
	struct change *c;

	if (j->changes == JOURNAL_CHANGES || strlen(path) >= sizeof(c->path))
		return NULL;
	if (j->changes == j->room) {
		unsigned room = j->room ? j->room * 2 : 64;

		c = realloc(j->change, room * sizeof(*c));
		if (!c)
			return NULL;
		j->change = c;
		j->room = room;
	}
	c = &j->change[j->changes++];
	memset(c, 0, sizeof(*c));
	c->kind = kind;
	strcpy(c->path, path);
	return c;
}

struct owner *journal_owner(struct journal *j, unsigned id)
{
	for (unsigned i = 0; i < j->owners; i++)
		if (j->owner[i].id == id)
			return &j->owner[i];
	return NULL;
}

bool change_is_of(const struct change *c, unsigned id)
{
	for (unsigned i = 0; i < c->owners; i++)
		if (c->owner[i] == id)
			return true;
	return false;
}

int change_add_owner(struct change *c, unsigned id)
{
	if (change_is_of(c, id))
		return 0;
	if (c->owners == CHANGE_OWNERS)
		return -ENOSPC;
	c->owner[c->owners++] = id;
	return 0;
}

void change_drop_owner(struct change *c, unsigned id)
{
	for (unsigned i = 0; i < c->owners; i++)
		if (c->owner[i] == id)
			c->owner[i--] = c->owner[--c->owners];
}

/* --- values ------------------------------------------------------------------------------------ */

static bool is_mask(const struct change *c)
{
	return c->kind == CHANGE_IRQ_DEFAULT || c->kind == CHANGE_WORKQUEUE;
}

int change_read(const struct journal *j, const struct change *c, struct sv_cpus *value)
{
	char text[SV_CPUS_TEXT];
	ssize_t len = sv_file_read(j->root, c->path, text, sizeof(text));

	if (len < 0)
		return (int)len;
	return is_mask(c) ? sv_cpus_parse_mask(text, value) : sv_cpus_parse_list(text, value);
}

int change_write(const struct journal *j, const struct change *c, const struct sv_cpus *value)
{
	char text[SV_CPUS_TEXT];
	int rc = is_mask(c) ? sv_cpus_print_mask(value, text, sizeof(text) - 1)
			    : sv_cpus_print_list(value, text, sizeof(text) - 1);

	if (rc < 0)
		return rc;
	strcat(text, "\n"); /* an empty write would not reach the kernel */
	return sv_file_write(j->root, c->path, text);
}

static void read_online(const struct journal *j, struct sv_cpus *online)
{
	char text[SV_CPUS_TEXT];

	memset(online, 0, sizeof(*online));
	if (sv_file_read(j->root, "/sys/devices/system/cpu/online", text, sizeof(text)) > 0)
		sv_cpus_parse_list(text, online);
}

void change_target(struct journal *j, const struct change *c, struct sv_cpus *target)
{
	struct sv_cpus taken = {{0}};

	*target = c->old;
	for (unsigned i = 0; i < c->owners; i++)
		sv_cpus_add(&taken, &journal_owner(j, c->owner[i])->cpus);
	if (c->kind == CHANGE_EXCLUSIVE) {
		sv_cpus_add(target, &taken);
		return;
	}
	sv_cpus_remove(target, &taken);
	if (!sv_cpus_empty(target) || !c->owners)
		return;
	/* It was there only: anywhere but on anybody's guest cores. */
	for (unsigned i = 0; i < j->owners; i++)
		sv_cpus_add(&taken, &j->owner[i].cpus);
	read_online(j, target);
	sv_cpus_remove(target, &taken);
	if (sv_cpus_empty(target))
		*target = c->old;
}
