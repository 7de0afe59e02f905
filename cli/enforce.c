/* SPDX-License-Identifier: BSD-3-Clause */
#include "enforce.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <host/record.h>

#include "place.h"
#include "run_options.h"

#define TRIES 4

int enforce_parse(const char *text, enum sv_isolate *mode, struct sv_error *err)
{
	const char *from = text ? "--isolate " : "SIDEVISOR_ISOLATE=";

	if (!text)
		text = getenv("SIDEVISOR_ISOLATE");
	if (!text || !strcmp(text, "auto"))
		*mode = SV_ISOLATE_AUTO;
	else if (!strcmp(text, "require"))
		*mode = SV_ISOLATE_REQUIRE;
	else if (!strcmp(text, "none"))
		*mode = SV_ISOLATE_NONE;
	else
		return sv_fail(err, EINVAL, "%s%s: give one of auto, require, none", from, text);
	return 0;
}

/* --- others' CPUs ------------------------------------------------------------------------------ */

void enforce_avoid(struct enforcement *e, bool share, const int *keep, unsigned nkeep)
{
	struct sv_cpus set = e->original, kept = {{0}};

	sv_claims_list(e->run_dir, &e->exclusive, &e->shared);
	sv_cpus_remove(&set, &e->exclusive);
	if (!share)
		sv_cpus_remove(&set, &e->shared);
	for (unsigned i = 0; i < nkeep; i++)
		if (sv_cpus_has(&e->original, keep[i]))
			sv_cpus_set(&kept, keep[i]);
	sv_cpus_add(&set, &kept);
	/* With nothing left the claim fails, and says who has the CPU. */
	sv_cpus_run_on(sv_cpus_empty(&set) ? &e->original : &set);
}

int enforce_open(struct enforcement *e, struct sv_error *err)
{
	struct sv_error why;
	int rc;

	memset(e, 0, sizeof(*e));
	e->iso.tasks_fd = e->iso.dma_fd = -1;
	rc = sv_cpus_allowed(&e->original);
	if (rc < 0)
		return sv_fail(err, -rc, "sched_getaffinity: %s", strerror(-rc));
	rc = sv_run_dir(e->run_dir, sizeof(e->run_dir), err);
	if (rc < 0)
		return rc;
	enforce_avoid(e, false, NULL, 0);
	sv_record_sweep(e->run_dir, false, NULL, NULL);
	if (sv_restore("", e->run_dir, false, false, NULL, &why) < 0)
		sv_warn("%s", why.text);
	return 0;
}

/* A CPU that the user named and another has: said before anything else is found wrong with it. */
static int check_named(const struct enforcement *e, const struct run_options *o, struct sv_error *err)
{
	unsigned vcpus = o->cpus_given ? o->vm.vcpus : 0, cores = o->service ? 0 : o->sidecores;

	for (unsigned i = 0; i < vcpus + cores; i++) {
		int cpu = i < vcpus ? o->vm.vcpu_cpu[i] : o->sidecore[i - vcpus];
		char holder[200];

		if (!sv_cpus_has(&e->exclusive, cpu) && (o->share_cores || !sv_cpus_has(&e->shared, cpu)))
			continue;
		sv_claims_holder(e->run_dir, cpu, holder, sizeof(holder));
		return sv_fail(err, EBUSY,
			"%s: CPU %d is %s; choose another CPU, or let both share with --share-cores",
			i < vcpus ? "--cpus" : "--sidecore", cpu, *holder ? holder : "claimed by another");
	}
	return 0;
}

/* Too few CPUs: those of others are among the reasons. */
static int add_reason(const struct enforcement *e, int rc, struct sv_error *err)
{
	struct sv_cpus others = e->exclusive;
	char list[160];
	size_t len = strlen(err->text);

	sv_cpus_add(&others, &e->shared);
	if (rc != -ENOSPC || sv_cpus_empty(&others) || sv_cpus_print_list(&others, list, sizeof(list)) < 0)
		return rc;
	snprintf(err->text + len, sizeof(err->text) - len, " (CPUs %s belong to other VMs, see "
		"`sidevisor ps`)", list);
	return rc;
}

static void guest_cpus(const struct run_options *o, struct sv_cpus *guest, struct sv_cpus *sidecore)
{
	memset(guest, 0, sizeof(*guest));
	memset(sidecore, 0, sizeof(*sidecore));
	for (unsigned i = 0; i < o->vm.vcpus; i++)
		sv_cpus_set(guest, o->vm.vcpu_cpu[i]);
	for (unsigned i = 0; i < o->sidecores; i++)
		sv_cpus_set(sidecore, o->sidecore[i]);
}

/*
 * The SMT siblings of our cores that are nothing of ours: nobody's. They go with the cores, as far as
 * the control thread and a service's sidecores are not there.
 */
static void beside(const struct run_options *o, bool privately, struct sv_cpus *siblings)
{
	struct sv_cpus guest, sidecore, mine;

	guest_cpus(o, &guest, &sidecore);
	mine = guest;
	if (privately)
		sv_cpus_add(&mine, &sidecore);
	sv_claims_siblings("", &mine, siblings);
	sv_cpus_remove(siblings, &sidecore);
	sv_cpus_unset(siblings, o->vm.control_cpu);
}

