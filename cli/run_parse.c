/* SPDX-License-Identifier: BSD-3-Clause */
#include "run_parse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <io/net_export.h>
#include <io/qos.h>
#include <io/uplink.h>

int run_parse_disk(struct run_options *o, char *text, struct sv_error *err)
{
	enum { PATH, READONLY, DIRECT, WRITETHROUGH, NODISCARD, PINNED, IOPOLL, QUEUES, SERIAL,
		SIDECORE, FORMAT, DEADLINE, FILTERS };
	static const char *const keys[] = {[PATH] = "path", [READONLY] = "readonly",
		[DIRECT] = "direct", [WRITETHROUGH] = "writethrough", [NODISCARD] = "nodiscard",
		[PINNED] = "pinned", [IOPOLL] = "iopoll", [QUEUES] = "queues", [SERIAL] = "serial",
		[SIDECORE] = "sidecore", [FORMAT] = "format", [DEADLINE] = "deadline",
		[FILTERS] = "filters", NULL};
	char *whole = strdup(text), *value;
	struct sv_disk_config *d = &o->vm.disk[o->vm.ndisks];
	uint64_t n;
	int rc = 0;

	if (o->vm.ndisks == SV_MAX_DISKS) {
		free(whole);
		return sv_fail(err, EINVAL, "--disk: at most %u disks", SV_MAX_DISKS);
	}
	while (*text && rc == 0) {
		int key = getsubopt(&text, (char *const *)(uintptr_t)keys, &value);

		if ((key == PATH || (key >= QUEUES && key <= FILTERS)) && !value)
			key = -1;
		if (key >= READONLY && key <= IOPOLL && value) {
			rc = sv_fail(err, EINVAL, "--disk %s: %s takes no value: write it alone, or leave "
				"it out", whole, keys[key]);
			break;
		}
		switch (key) {
		case PATH:
			d->path = value;
			break;
		case READONLY:
			d->readonly = true;
			break;
		case DIRECT:
			d->direct = true;
			break;
		case WRITETHROUGH:
			d->writethrough = true;
			break;
		case NODISCARD:
			d->no_discard = true;
			break;
		case PINNED:
			d->pinned = true;
			break;
		case IOPOLL:
			d->iopoll = true;
			break;
		case QUEUES:
			rc = cli_parse_number("--disk queues", value, 1, 64, &n, err);
			d->queues = (unsigned)n;
			break;
		case SERIAL:
			d->serial = value;
			break;
		case SIDECORE:
			rc = cli_parse_number("--disk sidecore", value, 0, 65535, &n, err);
			d->sidecore_given = true;
			d->sidecore_cpu = (int)n;
			break;
		case FORMAT:
			d->format = value;
			break;
		case FILTERS:
			d->filters = value;
			break;
		case DEADLINE:
			rc = cli_parse_number("--disk deadline", value, 1, 3600, &n, err);
			d->deadline_s = (unsigned)n;
			break;
		default:
			rc = value ? sv_qos_wish_text(&d->qos, value, err) : -ENOENT;
			if (rc != -ENOENT)
				break;
			rc = sv_fail(err, EINVAL,
				"--disk %s: write path=FILE, then readonly, direct, writethrough, "
				"nodiscard, pinned, iopoll, queues=N, serial=TEXT, sidecore=CPU, "
				"format=raw|qcow2, deadline=SECONDS, filters=NAME:FILE[+...] or what docs/qos.md lists, with commas", whole);
		}
	}
	if (rc == 0 && (!d->path || !*d->path))
		rc = sv_fail(err, EINVAL, "--disk %s: path=FILE is missing", whole);
	if (rc == 0)
		rc = sv_qos_check_wish(&d->qos, err);
	o->vm.ndisks += rc == 0;
	free(whole);
	return rc;
}

