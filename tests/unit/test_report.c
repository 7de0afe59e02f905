/* SPDX-License-Identifier: BSD-3-Clause */
/* The plan as text and as JSON. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "plan_by_hand.h"

static int plain(
	FILE *f, const struct sv_machine *m, const struct sv_plan *plan, struct sv_error *err)
{
	return sv_report_text(f, m, plan, false, err);
}

static int coloured(
	FILE *f, const struct sv_machine *m, const struct sv_plan *plan, struct sv_error *err)
{
	return sv_report_text(f, m, plan, true, err);
}

Test(report, text_of_a_small_machine)
{
	static const char want[] =
		"small: Test CPU, 8 CPUs\n"
		"policy locality: 1 guest, 1 sidecore\n"
		"\n"
		"package 0: 4 cores, memory of node 0\n"
		"  L3 0  0-3  HH A- A- S-\n"
		"  letter guest; S sidecore; H housekeeping; - sibling left idle; one sign per thread\n"
		"\n"
		"sidecores\n"
		"  CPU 3      2 guest cores near its guest\n"
		"guests\n"
		"  A  web: 2 vCPUs on 2 cores, CPUs 1-2; memory of node 0; control CPU 0, devices by sidecore 3\n"
		"       all in one L3\n"
		"housekeeping    CPUs 0,4\n"
		"idle siblings   CPUs 5-7\n"
		"predicted       a line takes 30 ns between guest core and sidecore, at worst 30 ns (modelled)\n"
		"note: a note\n";
	struct sv_machine *m = machine_by_hand();
	struct sv_plan *plan = plan_by_hand("web");
	char *text = report_text(plain, m, plan);

	cr_expect_str_eq(text, want);
	free(text);
	sv_plan_free(plan);
	sv_machine_free(m);
}

/* Lines and columns of a text; escapes are not counted. */
static void extent(const char *text, unsigned *lines, unsigned *columns)
{
	unsigned column = 0;

	*lines = *columns = 0;
	for (const char *s = text; *s; s++) {
		if (*s == '\033')
			s = strchr(s, 'm');
		else if (*s == '\n') {
			++*lines;
			column = 0;
		} else if (++column > *columns) {
			*columns = column;
		}
	}
}

Test(report, a_128_core_epyc_fits_a_screen_of_100_by_50)
{
	static const char *const epycs[] = {"pack:2 numa:1 l3:8 core:8 pu:2(indexes=2*128:1*2)",
		"pack:2 numa:4 l3:2 core:8 pu:2(indexes=2*128:1*2)",
		"pack:1 numa:4 l3:4 core:8 pu:2", "pack:2 numa:1 l3:16 core:4 pu:2"};

	for (unsigned i = 0; i < sizeof(epycs) / sizeof(epycs[0]); i++) {
		struct sv_machine *m = machine_of(epycs[i]);
		unsigned guests = i == 3 ? 1 : 4, lines, columns;
		struct sv_plan *plan = plan_of(m, guests, i == 3 ? 40 : 24, SV_PLAN_LOCALITY);
		char *text = report_text(coloured, m, plan);

		extent(text, &lines, &columns);
		cr_expect_leq(lines, 50, "%s: %u lines", epycs[i], lines);
		cr_expect_leq(columns, 100, "%s: %u columns\n%s", epycs[i], columns, text);
		free(text);
		sv_plan_free(plan);
		sv_machine_free(m);
	}
}

Test(report, no_line_is_wider_than_100_columns_and_none_ends_in_a_space)
{
	static const char *const machines[] = {"core:2 pu:1", "pack:16 numa:1 l3:4 core:8 pu:2",
		"core:200 pu:4", "pack:128 core:2 pu:1", "numa:1 core:64 pu:1"};

	for (unsigned i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
		struct sv_machine *m = machine_of(machines[i]);
		unsigned lines, columns, guests = m->cores > 100 ? 60 : 1;
		struct sv_plan *plan = plan_of(m, guests, 1, SV_PLAN_LOCALITY);
		char *text = report_text(plain, m, plan);

		extent(text, &lines, &columns);
		cr_expect_leq(columns, 100, "%s: %u columns\n%s", machines[i], columns, text);
		cr_expect(!strstr(text, " \n"), "%s\n%s", machines[i], text);
		free(text);
		sv_plan_free(plan);
		sv_machine_free(m);
	}
}