static bool is_named(const struct run_options *o, int cpu)
{
	bool named = false;

	for (unsigned i = 0; i < o->vm.vcpus && o->cpus_given; i++)
		named |= o->vm.vcpu_cpu[i] == cpu;
	for (unsigned i = 0; i < o->sidecores; i++)
		named |= o->sidecore[i] == cpu;
	return named;
}

/* Control threads gather: a CPU for each VM's would be a waste. */
static void find_houses(const struct enforcement *e, struct run_options *o)
{
	struct sv_cpus control;

	sv_claims_control(e->run_dir, &control);
	o->houses = 0;
	for (int cpu = sv_cpus_next(&control, -1); cpu >= 0; cpu = sv_cpus_next(&control, cpu))
		if (o->houses < sizeof(o->house) / sizeof(o->house[0]) && !is_named(o, cpu) &&
			sv_cpus_has(&e->original, cpu))
			o->house[o->houses++] = cpu;
}

static void share_control(struct run_options *o)
{
	if (!o->placement && o->houses)
		o->vm.control_cpu = o->house[0];
}

static int claim_control(struct enforcement *e, int cpu, const char *who, struct sv_error *err)
{
	struct sv_cpus control = {{0}};

	sv_cpus_set(&control, cpu);
	return sv_claims_take(&e->claims, e->run_dir, &control, true, who, "control CPU", err);
}

static int place_and_claim(struct enforcement *e, struct run_options *o, bool privately,
	struct sv_error *err)
{
	int keep[SV_CONTROL_SIDECORES + sizeof(o->house) / sizeof(o->house[0])], rc;
	struct sv_cpus guest, sidecore, siblings;
	unsigned nkeep = 0;

	find_houses(e, o);
	for (unsigned i = 0; i < o->sidecores && o->service; i++)
		keep[nkeep++] = o->sidecore[i];
	for (unsigned i = 0; i < o->houses; i++)
		keep[nkeep++] = o->house[i];
	enforce_avoid(e, o->share_cores, keep, nkeep);
	rc = check_named(e, o, err);
	if (rc == 0)
		rc = add_reason(e, place_guest(o, err), err);
	if (rc < 0)
		return rc;
	guest_cpus(o, &guest, &sidecore);
	share_control(o);
	rc = sv_claims_take(&e->claims, e->run_dir, &guest, o->share_cores, o->name, "guest core", err);
	if (rc == 0 && privately)
		rc = sv_claims_take(&e->claims, e->run_dir, &sidecore, o->share_cores, o->name,
			"sidecore", err);
	if (rc == 0) {
		beside(o, privately, &siblings);
		rc = sv_claims_take(&e->claims, e->run_dir, &siblings, o->share_cores, o->name,
			"thread beside a core", err);
	}
	/* With a service and no CPU to spare, the control thread is a guest beside its sidecore. */
	if (rc == 0 && !sv_cpus_has(&sidecore, o->vm.control_cpu))
		rc = claim_control(e, o->vm.control_cpu, o->name, err);
	if (rc < 0) {
		sv_claims_release(e->claims);
		e->claims = NULL;
	}
	return rc;
}

/* --- isolation --------------------------------------------------------------------------------- */

static int isolate(struct enforcement *e, struct sv_isolation_request *req, int control_cpu,
	bool explicit_mode, struct sv_error *err)
{
	struct sv_cpus control = {{0}};
	int rc;

	/* The control thread and the keeper stay outside the cpuset: sidecores beside them do, too. */
	sv_cpus_set(&control, control_cpu);
	if (sv_cpus_overlap(&req->sidecore, &control))
		memset(&req->sidecore, 0, sizeof(req->sidecore));
	req->shared |= sv_cpus_overlap(&req->guest, &control); /* --overcommit on one CPU */

	req->root = "";
	req->run_dir = e->run_dir;
	rc = sv_isolation_make(req, &e->iso, err);
	if (rc == 0)
		rc = sv_isolation_keep(&e->iso, &control, err);
	if (rc < 0) {
		struct sv_error why;

		sv_isolation_undo(&e->iso, &why);
		if (req->mode == SV_ISOLATE_REQUIRE)
			return rc;
		sv_warn("%s: not isolated: %s", req->name, err->text);
	}
	for (unsigned i = 0; explicit_mode && i < e->iso.notes; i++)
		sv_warn("%s: not isolated: %s", req->name, e->iso.note[i]);
	return 0;
}

