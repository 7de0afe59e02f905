/* SPDX-License-Identifier: BSD-3-Clause */
/* `sidevisor restore-host`: what the dead left. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <host/record.h>

#include "making.h"

static void say(const struct sv_restore_report *r, const char *kind, const char *path, const char *what)
{
	if (r && r->line)
		r->line(r->ctx, kind, path, "", what);
}

/* The pid of "sidevisor.PID" when nothing has that pid. */
static bool is_leftover(const char *root, const char *name)
{
	unsigned long long start;
	char tail;
	int pid;

	return sscanf(name, "sidevisor.%10d%c", &pid, &tail) == 1 &&
	       sv_process_start(root, pid, &start) < 0;
}

/* Cgroups of ours beside which there is no journal any more. */
static int sweep_cgroups(struct journal *j, bool dry, const struct sv_restore_report *report)
{
	struct cpuset_place place;
	const struct dirent *e;
	char path[700];
	int at, rc = 0;
	DIR *d;

	if (cpuset_find(j->root, getpid(), &place) < 0 || place.kind == SV_CPUSET_NONE)
		return 0;
	at = sv_file_open(j->root, place.dir, O_RDONLY | O_DIRECTORY, 0);
	d = at < 0 ? NULL : fdopendir(at);
	if (!d) {
		if (at >= 0)
			close(at);
		return 0;
	}
	while ((e = readdir(d))) {
		int one;

		snprintf(path, sizeof(path), "%s/%s", place.dir, e->d_name);
		if (!is_leftover(j->root, e->d_name) || journal_find(j, path))
			continue;
		one = dry ? 0 : sv_file_rmdir(j->root, path);
		say(report, "cgroup", path, one < 0 ? strerror(-one) : dry ? "would be removed" : "removed");
		rc = one < 0 && !rc ? one : rc;
	}
	closedir(d);
	return rc;
}

static void on_record(void *ctx, const char *path, bool dry)
{
	say(ctx, "record", path, dry ? "would be removed" : "removed");
}

int sv_restore(const char *root, const char *run_dir, bool all, bool dry,
	const struct sv_restore_report *report, struct sv_error *err)
{
	struct sv_restore_report copy = {0};
	struct journal j;
	int rc = journal_open(&j, root, run_dir, err), more = 0;

	if (rc < 0)
		return rc;
	if (report)
		copy = *report;
	rc = journal_settle(&j, journal_owner_is_dead, &j, dry, report);
	if (all) {
		more = sweep_cgroups(&j, dry, report);
		sv_record_sweep(run_dir, dry, on_record, &copy);
	}
	journal_close(&j);
	rc = rc < 0 ? rc : more;
	return rc < 0 ? sv_fail(err, -rc,
		"not everything could be restored (%s); what is left stays in the journal in %s",
		strerror(-rc), run_dir) : 0;
}
