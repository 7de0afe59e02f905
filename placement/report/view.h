/* SPDX-License-Identifier: BSD-3-Clause */
/* A plan by CPU, for whoever shows it: what each thread of each core does, and under which letter.
 */
#ifndef REPORT_VIEW_H
#define REPORT_VIEW_H

#include <report/report.h>

#define VIEW_LABEL 3u

enum view_use {
	VIEW_SPARE,
	VIEW_GUEST,
	VIEW_SIDECORE,
	VIEW_HOUSE,
	VIEW_IDLE,
	VIEW_EXCLUDED,
	VIEW_USES
};

struct view_thread {
	enum view_use use;
	int guest, vcpu; /* of VIEW_GUEST; else -1 */
	int sidecore;    /* of VIEW_SIDECORE; else -1 */
};

struct view {
	const struct sv_machine *m;
	const struct sv_plan *plan;
	struct view_thread *thread; /* SV_CORE_THREADS for each core */
	unsigned label_columns;     /* of a guest's letters: 1 or 2 */
};

/* Return: 0 or -ENOMEM. */
int view_open(struct view *v, const struct sv_machine *m, const struct sv_plan *plan);
void view_close(struct view *v);

const struct view_thread *view_at(const struct view *v, unsigned core, unsigned thread);
/* The letters of a guest: never S, H or x. */
void view_guest_label(const struct view *v, unsigned guest, char label[VIEW_LABEL]);
/* What a map shows for a thread. */
void view_label(const struct view *v, const struct view_thread *t, char label[VIEW_LABEL]);

/* CPUs in ascending order with ranges, "0-3,8"; "" for none. NULL: out of memory. The caller's. */
char *view_list(const int *cpu, unsigned n);

enum view_set {
	VIEW_SET_ISOLATED, /* every thread of guest cores and sidecores */
	VIEW_SET_REST,     /* all others */
	VIEW_SET_SYSTEM,   /* every thread of housekeeping cores and sidecores */
	VIEW_SET_OURS,     /* isolated, and housekeeping */
	VIEW_SET_SPARE,
	VIEW_SET_EXCLUDED,
	VIEW_SET_HOUSE,
};

/* *cpu: the caller's; room for all. Return: how many, or -ENOMEM. */
int view_cpus(const struct view *v, enum view_set set, int **cpu);
/* The same as a list, or NULL. */
char *view_set_list(const struct view *v, enum view_set set);
/* The CPUs of a guest, in the order of its vCPUs, without duplicates counted twice, as a list. */
char *view_guest_list(const struct view *v, unsigned guest);
/* Memory nodes (OS indices) beside guests and sidecores, as a list; "" when none is known. */
char *view_node_list(const struct view *v);

/* The packages, or memory nodes, that @n domains have cores in: "package 0", "packages 0-1". */
void view_name_packages(
	const struct sv_machine *m, const unsigned *domain, unsigned n, char *name, size_t bytes);

/* @text as XML character data or an attribute's value; what XML cannot carry becomes '?'. */
void view_xml(FILE *f, const char *text);

#endif
