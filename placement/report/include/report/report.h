/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plan as text for people, as JSON, as a drawing, and as what other tools read.
 *
 * Every function here is a pure function of the machine and its plan: the same plan gives the same
 * bytes. Context of all: any thread; they write to the stream and allocate. Errors of the stream
 * are the caller's to check (ferror, fflush).
 */
#ifndef REPORT_REPORT_H
#define REPORT_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include <base/error.h>
#include <placement/plan.h>

#define SV_REPORT_COLUMNS 100u
#define SV_REPORT_SCHEMA "sidevisor-plan/1"

/* A map of each package, and a reason for each sidecore. @colour: with terminal escapes. */
int sv_report_text(FILE *f, const struct sv_machine *m, const struct sv_plan *plan, bool colour,
	struct sv_error *err);

/* docs/plan-json.md is its schema. */
int sv_report_json(
	FILE *f, const struct sv_machine *m, const struct sv_plan *plan, struct sv_error *err);

/* The machine, drawn: SVG 1.1, no scripts, nothing loaded from elsewhere. */
int sv_report_svg(
	FILE *f, const struct sv_machine *m, const struct sv_plan *plan, struct sv_error *err);

enum sv_export {
	SV_EXPORT_KERNEL,  /* isolcpus, nohz_full, rcu_nocbs, irqaffinity */
	SV_EXPORT_CGROUP,  /* shell commands for a cpuset v2 partition */
	SV_EXPORT_SYSTEMD, /* drop-ins with AllowedCPUs= */
	SV_EXPORT_SLURM,   /* CpuSpecList= */
	SV_EXPORT_LIBVIRT, /* <cputune> and <numatune> of each guest */
	SV_EXPORTS,
};

/*
 * Return: 0, -ENOMEM, or -ENOSPC with a sentence when the plan leaves the operating system no CPU
 * of its own and the export needs one.
 */
int sv_report_export(FILE *f, enum sv_export what, const struct sv_machine *m,
	const struct sv_plan *plan, struct sv_error *err);
const char *sv_export_name(enum sv_export what);

#endif
