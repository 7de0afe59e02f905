/* SPDX-License-Identifier: BSD-3-Clause */
#include <host/record.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"

#define SUFFIX ".placement.json"
#define RECORD_BYTES (1u << 20)

/* --- writing ----------------------------------------------------------------------------------- */

static json_t *ints(const int *value, unsigned n)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(a, json_integer(value[i]));
	return a;
}

static json_t *isolation_json(const struct sv_isolation *iso)
{
	static const char *const cpusets[] = {
		[SV_CPUSET_NONE] = "none", [SV_CPUSET_V1] = "v1", [SV_CPUSET_V2] = "v2"};
	json_t *notes = json_array();

	for (unsigned i = 0; i < iso->notes; i++)
		json_array_append_new(notes, json_string(iso->note[i]));
	return json_pack("{s:i, s:i, s:b, s:b, s:b, s:b, s:s, s:s, s:o}", "irqs_moved",
		(int)iso->irqs_moved, "irqs_refused", (int)iso->irqs_refused, "default_irq",
		iso->default_irq, "workqueue", iso->workqueue, "dma_latency", iso->dma_latency,
		"exclusive", iso->exclusive, "cpuset", cpusets[iso->cpuset], "cgroup", iso->cgroup,
		"notes", notes);
}

char *sv_record_text(const struct sv_record *r, const struct sv_isolation *iso)
{
	unsigned long long start = 0;
	json_t *o;
	char *text;

	sv_process_start("", getpid(), &start);
	o = json_pack("{s:i, s:s, s:i, s:I, s:s, s:o, s:o, s:b, s:i, s:o, s:b}", "version", 1, "name",
		r->name, "pid", (int)getpid(), "start", (json_int_t)start, "policy", r->policy,
		"vcpu_cpus", ints(r->vcpu_cpu, r->vcpus), "sidecore_cpus",
		ints(r->sidecore_cpu, r->sidecores), "private_sidecores", r->private_sidecores,
		"control_cpu", r->control_cpu, "memory_nodes", ints(r->memory_node, r->nodes),
		"share_cores", r->share_cores);
	if (o && iso)
		json_object_set_new(o, "isolation", isolation_json(iso));
	text = o ? json_dumps(o, JSON_INDENT(1)) : NULL;
	json_decref(o);
	return text;
}

int sv_record_path(const char *run_dir, const char *name, char *path, unsigned bytes)
{
	return snprintf(path, bytes, "%s/%s" SUFFIX, run_dir, name) < (int)bytes ? 0 : -ENAMETOOLONG;
}

int sv_record_save(const char *path, const char *text, struct sv_error *err)
{
	char temporary[SV_PATH_MAX];
	size_t len = strlen(text);
	int fd, rc = 0;

	if (snprintf(temporary, sizeof(temporary), "%s.%d", path, (int)getpid()) >=
		(int)sizeof(temporary))
		return sv_fail(err, ENAMETOOLONG, "%s: too long", path);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return sv_fail(err, errno, "%s: cannot be written: %s", temporary, strerror(errno));
	if (write(fd, text, len) != (ssize_t)len || write(fd, "\n", 1) != 1)
		rc = errno ? -errno : -EIO;
	close(fd);
	if (rc == 0 && rename(temporary, path) < 0)
		rc = -errno;
	if (rc < 0) {
		unlink(temporary);
		return sv_fail(err, -rc, "%s: cannot be written: %s", path, strerror(-rc));
	}
	return 0;
}

/* --- reading ----------------------------------------------------------------------------------- */

static int take_int(const char *path, const json_t *v, const char *key, int min, int max, int *out,
	struct sv_error *err)
{
	json_int_t n = json_integer_value(v);

	if (!json_is_integer(v) || n < min || n > max)
		return sv_fail(err, EINVAL, "%s: %s: expected whole numbers from %d to %d", path, key,
			min, max);
	*out = (int)n;
	return 0;
}

static int take_ints(const char *path, const json_t *o, const char *key, unsigned least,
	unsigned most, int *out, unsigned *n, struct sv_error *err)
{
	const json_t *a = json_object_get(o, key);
	int rc = 0;

	if (!json_is_array(a) || json_array_size(a) < least || json_array_size(a) > most)
		return sv_fail(err, EINVAL, "%s: %s: expected a list of %u to %u numbers", path, key,
			least, most);
	*n = (unsigned)json_array_size(a);
	for (unsigned i = 0; i < *n && rc == 0; i++)
		rc = take_int(path, json_array_get(a, i), key, least ? 0 : -1, SV_CPUS_MAX - 1,
			&out[i], err);
	return rc;
}

