/* SPDX-License-Identifier: BSD-3-Clause */
/* `--vhost-user`: devices that other programs serve. */
#include "run_foreign.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = {
	[SV_FOREIGN_BLK] = "blk", [SV_FOREIGN_NET] = "net", [SV_FOREIGN_FS] = "fs"};

static int take_kind(struct sv_foreign_config *f, const char *text, struct sv_error *err)
{
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (text && !strcmp(text, kinds[i])) {
			f->kind = (enum sv_foreign_kind)i;
			return 0;
		}
	return sv_fail(err, EINVAL, "--vhost-user %s: it begins with blk, net or fs", text ? text : "");
}

static int take_key(struct run_foreign *keep, struct sv_foreign_config *f, char *text,
	struct sv_error *err)
{
	char *value = strchr(text, '=');
	uint64_t n = 0;
	int rc = 0;

	if (value)
		*value++ = 0;
	if (value && !strcmp(text, "socket")) {
		if (!*value || strlen(value) >= sizeof(keep->path))
			return sv_fail(err, EINVAL, "--vhost-user: socket=PATH has 1 to %zu characters",
				sizeof(keep->path) - 1);
		strcpy(keep->path, value);
		f->path = keep->path;
	} else if (value && !strcmp(text, "tag") && f->kind == SV_FOREIGN_FS) {
		if (!*value || strlen(value) > SV_FOREIGN_TAG)
			return sv_fail(err, EINVAL, "--vhost-user: tag=NAME has 1 to %u characters",
				SV_FOREIGN_TAG);
		strcpy(keep->tag, value);
		f->tag = keep->tag;
	} else if (value && !strcmp(text, "queues") && f->kind != SV_FOREIGN_NET) {
		rc = cli_parse_number("--vhost-user queues", value, 1, 15, &n, err);
		f->queues = (unsigned)n;
	} else {
		rc = sv_fail(err, EINVAL, "--vhost-user: '%s': socket=PATH, queues=N (not for net), tag=NAME "
			"(for fs) are known, after the type", text);
	}
	return rc;
}

static int take_one(struct run_options *o, char *text, struct sv_error *err)
{
	struct sv_foreign_config *f = &o->vm.foreign[o->vm.nforeign];
	struct run_foreign *keep = &o->foreign[o->vm.nforeign];
	char *next = NULL, *piece = strtok_r(text, ",", &next);
	int rc;

	if (o->vm.nforeign == SV_MAX_FOREIGN)
		return sv_fail(err, EINVAL, "--vhost-user: at most %u devices", SV_MAX_FOREIGN);
	*f = (struct sv_foreign_config){.queues = 0};
	rc = take_kind(f, piece, err);
	while (rc == 0 && (piece = strtok_r(NULL, ",", &next)))
		rc = take_key(keep, f, piece, err);
	if (rc == 0 && !f->path)
		rc = sv_fail(err, EINVAL, "--vhost-user %s: socket=PATH is missing", kinds[f->kind]);
	if (rc == 0 && f->kind == SV_FOREIGN_FS && !f->tag)
		rc = sv_fail(err, EINVAL, "--vhost-user fs: tag=NAME is missing: what the guest mounts");
	o->vm.nforeign += rc == 0;
	return rc;
}

int run_foreign_parse(struct run_options *o, const char *text, struct sv_error *err)
{
	char *copy = strdup(text), *next = NULL;
	int rc = copy ? 0 : sv_fail(err, ENOMEM, "out of memory");

	for (char *one = rc ? NULL : strtok_r(copy, " ", &next); one && rc == 0;
		one = strtok_r(NULL, " ", &next))
		rc = take_one(o, one, err);
	free(copy);
	return rc;
}
