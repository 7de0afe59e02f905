/* SPDX-License-Identifier: BSD-3-Clause */
#include "profile_once.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <profiles/profile.h>

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stdout, "broken promise: %s (%s:%d)\n", #cond, __FILE__,           \
				__LINE__);                                                         \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* A sentence is one line that a terminal can show, and names the file. */
static void check_sentence(void *ctx, const char *sentence)
{
	++*(unsigned *)ctx;
	CHECK(!strncmp(sentence, "fuzz", 4));
	CHECK(strlen(sentence) < sizeof(((struct sv_error *)NULL)->text));
	for (const char *s = sentence; *s; s++) {
		CHECK((unsigned char)*s >= 0x20 && *s != 0x7f);
		CHECK(memcmp(s, "\xc2\x9b", 2)); /* CSI */
	}
}

static void check_values(const struct sv_profile *p)
{
	size_t n;
	const struct sv_profile_value *v = sv_profile_values(p, &n);

	for (size_t i = 0; i < n; i++) {
		CHECK(v[i].key && (v[i].is_list ? !v[i].text : v[i].text && v[i].given));
		CHECK(!v[i].file || (v[i].line && v[i].column));
		CHECK(v[i].list || sv_profile_find(p, v[i].key) == &v[i]);
	}
	if (sv_profile_guest(p)) {
		struct sv_profile_placement out;

		sv_profile_placement(p, &out);
		CHECK(out.vcpus >= 1 && out.vcpus <= SV_PROFILE_VCPUS && out.memory_bytes > 0);
		CHECK(sv_profile_guest(p)->disks_count <= SV_PROFILE_GUEST_DISKS);
		for (unsigned i = 0; i < sv_profile_guest(p)->disks_count; i++)
			CHECK(sv_profile_guest(p)->disks[i].path);
	} else {
		struct sv_profile_node_policy out;

		CHECK(sv_profile_node_policy(p, &out) == 0);
		CHECK(sv_profile_node(p)->disks_count <= SV_PROFILE_NODE_DISKS);
		sv_profile_node_policy_free(&out);
	}
}

int profile_once(const uint8_t *data, size_t size, int want)
{
	unsigned said = 0;
	struct sv_profile_report r = {.problem = check_sentence, .ctx = &said};
	struct sv_profile *p = NULL;
	int rc = sv_profile_parse((const char *)data, size, "fuzz.yaml", want, &p, &r);

	CHECK(said == r.problems);
	CHECK((rc == 0) == (r.problems == 0) && (rc == 0) == (p != NULL));
	/* libcyaml never knows better than the check before it. */
	CHECK(strncmp(r.first.text, "fuzz.yaml: not what the schema", 30));
	if (p)
		check_values(p);
	sv_profile_free(p);
	return rc == 0;
}

/* What is written is a profile that loads. */
int v3m_once(const uint8_t *data, size_t size)
{
	unsigned said = 0;
	struct sv_profile_report out = {.problem = check_sentence, .ctx = &said};
	struct sv_error err = {""};
	char *yaml = NULL;
	int rc =
		sv_profile_import_v3m_text((const char *)data, size, "fuzz.xml", &yaml, &out, &err);

	CHECK((rc == 0) == (yaml != NULL));
	if (rc == 0)
		CHECK(profile_once((const uint8_t *)yaml, strlen(yaml), SV_PROFILE_GUEST));
	else
		check_sentence(&said, err.text);
	free(yaml);
	return rc == 0;
}
