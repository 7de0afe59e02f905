/* SPDX-License-Identifier: BSD-3-Clause */
#include <placement/latencies.h>

#include <errno.h>
#include <fcntl.h>
#include <hwloc.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCHEMA "sidevisor-latencies/1"
#define SIBLING_PAIRS 8u

/* --- what to measure ---------------------------------------------------------------------------
 */

/* Every @stride-th pair of each level, counted from the first. */
static unsigned take_pairs(
	const struct sv_machine *m, const uint64_t *stride, struct sv_latency_pair *pair)
{
	uint64_t seen[SV_NEARS] = {0};
	unsigned n = 0, siblings = 0;

	for (unsigned i = 0; i < m->cores; i++) {
		if (m->core[i].threads > 1 && siblings++ < SIBLING_PAIRS) {
			if (pair)
				pair[n] = (struct sv_latency_pair){.a = m->core[i].cpu[0],
					.b = m->core[i].cpu[1],
					.near = SV_NEAR_CORE};
			n++;
		}
		for (unsigned k = i + 1; k < m->cores; k++) {
			enum sv_near near = sv_machine_near(m, i, k);

			if (seen[near]++ % stride[near])
				continue;
			if (pair)
				pair[n] = (struct sv_latency_pair){.a = m->core[i].cpu[0],
					.b = m->core[k].cpu[0],
					.near = near};
			n++;
		}
	}
	return n;
}

static void choose_strides(const struct sv_machine *m, unsigned most, uint64_t *stride)
{
	uint64_t count[SV_NEARS] = {0}, total = 0, each;
	unsigned levels = 0;

	for (unsigned i = 0; i < m->cores; i++)
		for (unsigned k = i + 1; k < m->cores; k++)
			count[sv_machine_near(m, i, k)]++;
	for (unsigned l = 0; l < SV_NEARS; l++) {
		total += count[l];
		levels += count[l] > 0;
	}
	each = levels ? most / levels : most;
	for (unsigned l = 0; l < SV_NEARS; l++) {
		stride[l] = total <= most || !each ? 1 : (count[l] + each - 1) / each;
		if (!stride[l])
			stride[l] = 1;
		/* An odd step does not fall into step with rows of even length. */
		if (stride[l] > 1)
			stride[l] |= 1;
	}
}

int sv_latency_pairs(const struct sv_machine *m, unsigned most, struct sv_latency_pair **pairs)
{
	uint64_t stride[SV_NEARS];
	unsigned n;

	choose_strides(m, most, stride);
	n = take_pairs(m, stride, NULL);
	*pairs = calloc(n + 1, sizeof(**pairs));
	return *pairs ? (int)take_pairs(m, stride, *pairs) : -ENOMEM;
}

/* --- in use ------------------------------------------------------------------------------------
 */

static int by_number(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return x < y ? -1 : x > y;
}