int run_parse_net(struct run_options *o, char *text, struct sv_error *err)
{
	enum { SPOOF, TRUNK };
	static char *const keys[] = {"spoof", "trunk", "switch", "mac", "vlan", "mtu", "queues", "filter", NULL};
	struct sv_net_config *n = &o->vm.net[o->vm.nnets];
	char *value;

	if (o->vm.nnets == SV_MAX_NETS)
		return sv_fail(err, EINVAL, "--net: at most %u interfaces", SV_MAX_NETS);
	*n = (struct sv_net_config){.queues = 0};
	while (*text) {
		int k = getsubopt(&text, keys, &value), rc = 0;

		if (k < 0) {
			rc = sv_qos_wish_text(&n->qos, value, err);
			if (rc == 0)
				continue;
			if (rc != -ENOENT)
				return rc;
		}
		if ((k == SPOOF || k == TRUNK) && value)
			return sv_fail(err, EINVAL, "--net: %s=%s: %s takes no value: write it alone, or "
				"leave it out", keys[k], value, keys[k]);
		if (k < 0 || (k > TRUNK && !value))
			return sv_fail(err, EINVAL, "--net: '%s': switch=NAME, mac=ADDRESS, vlan=N, mtu=N, "
				"queues=N, filter=FILTERS, spoof, trunk and what docs/qos.md lists are known", value ? value : keys[k]);
		if (k == SPOOF)
			n->spoof = true;
		else if (k == TRUNK)
			n->trunk = true;
		else
			rc = sv_net_key("--net", keys[k], value, &n->at, &n->queues, err);
		if (rc < 0)
			return rc;
	}
	if (!n->at.sw[0])
		return sv_fail(err, EINVAL, "--net: switch=NAME is missing");
	if (sv_qos_check_wish(&n->qos, err) < 0)
		return -EINVAL;
	o->vm.nnets++;
	return 0;
}

/* What is wrong with it is said here; the private sidecore takes it as it is. */
int run_parse_uplink(struct run_options *o, const char *text, struct sv_error *err)
{
	struct sv_uplink_config config;
	char *copy = strdup(text);
	int rc = copy ? sv_uplink_parse(copy, &config, err) : sv_fail(err, ENOMEM, "out of memory");

	free(copy);
	o->uplink = text;
	return rc;
}

int run_parse_prefetch(struct run_options *o, const char *text, struct sv_error *err)
{
	bool on = true;
	int rc = cli_parse_flag(text, &on, err);

	o->vm.source.no_prefetch = !on;
	return rc;
}

int run_parse_source_timeout(struct run_options *o, const char *what, const char *text,
	struct sv_error *err)
{
	uint64_t n = 0;
	int rc = cli_parse_number(what, text, 1, 3600, &n, err);

	o->vm.source.timeout_s = (unsigned)n;
	return rc;
}

/* All that an earlier --memory-source said; what options of their own said stays. */
static void forget_source(struct run_options *o)
{
	struct sv_memory_source_config *s = &o->vm.source;

	s->path = NULL;
	s->kind = SV_SOURCE_ANY;
	if (o->in_source.hot)
		s->hot = NULL;
	if (o->in_source.prefetch)
		s->no_prefetch = false;
	if (o->in_source.timeout)
		s->timeout_s = RUN_SOURCE_TIMEOUT_S;
	memset(&o->in_source, 0, sizeof(o->in_source));
	free(o->source_text);
}

/* PATH alone (which may have commas), or keys; their values are pieces of a copy that is kept. */
int run_parse_source(struct run_options *o, const char *text, struct sv_error *err)
{
	enum { FILE_KEY, UNIX, HOT, PREFETCH, TIMEOUT };
	static const char *const keys[] = {[FILE_KEY] = "file", [UNIX] = "unix", [HOT] = "hot",
		[PREFETCH] = "prefetch", [TIMEOUT] = "timeout", NULL};
	struct sv_memory_source_config *s = &o->vm.source;
	char *at, *value = NULL;
	int rc = 0;

	forget_source(o);
	o->source_text = at = strdup(text);
	if (at && strncmp(at, "file=", 5) && strncmp(at, "unix=", 5)) {
		s->path = at;
		at = NULL;
	}
	while (at && *at && rc == 0) {
		int key = getsubopt(&at, (char *const *)(uintptr_t)keys, &value);

		if (key < 0 || !value || ((key == FILE_KEY || key == UNIX) && s->path))
			return sv_fail(err, EINVAL, "--memory-source %s: write a path, or file=FILE or "
				"unix=SOCKET and then hot=FILE, prefetch=off or timeout=SECONDS, with "
				"commas", text);
		if (key == FILE_KEY || key == UNIX) {
			s->path = value;
			s->kind = key == UNIX ? SV_SOURCE_UNIX : SV_SOURCE_FILE;
		} else if (key == HOT) {
			s->hot = value;
			o->in_source.hot = true;
		} else if (key == PREFETCH) {
			o->in_source.prefetch = true;
			rc = run_parse_prefetch(o, value, err);
		} else {
			o->in_source.timeout = true;
			rc = run_parse_source_timeout(o, "--memory-source timeout", value, err);
		}
	}
	if (rc == 0 && (!s->path || !*s->path))
		rc = sv_fail(err, EINVAL, "--memory-source: the path is missing");
	return rc;
}

