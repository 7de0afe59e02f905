/* SPDX-License-Identifier: BSD-3-Clause */
#include <criterion/criterion.h>
#include <string.h>

#include "acpi.h"
#include "layout.h"
#include "machine_by_hand.h"

static const uint8_t *build(struct by_hand *m, uint32_t *bytes)
{
	const uint8_t *e;
	struct sv_error err;
	uint64_t rsdp, table;
	uint8_t sum = 0;

	cr_assert_eq(sv_acpi_build(&m->vm, &rsdp, &err), 0, "%s", err.text);
	e = sv_vm_ptr(&m->vm, LAYOUT_SMBIOS, 24);
	cr_assert(!memcmp(e, "_SM3_", 5) && e[6] == 24 && e[7] == 3);
	for (unsigned i = 0; i < 24; i++)
		sum = (uint8_t)(sum + e[i]);
	cr_assert_eq(sum, 0);
	memcpy(bytes, e + 12, 4);
	memcpy(&table, e + 16, 8);
	return sv_vm_ptr(&m->vm, table, *bytes);
}

/* Behind a structure: its strings, each with its zero, and one zero more. */
static const uint8_t *after(const uint8_t *s, const uint8_t *end)
{
	s += s[1];
	while (s + 2 <= end && (s[0] || s[1]))
		s++;
	return s + 2;
}

Test(smbios, structures_follow_each_other_to_the_end_mark)
{
	static const uint8_t types[] = {0, 1, 3, 127};
	struct by_hand *m = by_hand_new(16 * MIB, 0, 1);
	uint32_t bytes;
	const uint8_t *s = build(m, &bytes), *end = s + bytes;

	for (unsigned i = 0; i < 4; i++) {
		cr_assert(s < end);
		cr_assert_eq(s[0], types[i]);
		s = after(s, end);
	}
	cr_assert_eq(s, end);
	by_hand_free(m);
}

Test(smbios, the_system_is_named)
{
	struct by_hand *m = by_hand_new(16 * MIB, 0, 1);
	uint32_t bytes;
	const uint8_t *s = build(m, &bytes);
	const char *text;

	s = after(s, s + bytes);
	text = (const char *)s + s[1];
	cr_assert_str_eq(text, "sidevisor");
	text += strlen(text) + 1;
	cr_assert_str_eq(text, "virtual machine");
	text += strlen(text) + 1;
	text += strlen(text) + 1;
	cr_assert_str_eq(text, "by-hand");
	by_hand_free(m);
}

Test(smbios, a_name_that_does_not_fit_is_refused)
{
	static char name[70000];
	struct by_hand *m = by_hand_new(16 * MIB, 0, 1);
	struct sv_error err;
	uint64_t rsdp;

	memset(name, 'n', sizeof(name) - 1);
	m->config.name = name;
	cr_assert_lt(sv_acpi_build(&m->vm, &rsdp, &err), 0);
	cr_assert(strstr(err.text, "--name"));
	by_hand_free(m);
}
