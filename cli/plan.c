/* SPDX-License-Identifier: BSD-3-Clause */
/* sidevisor plan: which cores should be sidecores, and why. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plan_guests.h"
#include "plan_measure.h"

static int open_machine(const struct plan_options *o, struct sv_machine **m, struct sv_error *err)
{
	bool near = o->policy.near != NULL;

	for (unsigned i = 0; i < o->guests; i++)
		near |= o->guest[i].near != NULL;
	if (o->topology)
		return sv_machine_load(o->topology, m, err);
	return sv_machine_here(near || o->svg ? SV_MACHINE_DEVICES : SV_MACHINE_CPUS, m, err);
}

static int svg_fails(const char *path, int e, struct sv_error *err)
{
	sv_fail(err, e, "--svg %s: %s", path, strerror(e ? e : EIO));
	return e > 0 ? -e : -EIO;
}

/* Beside the file, then renamed: it is there as a whole or not at all. A device is written to as
 * is. */
static int open_beside(const char *path, char **beside, FILE **f, struct sv_error *err)
{
	struct stat st;
	int fd, e;

	*beside = NULL;
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
		fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	} else if (asprintf(beside, "%s.XXXXXX", path) < 0) {
		*beside = NULL;
		return svg_fails(path, ENOMEM, err);
	} else {
		mode_t mask = umask(0);

		umask(mask);
		fd = mkostemp(*beside, O_CLOEXEC);
		if (fd >= 0)
			fchmod(fd, 0666 & ~mask);
	}
	e = fd < 0 ? errno : ENOMEM;
	*f = fd < 0 ? NULL : fdopen(fd, "w");
	if (*f)
		return 0;
	if (fd >= 0)
		close(fd);
	free(*beside);
	*beside = NULL;
	return svg_fails(path, e, err);
}

static int write_svg(const char *path, const struct sv_machine *m, const struct sv_plan *plan,
	struct sv_error *err)
{
	char *beside;
	FILE *f;
	int rc = open_beside(path, &beside, &f, err);

	if (rc < 0)
		return rc;
	rc = sv_report_svg(f, m, plan, err);
	if (rc == 0 && (fflush(f) != 0 || ferror(f)))
		rc = svg_fails(path, errno, err);
	if (fclose(f) != 0 && rc == 0)
		rc = svg_fails(path, errno, err);
	if (rc == 0 && beside && rename(beside, path) < 0)
		rc = svg_fails(path, errno, err);
	if (rc < 0 && beside)
		unlink(beside);
	free(beside);
	return rc;
}

static bool colour_wanted(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

static int print(const struct plan_options *o, const struct sv_machine *m,
	const struct sv_plan *plan, struct sv_error *err)
{
	int rc;

	if (o->json)
		rc = sv_report_json(stdout, m, plan, err);
	else if (o->export != SV_EXPORTS)
		rc = sv_report_export(stdout, o->export, m, plan, err);
	else
		rc = sv_report_text(stdout, m, plan, colour_wanted(), err);
	if (rc == 0 && (fflush(stdout) != 0 || ferror(stdout)))
		rc = sv_fail(err, EIO, "the plan cannot be written to standard output: %s",
			strerror(errno));
	return rc;
}

static int make_and_show(struct plan_options *o, const struct sv_machine *m, struct sv_error *err)
{
	struct sv_plan_request req;
	struct sv_plan *plan;
	bool filled;
	int rc = plan_guests_fill(o, m, &filled, err);

	if (rc < 0)
		return rc;
	if (filled)
		fprintf(stderr,
			"sidevisor: no number of vCPUs is given: planned for %u guest%s of %u, as "
			"many as fit\n",
			o->guests, o->guests == 1 ? "" : "s", o->guest[0].vcpus);
	req = (struct sv_plan_request){o->policy, o->guest, o->guests};
	rc = sv_plan_make(m, &req, &plan, err);
	if (rc < 0)
		return rc;
	if (o->svg)
		rc = write_svg(o->svg, m, plan, err);
	if (rc == 0)
		rc = print(o, m, plan, err);
	sv_plan_free(plan);
	return rc;
}

int cli_plan(int argc, char **argv)
{
	struct plan_options o;
	struct sv_machine *m = NULL;
	struct sv_error err;
	int rc, status = plan_options_parse(&o, argc, argv);

	if (status < 0) {
		status = EXIT_DONE;
		rc = open_machine(&o, &m, &err);
		if (rc == 0)
			rc = o.measure ? plan_measure(m, o.latencies, o.all_pairs, &err)
				       : plan_use_measured(m, o.latencies, &err);
		if (rc < 0) {
			/* A bad topology is a bad file, not a wrong use. */
			status = cli_fail(&err, rc == -EINVAL ? -EIO : rc);
		} else {
			rc = make_and_show(&o, m, &err);
			if (rc < 0)
				status = cli_fail(&err, rc);
		}
		sv_machine_free(m);
	}
	plan_options_free(&o);
	return status;
}