int run_parse_topology(struct run_options *o, const char *text, struct sv_error *err)
{
	struct sv_topology *t = &o->vm.topology;
	char tail;

	if (sscanf(text, "%u:%u:%u:%u%c", &t->sockets, &t->dies, &t->cores, &t->threads, &tail) != 4 ||
		!t->sockets || !t->dies || !t->cores || !t->threads || t->sockets > SV_MAX_VCPUS ||
		t->dies > SV_MAX_VCPUS || t->cores > SV_MAX_VCPUS || t->threads > SV_MAX_VCPUS)
		return sv_fail(err, EINVAL,
			"--topology %s: write sockets:dies:cores:threads, such as 2:1:8:2", text);
	return 0;
}

int run_parse_cpus(struct run_options *o, const char *text, struct sv_error *err)
{
	const char *s = text;
	unsigned n = 0;

	while (*s) {
		unsigned long first, last;
		char *end;

		first = last = strtoul(s, &end, 10);
		if (end == s)
			goto bad;
		if (*end == '-') {
			s = end + 1;
			last = strtoul(s, &end, 10);
			if (end == s)
				goto bad;
		}
		if (last < first || last > 65535 || (*end && *end != ',') || (*end == ',' && !end[1]))
			goto bad;
		for (unsigned long cpu = first; cpu <= last && n < SV_MAX_VCPUS; cpu++)
			o->vm.vcpu_cpu[n++] = (int)cpu;
		s = *end ? end + 1 : end;
	}
	if (!n)
		goto bad;
	for (unsigned i = n; i < SV_MAX_VCPUS; i++)
		o->vm.vcpu_cpu[i] = o->vm.vcpu_cpu[i % n];
	o->cpus_given = true;
	return 0;
bad:
	return sv_fail(err, EINVAL, "--cpus %s: write CPUs such as 2,3 or 4-7,10", text);
}

int run_add_sidecore(struct run_options *o, int cpu, struct sv_error *err)
{
	for (unsigned i = 0; i < o->sidecores; i++)
		if (o->sidecore[i] == cpu)
			return 0;
	if (o->sidecores == SV_CONTROL_SIDECORES)
		return sv_fail(err, EINVAL, "--sidecore: at most %u", SV_CONTROL_SIDECORES);
	o->sidecore[o->sidecores++] = cpu;
	return 0;
}

/* CPU, or VCPU:CPU, or FIRST-LAST:CPU; *tail: what follows. Return: false: none of them. */
static bool parse_sidecore(const char *s, long *first, long *last, long *cpu, char **tail)
{
	*first = *last = -1;
	*cpu = strtol(s, tail, 10);
	if (*tail == s || *cpu < 0)
		return false;
	if (**tail == '-' || **tail == ':') {
		*first = *last = *cpu;
		if (**tail == '-') {
			s = *tail + 1;
			*last = strtol(s, tail, 10);
			if (*tail == s || **tail != ':' || *last < *first)
				return false;
		}
		s = *tail + 1;
		*cpu = strtol(s, tail, 10);
		if (*tail == s || *cpu < 0)
			return false;
	}
	return *cpu <= 65535 && *last < (long)SV_MAX_VCPUS &&
	       (!**tail || (**tail == ',' && (*tail)[1]));
}

int run_parse_sidecores(struct run_options *o, const char *text, struct sv_error *err)
{
	const char *s = text;

	while (*s || s == text) {
		long first, last, cpu;
		char *tail;
		int rc;

		if (!parse_sidecore(s, &first, &last, &cpu, &tail))
			return sv_fail(err, EINVAL,
				"--sidecore %s: write CPUs such as 7 or 7,15, or the sidecore of each "
				"vCPU as VCPU:CPU, such as 0-6:7,7-13:15", text);
		rc = run_add_sidecore(o, (int)cpu, err);
		if (rc < 0)
			return rc;
		for (long v = first; v >= 0 && v <= last; v++)
			o->vm.vcpu_sidecore_cpu[v] = (int)cpu;
		s = *tail ? tail + 1 : tail;
	}
	return 0;
}

int run_parse_choice(const char *option, const char *text, const char *const *names,
	unsigned *value, struct sv_error *err)
{
	char all[128] = "";

	for (unsigned i = 0; names[i]; i++) {
		if (!strcmp(text, names[i])) {
			*value = i;
			return 0;
		}
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? ", " : "", names[i]);
	}
	return sv_fail(err, EINVAL, "%s %s: give one of %s", option, text, all);
}

int run_parse_name(struct run_options *o, const char *text, struct sv_error *err)
{
	size_t len = strlen(text);

	if (!len || len >= sizeof(o->name) ||
		strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != len)
		return sv_fail(err, EINVAL,
			"--name %s: use 1 to %zu letters, digits, '.', '_' or '-'", text,
			sizeof(o->name) - 1);
	strcpy(o->name, text);
	return 0;
}