static int by_ns(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static unsigned index_of(const struct sv_latencies *l, int cpu)
{
	const int *at = bsearch(&cpu, l->cpu, l->n, sizeof(*l->cpu), by_number);

	return at ? (unsigned)(at - l->cpu) : UINT32_MAX;
}

static bool usable(const struct sv_machine *m, const struct sv_latency_pair *p)
{
	return p->ns > 0 && sv_machine_core_of(m, p->a) >= 0 && sv_machine_core_of(m, p->b) >= 0;
}

static int fill(const struct sv_machine *m, struct sv_latencies *l,
	const struct sv_latency_pair *pair, unsigned n)
{
	double *ns = malloc((n + 1) * sizeof(*ns));

	if (!ns)
		return -ENOMEM;
	for (unsigned level = 0; level < SV_NEARS; level++) {
		unsigned k = 0;

		for (unsigned i = 0; i < n; i++)
			if (usable(m, &pair[i]) &&
				sv_machine_near(m, (unsigned)sv_machine_core_of(m, pair[i].a),
					(unsigned)sv_machine_core_of(m, pair[i].b)) == level)
				ns[k++] = pair[i].ns;
		qsort(ns, k, sizeof(*ns), by_ns);
		l->level[level] = k ? ns[k / 2] : 0;
	}
	free(ns);
	for (unsigned i = 0; i < n; i++) {
		unsigned a = index_of(l, pair[i].a), b = index_of(l, pair[i].b);

		if (a < l->n && b < l->n && pair[i].ns > 0)
			l->ns[(size_t)a * l->n + b] = l->ns[(size_t)b * l->n + a] =
				(float)pair[i].ns;
	}
	return 0;
}

static void free_latencies(struct sv_latencies *l)
{
	if (l) {
		free(l->cpu);
		free(l->ns);
	}
	free(l);
}

int sv_latencies_use(
	struct sv_machine *m, const struct sv_latency_pair *pair, unsigned n, struct sv_error *err)
{
	struct sv_latencies *l = calloc(1, sizeof(*l));
	unsigned k = 0;

	if (l)
		l->cpu = malloc((2 * (size_t)n + 1) * sizeof(*l->cpu));
	if (!l || !l->cpu)
		goto no_memory;
	for (unsigned i = 0; i < n; i++)
		if (usable(m, &pair[i])) {
			l->cpu[k++] = pair[i].a;
			l->cpu[k++] = pair[i].b;
		}
	qsort(l->cpu, k, sizeof(*l->cpu), by_number);
	for (unsigned i = 0; i < k; i++)
		if (!l->n || l->cpu[l->n - 1] != l->cpu[i])
			l->cpu[l->n++] = l->cpu[i];
	if (!l->n || l->n > SV_LATENCY_CPUS) {
		k = l->n;
		free_latencies(l);
		return sv_fail(err, EINVAL,
			"latencies of %u CPUs of %s; they can be used for 1 to %u", k, m->name,
			SV_LATENCY_CPUS);
	}
	l->ns = calloc((size_t)l->n * l->n, sizeof(*l->ns));
	if (!l->ns || fill(m, l, pair, n) < 0)
		goto no_memory;
	free_latencies(m->measured);
	m->measured = l;
	return 0;
no_memory:
	free_latencies(l);
	return sv_fail(err, ENOMEM, "out of memory");
}

/* --- the file ----------------------------------------------------------------------------------
 */

int sv_latencies_path(char *path, size_t bytes)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n;

	if (geteuid() == 0)
		n = snprintf(path, bytes, "/var/lib/sidevisor/latencies.json");
	else if (cache && *cache == '/')
		n = snprintf(path, bytes, "%s/sidevisor/latencies.json", cache);
	else
		n = snprintf(path, bytes, "%s/.cache/sidevisor/latencies.json", home ? home : "");
	return n < 0 || (size_t)n >= bytes ? -ENAMETOOLONG : 0;
}

/* Of the kind of machine, whatever part of it this process may use. */
static void identity(const struct sv_machine *m, char *text, size_t bytes)
{
	hwloc_obj_t pkg = hwloc_get_obj_by_type(m->topo, HWLOC_OBJ_PACKAGE, 0);
	const char *model = pkg ? hwloc_obj_get_info_by_name(pkg, "CPUModel") : NULL;

	snprintf(text, bytes, "%.80s, %ld CPUs", model ? model : "unknown CPU",
		m->here ? sysconf(_SC_NPROCESSORS_CONF) : (long)m->cpus);
}

static json_t *to_json(const struct sv_machine *m, const struct sv_latency_pair *pair, unsigned n)
{
	json_t *j = json_object(), *list = json_array();
	char who[128];

	identity(m, who, sizeof(who));
	for (unsigned i = 0; i < n; i++)
		if (pair[i].ns > 0)
			json_array_append_new(
				list, json_pack("[i,i,f]", pair[i].a, pair[i].b, pair[i].ns));
	json_object_set_new(j, "schema", json_string(SCHEMA));
	json_object_set_new(j, "identity", json_string(who));
	json_object_set_new(j, "one_way_ns", list);
	return j;
}

/* The directories of the path that are not there. What fails shows when the file is made. */
static void make_directories(const char *path)
{
	char dir[4096];

	snprintf(dir, sizeof(dir), "%s", path);
	for (char *s = strchr(dir + 1, '/'); s && *dir == '/'; s = strchr(s + 1, '/')) {
		*s = 0;
		mkdir(dir, 0755);
		*s = '/';
	}
}

