/* SPDX-License-Identifier: BSD-3-Clause */
/* The forms of values: sizes, lists of CPUs, names. The units are those of the command line. */
#include "schema.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define CPU_MAX 65535u

bool form_number(const char *text, unsigned min, unsigned max, unsigned *value)
{
	unsigned long n;

	/* No sign, no blank, no octal. */
	if (!isdigit((unsigned char)*text) || (text[0] == '0' && text[1]) || strlen(text) > 9 ||
		text[strspn(text, "0123456789")])
		return false;
	n = strtoul(text, NULL, 10);
	*value = (unsigned)n;
	return n >= min && n <= max;
}

bool form_size(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	size_t digits = strspn(text, "0123456789");
	const char *unit = text + digits, *found;
	unsigned shift = 0;
	uint64_t n;

	if (!digits || digits > 18)
		return false;
	n = strtoull(text, NULL, 10);
	if (*unit) {
		found = strchr(units, *unit & ~0x20);
		if (!found || (unit[1] && strcmp(unit + 1, "iB") != 0))
			return false;
		shift = 10u * (unsigned)(found - units + 1);
	}
	if (n > (UINT64_MAX >> shift))
		return false;
	*bytes = n << shift;
	return true;
}

static bool take_cpu(const char **s, unsigned *cpu)
{
	size_t digits = strspn(*s, "0123456789");

	if (!digits || digits > 5)
		return false;
	*cpu = (unsigned)strtoul(*s, NULL, 10);
	*s += digits;
	return *cpu <= CPU_MAX;
}

int form_cpus(const char *text, int *cpu, unsigned max)
{
	const char *s = text;
	unsigned first, last, n = 0;

	for (;;) {
		if (!take_cpu(&s, &first))
			return -1;
		last = first;
		if (*s == '-') {
			s++;
			if (!take_cpu(&s, &last) || last < first)
				return -1;
		}
		if (n + (last - first) > CPU_MAX)
			return -1;
		for (unsigned i = first; i <= last; i++, n++)
			if (n < max)
				cpu[n] = (int)i;
		if (!*s)
			return (int)n;
		if (*s++ != ',')
			return -1;
	}
}

/* Parts with commas between: a CPU, or one vCPU or a range of them, a colon and a CPU. */
static bool is_sidecores(const char *text)
{
	unsigned first, last;

	for (;;) {
		if (!take_cpu(&text, &first))
			return false;
		last = first;
		if (*text == '-') {
			text++;
			if (!take_cpu(&text, &last) || *text != ':')
				return false;
		}
		if (*text == ':') {
			text++;
			if (last < first || last >= SV_PROFILE_VCPUS || !take_cpu(&text, &first))
				return false;
		}
		if (!*text)
			return true;
		if (*text++ != ',')
			return false;
	}
}

int form_bool(const char *text)
{
	static const char *const words[] = {"off", "on", "no", "yes", "false", "true"};

	for (unsigned i = 0; i < 6; i++)
		if (!strcmp(text, words[i]))
			return (int)(i & 1);
	return -1;
}

/* Four numbers from 1 to SV_PROFILE_VCPUS with colons between. */
bool form_topology(const char *text, unsigned part[4])
{
	for (unsigned i = 0; i < 4; i++) {
		size_t digits = strspn(text, "0123456789");

		if (!digits || digits > 4 || text[digits] != (i < 3 ? ':' : '\0'))
			return false;
		part[i] = (unsigned)strtoul(text, NULL, 10);
		if (!part[i] || part[i] > SV_PROFILE_VCPUS)
			return false;
		text += digits + 1;
	}
	return true;
}

static bool is_name(const char *text, size_t max)
{
	size_t n = strlen(text);

	return n > 0 && n <= max && strspn(text,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

/* [DDDD:]BB:DD.F */
static bool is_pci(const char *text)
{
	static const char full[] = "xxxx:xx:xx.x";
	const char *form = strlen(text) == 7 ? full + 5 : full;

	if (strlen(text) != strlen(form))
		return false;
	for (; *text; text++, form++)
		if (*form == 'x' ? !isxdigit((unsigned char)*text) : *text != *form)
			return false;
	return true;
}

/* Interface names have no '/' and no blanks, and 15 characters at most. */
static bool is_device(const char *text)
{
	size_t n = strlen(text);

	if (is_pci(text))
		return true;
	if (!n || n > 15 || !strcmp(text, ".") || !strcmp(text, ".."))
		return false;
	for (; *text; text++)
		if (*text == '/' || *text == ':' || isspace((unsigned char)*text))
			return false;
	return true;
}

/* aa:bb:cc:dd:ee:ff, and not of a group. */
static bool is_mac(const char *text)
{
	for (unsigned i = 0; i < 17; i++)
		if (i % 3 == 2 ? text[i] != ':' : !isxdigit((unsigned char)text[i]))
			return false;
	return !text[17] && !strchr("13579bBdDfF", text[1]);
}

static bool has_form(const struct rule *rule, const char *text)
{
	unsigned part[4], n;
	uint64_t bytes;

	switch (rule->form) {
	case FORM_NAME:
		return is_name(text, 31);
	case FORM_SWITCH:
		return is_name(text, 15);
	case FORM_MAC:
		return is_mac(text);
	case FORM_PATH:
	case FORM_INHERITS:
		return *text && strlen(text) < 4096;
	case FORM_SIZE:
		return form_size(text, &bytes) && bytes > 0;
	case FORM_TOPOLOGY:
		return form_topology(text, part);
	case FORM_CPUS:
		n = (unsigned)form_cpus(text, NULL, 0);
		return n >= 1 && n <= rule->max;
	case FORM_SIDECORES:
		return is_sidecores(text);
	case FORM_IDLE:
		return !strcmp(text, "never") || form_number(text, 0, 999999999, &n);
	case FORM_AUTO_NUMBER:
		return !strcmp(text, "auto") || form_number(text, rule->min, rule->max, &n);
	case FORM_HOUSEKEEPING:
		return !strcmp(text, "auto") || form_number(text, rule->min, rule->max, &n) ||
			(text[strcspn(text, ",-")] && form_cpus(text, NULL, 0) > 0);
	case FORM_DEVICE:
		return is_device(text);
	case FORM_NUMBER:
		return form_number(text, rule->min, rule->max, &n);
	case FORM_POWER_OF_TWO:
		return form_number(text, rule->min, rule->max, &n) && !(n & (n - 1));
	case FORM_BOOL:
		return form_bool(text) >= 0;
	default:
		return true;
	}
}

const char *form_check(const struct rule *rule, const char *text)
{
	return has_form(rule, text) ? NULL : rule->key.expected;
}
