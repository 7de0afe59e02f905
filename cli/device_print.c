/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices as people read them. */
#include "device.h"

#include <stdio.h>
#include <string.h>

#include <io/qos.h>

static long long number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "-";
}

/* The sum of an object's numbers. */
static long long sum(const json_t *o)
{
	const char *key;
	json_t *value;
	long long n = 0;

	json_object_foreach((json_t *)(uintptr_t)o, key, value)
		n += json_integer_value(value);
	return n;
}

/* A count in at most five characters; powers of @k. */
static const char *brief(long long n, long long k, char out[32])
{
	static const char unit[] = " KMGTP";
	unsigned u = 0;
	double v = (double)n;

	while (v >= 10000 && u < 5) {
		v /= (double)k;
		u++;
	}
	snprintf(out, 32, u ? "%.0f%c" : "%.0f", v, unit[u]);
	return out;
}

static const char *duration(long long ns, char out[32])
{
	if (ns < 10000)
		snprintf(out, 32, "%lld ns", ns);
	else if (ns < 10000000)
		snprintf(out, 32, "%lld us", ns / 1000);
	else if (ns < 10000000000)
		snprintf(out, 32, "%lld ms", ns / 1000000);
	else
		snprintf(out, 32, "%lld s", ns / 1000000000);
	return out;
}

static const char *bounds(const json_t *q, const char *bytes, const char *ops, char out[80])
{
	char b[32], o[32];
	long long nb = number(q, bytes), no = number(q, ops);

	if (!nb && !no)
		return "-";
	snprintf(out, 80, "%s%s%s%s", nb ? brief(nb, 1024, b) : "", nb ? "B" : "", nb && no ? "," : "",
		no ? brief(no, 1000, o) : "");
	return out;
}

static void print_row(const json_t *d)
{
	const json_t *q = json_object_get(d, "qos"), *all;
	char name[72], ops[32], bytes[32], p50[32], p99[32], held[32], min[80], max[80];

	snprintf(name, sizeof(name), "%s/%s", text(d, "vm"), text(d, "name"));
	if (!json_object_size(q)) {
		printf("%-24s %-8s %4lld\n", name, text(d, "class"), number(d, "sidecore_cpu"));
		return;
	}
	all = json_object_get(json_object_get(q, "latency_ns"), "all");
	printf("%-24s %-8s %4lld %6lld %4lld %11s %11s %7s %7s %4lld %8s %8s %9s\n", name,
		text(d, "class"), number(d, "sidecore_cpu"), number(q, "weight"), number(q, "priority"),
		bounds(q, "min-bandwidth", "min-iops", min), bounds(q, "max-bandwidth", "max-iops", max),
		brief(sum(json_object_get(q, "operations")), 1000, ops),
		brief(sum(json_object_get(q, "bytes")), 1024, bytes), number(q, "outstanding"),
		all ? duration(number(all, "p50"), p50) : "-", all ? duration(number(all, "p99"), p99) : "-",
		duration(number(q, "throttled_ns"), held));
}

void device_print_list(const json_t *devices)
{
	json_t *d;
	size_t i;

	printf("%-24s %-8s %4s %6s %4s %11s %11s %7s %7s %4s %8s %8s %9s\n", "VM/DEVICE", "CLASS", "CPU",
		"WEIGHT", "PRIO", "MIN", "MAX", "OPS", "BYTES", "OUT", "P50", "P99", "THROTTLED");
	json_array_foreach((json_t *)(uintptr_t)devices, i, d)
		print_row(d);
}

static void print_latency(const json_t *latency)
{
	const char *kind;
	json_t *h;

	json_object_foreach((json_t *)(uintptr_t)latency, kind, h) {
		char t[6][32];

		if (!number(h, "count"))
			continue;
		printf("  %-6s %12lld times, mean %s, p50 %s, p90 %s, p99 %s, p99.9 %s, max %s\n", kind,
			number(h, "count"), duration(number(h, "mean"), t[0]),
			duration(number(h, "p50"), t[1]), duration(number(h, "p90"), t[2]),
			duration(number(h, "p99"), t[3]), duration(number(h, "p999"), t[4]),
			duration(number(h, "max"), t[5]));
	}
}

static void print_settings(const json_t *q)
{
	for (unsigned i = 0; sv_qos_keys[i]; i++)
		printf("%s%s=%lld", i ? " " : "", sv_qos_keys[i], number(q, sv_qos_keys[i]));
	puts("");
}

static void print_others(const json_t *d)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)d, key, value) {
		if (json_is_integer(value) && json_integer_value(value))
			printf("  %-24s %lld\n", key, (long long)json_integer_value(value));
		else if (json_is_string(value) && strcmp(key, "vm") && strcmp(key, "name") &&
			 strcmp(key, "class"))
			printf("  %-24s %s\n", key, json_string_value(value));
	}
}

void device_print_one(const json_t *d)
{
	const json_t *q = json_object_get(d, "qos");
	char throttled[32], held[32];

	printf("%s/%s: %s on the sidecore of CPU %lld\n", text(d, "vm"), text(d, "name"),
		text(d, "class"), number(d, "sidecore_cpu"));
	if (json_object_size(q)) {
		print_settings(q);
		printf("outstanding %lld, at most %lld; its store has room for %lld\n",
			number(q, "outstanding"), number(q, "outstanding_max"), number(q, "store_depth"));
		printf("kept back %s by its maximum, %s by others\n",
			duration(number(q, "throttled_ns"), throttled),
			duration(number(q, "held_ns"), held));
		print_latency(json_object_get(q, "latency_ns"));
	}
	print_others(d);
}
