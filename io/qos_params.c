/* SPDX-License-Identifier: BSD-3-Clause */
/* Parameters as a user writes them. */
#include <io/qos.h>

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define RATE_MAX (1ull << 40) /* a terabyte, or 10^12 requests, in a second */

const char *const sv_qos_keys[] = {"weight", "priority", "min-bandwidth", "max-bandwidth", "min-iops",
	"max-iops", "burst", "depth", NULL};

static const struct {
	size_t at;
	uint64_t min, max;
	const char *what;
} rule[] = {
	{offsetof(struct sv_qos_params, weight), 1, SV_QOS_WEIGHT_MAX, "a number from 1 to 10000"},
	{offsetof(struct sv_qos_params, priority), 0, SV_QOS_PRIORITIES - 1,
		"a number from 0 to 7, the highest first"},
	{offsetof(struct sv_qos_params, min_bps), 0, RATE_MAX,
		"bytes per second such as 200M, 0 for none"},
	{offsetof(struct sv_qos_params, max_bps), 0, RATE_MAX,
		"bytes per second such as 200M, 0 for none"},
	{offsetof(struct sv_qos_params, min_iops), 0, RATE_MAX, "requests per second, 0 for none"},
	{offsetof(struct sv_qos_params, max_iops), 0, RATE_MAX, "requests per second, 0 for none"},
	{offsetof(struct sv_qos_params, burst_ms), 1, 10000, "milliseconds from 1 to 10000"},
	{offsetof(struct sv_qos_params, depth), 0, 1024, "requests from 1 to 1024, 0 for no bound"},
};

void sv_qos_defaults(struct sv_qos_params *p)
{
	*p = (struct sv_qos_params){.weight = SV_QOS_WEIGHT, .burst_ms = SV_QOS_BURST_MS};
}

uint64_t sv_qos_value(const struct sv_qos_params *p, unsigned key)
{
	uint64_t v;

	memcpy(&v, (const char *)p + rule[key].at, sizeof(v));
	return v;
}

/* "200", "200K", "200M" ... Return: it is a number. */
static bool parse(const char *text, uint64_t *v)
{
	static const char unit[] = "KMGT";
	const char *u;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*v = strtoull(text, &end, 10);
	if (errno || !*end)
		return !errno;
	u = strchr(unit, *end & ~0x20);
	if (!u || (end[1] && strcmp(end + 1, "iB") != 0))
		return false;
	return !__builtin_mul_overflow(*v, 1ull << 10 * (u - unit + 1), v);
}

int sv_qos_param(struct sv_qos_params *p, const char *key, const char *value, struct sv_error *err)
{
	uint64_t v;

	for (unsigned i = 0; sv_qos_keys[i]; i++) {
		if (strcmp(key, sv_qos_keys[i]) != 0)
			continue;
		if (!value || !parse(value, &v) || v < rule[i].min || v > rule[i].max)
			return sv_fail(err, EINVAL, "%s=%s: write %s", key, value ? value : "",
				rule[i].what);
		memcpy((char *)p + rule[i].at, &v, sizeof(v));
		return 0;
	}
	return -ENOENT;
}

_Static_assert(sizeof(struct sv_qos_params) == sizeof(struct sv_control_qos), "the same, in order");

int sv_qos_from_wish(struct sv_qos_params *p, const struct sv_control_qos *wish, struct sv_error *err)
{
	struct sv_qos_params ask;

	memcpy(&ask, wish, sizeof(ask));
	if (!ask.weight)
		ask.weight = SV_QOS_WEIGHT;
	if (!ask.burst_ms)
		ask.burst_ms = SV_QOS_BURST_MS;
	for (unsigned i = 0; sv_qos_keys[i]; i++) {
		uint64_t v = sv_qos_value(&ask, i);

		if (v < rule[i].min || v > rule[i].max)
			return sv_fail(err, EINVAL, "%s=%llu: write %s", sv_qos_keys[i],
				(unsigned long long)v, rule[i].what);
	}
	if (sv_qos_check(&ask, err) < 0)
		return -EINVAL;
	*p = ask;
	return 0;
}

int sv_qos_check_wish(const struct sv_control_qos *wish, struct sv_error *err)
{
	struct sv_qos_params p;

	return sv_qos_from_wish(&p, wish, err);
}

int sv_qos_wish(struct sv_control_qos *wish, const char *key, const char *value, struct sv_error *err)
{
	struct sv_qos_params p;
	int rc;

	memcpy(&p, wish, sizeof(p));
	rc = sv_qos_param(&p, key, value, err);
	if (rc == 0)
		memcpy(wish, &p, sizeof(p));
	return rc;
}

int sv_qos_wish_text(struct sv_control_qos *wish, const char *text, struct sv_error *err)
{
	char key[32];
	size_t n = strcspn(text, "=");

	if (!text[n] || n >= sizeof(key))
		return -ENOENT;
	memcpy(key, text, n);
	key[n] = 0;
	return sv_qos_wish(wish, key, text + n + 1, err);
}

int sv_qos_check(const struct sv_qos_params *p, struct sv_error *err)
{
	if (p->max_bps && p->min_bps > p->max_bps)
		return sv_fail(err, EINVAL, "min-bandwidth=%llu is more than max-bandwidth=%llu",
			(unsigned long long)p->min_bps, (unsigned long long)p->max_bps);
	if (p->max_iops && p->min_iops > p->max_iops)
		return sv_fail(err, EINVAL, "min-iops=%llu is more than max-iops=%llu",
			(unsigned long long)p->min_iops, (unsigned long long)p->max_iops);
	return 0;
}