static void fill_record(const struct run_options *o, bool privately, struct sv_record *r)
{
	snprintf(r->name, sizeof(r->name), "%s", o->name);
	snprintf(r->policy, sizeof(r->policy), "%s",
		o->placement ? "placement" : o->cpus_given ? "given"
			: sv_plan_policy_name(o->smt_sibling ? SV_PLAN_SMT_SIBLING : o->policy));
	r->vcpus = o->vm.vcpus;
	memcpy(r->vcpu_cpu, o->vm.vcpu_cpu, o->vm.vcpus * sizeof(int));
	r->sidecores = o->sidecores;
	memcpy(r->sidecore_cpu, o->sidecore, o->sidecores * sizeof(int));
	r->control_cpu = o->vm.control_cpu;
	r->nodes = o->vm.topology.nodes;
	memcpy(r->memory_node, o->vm.memory_node, r->nodes * sizeof(int));
	r->private_sidecores = privately;
	r->share_cores = o->share_cores;
}

/* The record is worth a note, not a VM. */
static int write_record(struct enforcement *e, struct run_options *o, bool privately,
	struct sv_error *err)
{
	struct sv_record *r = calloc(1, sizeof(*r));
	struct sv_error why;
	int rc = 0;

	if (!r)
		return sv_fail(err, ENOMEM, "out of memory");
	fill_record(o, privately, r);
	e->record_text = sv_record_text(r, &e->iso);
	free(r);
	if (!e->record_text)
		return sv_fail(err, ENOMEM, "out of memory");
	o->vm.placement = e->record_text;
	if (o->keep_placement)
		rc = sv_record_save(o->keep_placement, e->record_text, err);
	if (rc == 0 && sv_record_path(e->run_dir, o->name, e->record, sizeof(e->record)) == 0 &&
		sv_record_save(e->record, e->record_text, &why) < 0) {
		sv_warn("%s", why.text);
		e->record[0] = 0;
	}
	return rc;
}

int enforce_guest(struct enforcement *e, struct run_options *o, bool privately, struct sv_error *err)
{
	struct sv_isolation_request req = {.name = o->name, .mode = o->isolate, .shared = o->share_cores};
	struct run_options *asked = malloc(sizeof(*asked));
	struct sv_cpus theirs, siblings;
	int rc = -EBUSY;

	if (!asked)
		return sv_fail(err, ENOMEM, "out of memory");
	*asked = *o;
	/* Another VM may claim between our look and our claim: choose again, if the choice is ours. */
	for (int i = 0; i < TRIES && rc == -EBUSY; i++) {
		*o = *asked;
		rc = place_and_claim(e, o, privately, err);
		if (rc == -EBUSY && o->cpus_given)
			break;
	}
	free(asked);
	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < o->placement_nodes && o->placement_nodes == o->vm.topology.nodes; i++)
		o->vm.memory_node[i] = o->placement_node[i];
	guest_cpus(o, &req.guest, privately ? &req.sidecore : &theirs);
	beside(o, privately, &siblings);
	sv_cpus_add(&req.guest, &siblings);
	rc = isolate(e, &req, o->vm.control_cpu, o->isolate_given, err);
	if (rc == 0)
		o->vm.join_fd = enforce_join_fd(e, o->vm.vcpu_cpu[0]);
	return rc < 0 ? rc : write_record(e, o, privately, err);
}

int enforce_housekeeping(const struct enforcement *e, const int *sidecore, unsigned n)
{
	struct sv_cpus control, mine;
	int first;

	sv_claims_control(e->run_dir, &control);
	first = sv_cpus_next(&control, -1);
	if (sv_cpus_has(&e->original, first))
		return first;
	if (sv_cpus_allowed(&mine) < 0 || sv_cpus_count(&e->original) < n + 2)
		return sidecore[0];
	for (unsigned i = 0; i < n; i++)
		sv_cpus_unset(&mine, sidecore[i]);
	first = sv_cpus_next(&mine, -1);
	return first < 0 ? sidecore[0] : first;
}

int enforce_sidecores(struct enforcement *e, const struct sv_node_config *c, enum sv_isolate mode,
	bool share, bool explicit_mode, struct sv_error *err)
{
	static const char name[] = "the node service";
	struct sv_isolation_request req = {.name = name, .mode = mode, .shared = share};
	int rc;

	for (unsigned i = 0; i < c->sidecores; i++)
		sv_cpus_set(&req.sidecore, c->cpu[i]);
	rc = sv_claims_take(&e->claims, e->run_dir, &req.sidecore, share, name, "sidecore", err);
	if (rc == 0 && !sv_cpus_has(&req.sidecore, c->control_cpu))
		rc = claim_control(e, c->control_cpu, name, err);
	return rc < 0 ? rc : isolate(e, &req, c->control_cpu, explicit_mode, err);
}

int enforce_join_fd(const struct enforcement *e, int cpu)
{
	return e->iso.tasks_fd > 0 && sv_cpus_has(&e->iso.cpus, cpu) ? e->iso.tasks_fd : 0;
}

void enforce_close(struct enforcement *e)
{
	struct sv_error err;

	if (!e->run_dir[0]) /* never opened */
		return;
	if (sv_isolation_undo(&e->iso, &err) < 0)
		sv_warn("%s", err.text);
	sv_claims_release(e->claims);
	e->claims = NULL;
	if (e->record[0])
		unlink(e->record);
	free(e->record_text);
	e->record_text = NULL;
	sv_cpus_run_on(&e->original);
}
