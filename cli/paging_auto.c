/* SPDX-License-Identifier: BSD-3-Clause */
#include "paging_auto.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include <vmm/vmm.h>

#include "profile.h"

int paging_auto_record_path(const char *profile, char *path, size_t bytes, struct sv_error *err)
{
	static const char *const endings[] = {".yaml", ".yml"};
	size_t n = strlen(profile);

	for (unsigned i = 0; i < 2; i++) {
		size_t end = strlen(endings[i]);

		if (n > end && !strcmp(profile + n - end, endings[i])) {
			n -= end;
			break;
		}
	}
	if (snprintf(path, bytes, "%.*s.paging.json", (int)n, profile) >= (int)bytes)
		return sv_fail(err, ENAMETOOLONG, "%.80s...: the name is too long", profile);
	return 0;
}

int paging_auto_record_of(const char *operand, char *path, size_t bytes, struct sv_error *err)
{
	char profile[PROFILE_PATH];

	if (strlen(operand) >= sizeof(profile))
		return sv_fail(err, ENAMETOOLONG, "%.80s...: the name is too long", operand);
	if (access(profile_path(operand, profile), R_OK) < 0)
		return sv_fail(err, errno, "%.200s: no such profile that can be read: a YAML file, or the "
			"name of one in " SV_PROFILE_GUESTS, operand);
	return paging_auto_record_path(profile, path, bytes, err);
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
	int rc;

	if (!*o->profile_path)
		return sv_fail(err, EINVAL, "--paging auto: it takes what was recorded beside a profile; "
			"give a profile");
	rc = paging_auto_record_path(o->profile_path, path, sizeof(path), err);
	if (rc < 0)
		return rc;
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