int sv_latencies_save(const struct sv_machine *m, const struct sv_latency_pair *pair, unsigned n,
	const char *path, struct sv_error *err)
{
	json_t *j = to_json(m, pair, n);
	char *beside = NULL;
	int fd, rc = 0;

	make_directories(path);
	fd = asprintf(&beside, "%s.XXXXXX", path) < 0 ? -1 : mkostemp(beside, O_CLOEXEC);
	if (fd < 0) {
		rc = sv_fail(err, errno, "%s: %s", path, strerror(errno));
	} else {
		fchmod(fd, 0644);
		if (json_dumpfd(j, fd, JSON_REAL_PRECISION(5) | JSON_COMPACT) < 0 ||
			fsync(fd) < 0 || rename(beside, path) < 0) {
			rc = sv_fail(err, errno ? errno : EIO, "%s: %s", path,
				strerror(errno ? errno : EIO));
			unlink(beside);
		}
		close(fd);
	}
	free(beside);
	json_decref(j);
	return rc;
}

static json_t *read_json(const char *path, struct sv_error *err, int *rc)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	json_error_t why;
	struct stat st;
	json_t *j;

	if (fd < 0) {
		*rc = sv_fail(err, errno, "%s: %s", path, strerror(errno));
		return NULL;
	}
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > SV_LATENCY_BYTES) {
		*rc = sv_fail(err, EINVAL,
			"%s: not a file of latencies (a regular file of at most %u MiB)", path,
			SV_LATENCY_BYTES >> 20);
		close(fd);
		return NULL;
	}
	j = json_loadfd(fd, JSON_REJECT_DUPLICATES, &why);
	close(fd);
	if (!j)
		*rc = sv_fail(err, EINVAL, "%s:%d: %.200s", path, why.line, why.text);
	return j;
}

static int read_pairs(const char *path, const json_t *list, struct sv_latency_pair *pair,
	unsigned n, struct sv_error *err)
{
	for (unsigned i = 0; i < n; i++) {
		const json_t *p = json_array_get(list, i);
		json_int_t a = json_integer_value(json_array_get(p, 0));
		json_int_t b = json_integer_value(json_array_get(p, 1));
		double ns = json_number_value(json_array_get(p, 2));

		if (json_array_size(p) != 3 || a < 0 || b < 0 || a > 1 << 20 || b > 1 << 20 ||
			a == b || !(ns > 0 && ns < 1e9))
			return sv_fail(err, EINVAL,
				"%s: entry %u of one_way_ns: expected [CPU, CPU, "
				"nanoseconds]",
				path, i);
		pair[i] = (struct sv_latency_pair){.a = (int)a, .b = (int)b, .ns = ns};
	}
	return 0;
}

static int take(struct sv_machine *m, const char *path, const json_t *j, struct sv_error *err)
{
	const char *schema = json_string_value(json_object_get(j, "schema"));
	const char *whose = json_string_value(json_object_get(j, "identity"));
	const json_t *list = json_object_get(j, "one_way_ns");
	struct sv_latency_pair *pair;
	unsigned n = (unsigned)json_array_size(list);
	char who[128];
	int rc;

	if (!schema || strcmp(schema, SCHEMA) != 0 || !whose || !json_is_array(list) || !n)
		return sv_fail(err, EINVAL,
			"%s: not of schema " SCHEMA "; `sidevisor plan --measure` "
			"writes such a file",
			path);
	identity(m, who, sizeof(who));
	if (m->here && strcmp(who, whose) != 0)
		return sv_fail(err, ESTALE,
			"%s: measured on another machine (%.100s; this is %.100s); "
			"measure here with `sidevisor plan --measure`",
			path, whose, who);
	pair = calloc(n, sizeof(*pair));
	if (!pair)
		return sv_fail(err, ENOMEM, "out of memory");
	rc = read_pairs(path, list, pair, n, err);
	if (rc == 0)
		rc = sv_latencies_use(m, pair, n, err);
	free(pair);
	return rc;
}

int sv_latencies_load(struct sv_machine *m, const char *path, struct sv_error *err)
{
	int rc = 0;
	json_t *j = read_json(path, err, &rc);

	if (!j)
		return rc;
	rc = take(m, path, j, err);
	json_decref(j);
	return rc;
}
