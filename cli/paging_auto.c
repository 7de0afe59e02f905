/* SPDX-License-Identifier: BSD-3-Clause */
#include "paging_auto.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include <vmm/vmm.h>

/* NAME.yaml: NAME.paging.json. */
static void record_path(const struct run_options *o, char *path, size_t bytes)
{
	size_t n = strlen(o->profile_path);

	if (n > 5 && !strcmp(o->profile_path + n - 5, ".yaml"))
		n -= 5;
	snprintf(path, bytes, "%.*s.paging.json", (int)n, o->profile_path);
}

static unsigned index_of(const json_t *choice, const char *key, const char *const *names)
{
	const char *s = json_string_value(json_object_get(choice, key));

	for (unsigned i = 0; s && names[i]; i++)
		if (!strcmp(s, names[i]))
			return i;
	return 0;
}

static void take(struct run_options *o, const json_t *choice)
{
	static const char *const backing[] = {"auto", "4k", "thp", "2m", "1g", NULL};
	static const char *const when[] = {"", "before", "running", "demand", NULL};

	if (!o->said.populate)
		o->vm.no_populate = json_is_false(json_object_get(choice, "populate"));
	if (!o->said.stage2)
		o->vm.stage2 = (enum sv_stage2_when)index_of(choice, "stage2", when);
	if (!o->said.stage2 && o->vm.stage2 == SV_STAGE2_RUNNING && !o->vm.no_populate)
		o->vm.stage2 = SV_STAGE2_DEFAULT; /* the same, where KVM can */
	if (!o->said.backing)
		o->vm.backing = (enum sv_backing)index_of(choice, "backing", backing);
	if (!o->said.direct)
		o->vm.direct_paging = json_is_true(json_object_get(choice, "direct_paging"));
}

/* Was it measured on a machine like this, for as much memory? */
static bool fits(const struct run_options *o, const json_t *record, const char *path)
{
	const char *substrate = json_string_value(json_object_get(record, "substrate"));
	json_int_t bytes = json_integer_value(json_object_get(record, "memory_bytes"));

	if (substrate && !strcmp(substrate, sv_vmm_substrate()) &&
		bytes == (json_int_t)o->vm.memory_bytes)
		return true;
	sv_warn("paging: auto: %s was measured on %s with %lld MiB, this is %s with %lld MiB; it is not used. "
		"Measure again: sidevisor bench paging --advise %s",
		path, substrate ? substrate : "?", (long long)(bytes >> 20), sv_vmm_substrate(),
		(long long)(o->vm.memory_bytes >> 20), o->profile_path);
	return false;
}

int paging_auto_apply(struct run_options *o, struct sv_error *err)
{
	char path[sizeof(o->profile_path) + 16];
	json_error_t why;
	json_t *record;

	if (!*o->profile_path)
		return sv_fail(err, EINVAL, "--paging auto: it takes what was recorded beside a profile; "
			"give a profile");
	record_path(o, path, sizeof(path));
	if (access(path, F_OK) < 0) {
		sv_warn("paging: auto: there is no %s yet; measure with `sidevisor bench paging --advise %s`",
			path, o->profile_path);
		return 0;
	}
	record = json_load_file(path, 0, &why);
	if (!record || !json_is_object(json_object_get(record, "choice"))) {
		json_decref(record);
		return sv_fail(err, EINVAL, "paging: auto: %.300s:%d: not a record of `bench paging --advise`; "
			"remove it or measure again", path, record ? 1 : why.line);
	}
	if (fits(o, record, path)) {
		take(o, json_object_get(record, "choice"));
		o->vm.paging_choice = json_dumps(record, 0);
	}
	json_decref(record);
	return 0;
}