Test(report, no_control_character_reaches_the_terminal)
{
	struct sv_machine *m = machine_by_hand();
	struct sv_plan *plan = plan_by_hand("web");
	char *text;

	snprintf(m->name, sizeof(m->name), "evil\033[2J\a\x7f");
	snprintf(plan->note[0], sizeof(plan->note[0]), "a\033]0;title\a");
	text = report_text(plain, m, plan);
	cr_expect(strstr(text, "evil?[2J??: "));
	for (const char *s = text; *s; s++)
		cr_expect(*s == '\n' || ((unsigned char)*s >= 0x20 && *s != 0x7f));
	free(text);
	sv_plan_free(plan);
	sv_machine_free(m);
}

static json_t *json_of(const struct sv_machine *m, const struct sv_plan *plan)
{
	char *text = report_text(sv_report_json, m, plan);
	json_error_t e;
	json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &e);

	cr_assert(j, "%s", e.text);
	free(text);
	return j;
}

Test(report, json_has_everything)
{
	struct sv_machine *m = machine_by_hand();
	struct sv_plan *plan = plan_by_hand("web");
	json_t *j = json_of(m, plan), *core, *want;
	const char *key;
	unsigned i = 0;
	static const char *const keys[] = {"schema", "machine", "policy", "latency", "sidecores",
		"guests", "housekeeping", "shared_housekeeping", "shared_core", "idle", "cores",
		"notes"};
	json_t *value;

	json_object_foreach(j, key, value)
	{
		cr_assert_lt(i, 12);
		cr_expect_str_eq(key, keys[i++], "the order of keys");
	}
	cr_expect_eq(i, 12);
	want = json_pack("{s:i, s:i, s:s, s:i, s:i, s:i, s:f, s:s}", "cpu", 3, "core", 3, "domain",
		"L3 0", "package", 0, "node", 0, "guest_cores", 2, "line_ns", 30.0, "why",
		"near its guest");
	cr_expect(json_equal(json_array_get(json_object_get(j, "sidecores"), 0), want));
	json_decref(want);
	want = json_pack("{s:s, s:i, s:b, s:[i], s:i, s:i, s:s, s:[{s:i, s:i, s:i, s:i, s:s, s:f}, "
			 "{s:i, s:i, s:i, s:i, s:s, s:f}]}",
		"name", "web", "cores", 2, "shares_cores", 0, "nodes", 0, "control_cpu", 0,
		"device_sidecore_cpu", 3, "why", "all in one L3", "vcpus", "vcpu", 0, "cpu", 1,
		"core", 1, "sidecore_cpu", 3, "shares", "L3", "line_ns", 30.0, "vcpu", 1, "cpu", 2,
		"core", 2, "sidecore_cpu", 3, "shares", "L3", "line_ns", 30.0);
	cr_expect(json_equal(json_array_get(json_object_get(j, "guests"), 0), want));
	json_decref(want);
	core = json_array_get(json_object_get(j, "cores"), 1);
	cr_expect_str_eq(json_string_value(json_object_get(core, "role")), "guest");
	cr_expect_str_eq(json_string_value(json_object_get(core, "guest")), "web");
	cr_expect_eq(json_integer_value(json_array_get(json_object_get(core, "cpus"), 1)), 5);
	cr_expect_str_eq(json_string_value(json_object_get(j, "schema")), "sidevisor-plan/1");
	json_decref(j);
	sv_plan_free(plan);
	sv_machine_free(m);
}

Test(report, json_of_a_name_that_is_no_text)
{
	struct sv_machine *m = machine_by_hand();
	struct sv_plan *plan = plan_by_hand("web");
	json_t *j;

	snprintf(m->name, sizeof(m->name), "\xff\xfe");
	j = json_of(m, plan);
	cr_expect_str_eq(
		json_string_value(json_object_get(json_object_get(j, "machine"), "name")), "?");
	json_decref(j);
	sv_plan_free(plan);
	sv_machine_free(m);
}

Test(report, the_same_plan_gives_the_same_bytes)
{
	report_fn *const fn[] = {plain, sv_report_json, sv_report_svg};
	struct sv_machine *a = machine_of("pack:2 l3:4 core:6 pu:2"),
			  *b = machine_of("pack:2 l3:4 core:6 pu:2");
	struct sv_plan *pa = plan_of(a, 5, 6, SV_PLAN_SPREAD),
		       *pb = plan_of(b, 5, 6, SV_PLAN_SPREAD);

	for (unsigned i = 0; i < 3; i++) {
		char *x = report_text(fn[i], a, pa), *y = report_text(fn[i], b, pb);

		cr_expect_str_eq(x, y);
		free(x);
		free(y);
	}
	sv_plan_free(pa);
	sv_plan_free(pb);
	sv_machine_free(a);
	sv_machine_free(b);
}
