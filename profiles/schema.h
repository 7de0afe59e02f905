/* SPDX-License-Identifier: BSD-3-Clause */
/* What a profile may say: libcyaml's schema for the types, and a rule for the form of each value.
 */
#ifndef PROFILES_SCHEMA_H
#define PROFILES_SCHEMA_H

#include <cyaml/cyaml.h>

#include <profiles/profile.h>

enum form {
	FORM_TEXT,	   /* one line, printable */
	FORM_NAME,	   /* of a VM */
	FORM_PATH,	   /* relative to the file */
	FORM_INHERITS,
	FORM_SIZE,
	FORM_TOPOLOGY,
	FORM_CPUS,	   /* 2,3,6-9 */
	FORM_SIDECORES,	   /* 7,15 or 0-6:7,7-13:15 */
	FORM_IDLE,	   /* microseconds or never */
	FORM_AUTO_NUMBER,  /* auto or min to max */
	FORM_HOUSEKEEPING, /* auto, a number, or CPUs */
	FORM_SWITCH,	   /* the name of one */
	FORM_MAC,	   /* of one interface */
	FORM_DEVICE,	   /* PCI address or interface */
	FORM_NUMBER,	   /* min to max */
	FORM_POWER_OF_TWO, /* min to max */
	FORM_CHOICE,	   /* what the schema lists */
	FORM_BOOL,
	FORM_LIST,
};

struct rule {
	struct sv_profile_key key; /* first: sv_profile_keys() hands out copies */
	enum form form;
	unsigned min, max;
	bool own; /* not inherited */
};

#define RULES 64u
#define ENTRY_KEYS 24u /* of an entry of a list, at most */

/* The schema of a kind: a pointer to a mapping. */
const struct cyaml_schema_value *schema_of(enum sv_profile_kind kind);
/* The rules that go with the fields of a mapping of the schema. */
const struct rule *schema_rules(const struct cyaml_schema_field *fields, size_t *n);
const struct rule *schema_rule(const struct cyaml_schema_field *fields, const char *key);
const struct cyaml_schema_field *schema_field(const struct cyaml_schema_field *fields,
	const char *key);

/*
 * Does @text have the rule's form? Context: any; pure. Return: NULL, or what to write instead.
 */
const char *form_check(const struct rule *rule, const char *text);

/* A list of CPUs such as 2,3,6-9. Return: how many, -1: not a list; at most @max go to @cpu. */
int form_cpus(const char *text, int *cpu, unsigned max);
bool form_topology(const char *text, unsigned part[4]);
bool form_size(const char *text, uint64_t *bytes);
bool form_number(const char *text, unsigned min, unsigned max, unsigned *value);
/* Return: 1 yes, 0 no, -1 neither. */
int form_bool(const char *text);

#endif