static void take_text(const json_t *o, const char *key, char *text, size_t bytes)
{
	const char *s = json_string_value(json_object_get(o, key));

	snprintf(text, bytes, "%s", s ? s : "");
}

static json_t *load(const char *path, struct sv_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *text = malloc(RECORD_BYTES + 1);
	json_error_t where;
	json_t *o = NULL;
	struct stat st;
	ssize_t n = -1;

	if (fd < 0 || !text || fstat(fd, &st) < 0)
		sv_fail(err, errno, "%s: %s", path, strerror(errno));
	else if (!S_ISREG(st.st_mode) || st.st_size > RECORD_BYTES)
		sv_fail(err, EINVAL, "%s: no placement file (not a file of at most 1 MiB)", path);
	else if ((n = read(fd, text, RECORD_BYTES)) < 0)
		sv_fail(err, errno, "%s: %s", path, strerror(errno));
	else if (!(o = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, &where)))
		sv_fail(err, EINVAL, "%s:%d: no placement file: %s", path, where.line, where.text);
	if (fd >= 0)
		close(fd);
	free(text);
	return o;
}

int sv_record_read(const char *path, struct sv_record *out, struct sv_error *err)
{
	struct sv_record *r;
	json_t *o = load(path, err);
	int rc, version;

	if (!o)
		return -EINVAL;
	r = calloc(1, sizeof(*r));
	if (!r) {
		json_decref(o);
		return sv_fail(err, ENOMEM, "out of memory");
	}
	take_text(o, "name", r->name, sizeof(r->name));
	take_text(o, "policy", r->policy, sizeof(r->policy));
	rc = take_int(path, json_object_get(o, "version"), "version", 1, 1, &version, err);
	if (rc == 0)
		rc = take_ints(path, o, "vcpu_cpus", 1, SV_RECORD_VCPUS, r->vcpu_cpu, &r->vcpus, err);
	if (rc == 0)
		rc = take_ints(path, o, "sidecore_cpus", 1, SV_RECORD_SIDECORES, r->sidecore_cpu,
			&r->sidecores, err);
	if (rc == 0)
		rc = take_int(path, json_object_get(o, "control_cpu"), "control_cpu", -1,
			SV_CPUS_MAX - 1, &r->control_cpu, err);
	if (rc == 0)
		rc = take_ints(path, o, "memory_nodes", 0, SV_RECORD_NODES, r->memory_node, &r->nodes,
			err);
	r->private_sidecores = json_is_true(json_object_get(o, "private_sidecores"));
	r->share_cores = json_is_true(json_object_get(o, "share_cores"));
	if (rc == 0)
		*out = *r;
	free(r);
	json_decref(o);
	return rc;
}

/* --- what the dead left ------------------------------------------------------------------------ */

static bool is_stale(const char *path)
{
	struct sv_error err;
	json_t *o = load(path, &err);
	json_int_t pid = json_integer_value(json_object_get(o, "pid"));
	json_int_t start = json_integer_value(json_object_get(o, "start"));
	bool stale = o && pid > 0 && pid < 1 << 30 &&
		     !sv_process_lives("", (pid_t)pid, (unsigned long long)start);

	json_decref(o);
	return stale;
}

void sv_record_sweep(const char *run_dir, bool dry,
	void (*removed)(void *ctx, const char *path, bool dry), void *ctx)
{
	DIR *d = opendir(run_dir);
	const struct dirent *e;
	char path[SV_PATH_MAX];

	while (d && (e = readdir(d))) {
		size_t len = strlen(e->d_name);

		if (len < sizeof(SUFFIX) || strcmp(e->d_name + len - (sizeof(SUFFIX) - 1), SUFFIX) != 0 ||
			snprintf(path, sizeof(path), "%s/%s", run_dir, e->d_name) >= (int)sizeof(path) ||
			!is_stale(path))
			continue;
		if (!dry && unlink(path) < 0)
			continue;
		if (removed)
			removed(ctx, path, dry);
	}
	if (d)
		closedir(d);
}
