/* SPDX-License-Identifier: BSD-3-Clause */
#include "check.h"

#include <errno.h>
#include <string.h>

struct checker {
	const char *file;
	enum sv_profile_kind kind;
	struct sv_profile_report *report;
	char in[48]; /* "disks[1]." before the keys of an entry, else empty */
};

#define AT(c, node, ...) \
	report_at((c)->report, EINVAL, (c)->file, (node)->line, (node)->column, __VA_ARGS__)

static const char *field_name(const void *ctx, size_t i)
{
	return ((const struct cyaml_schema_field *)ctx)[i].key;
}

static const char *choice_name(const void *ctx, size_t i)
{
	const struct cyaml_schema_value *v = ctx;

	return i < v->enumeration.count ? v->enumeration.strings[i].str : NULL;
}

static void unknown_key(struct checker *c, const struct tree_node *key,
	const struct cyaml_schema_field *fields)
{
	enum sv_profile_kind other = c->kind == SV_PROFILE_NODE_KIND ? SV_PROFILE_GUEST
								     : SV_PROFILE_NODE_KIND;
	const char *near = suggest(key->text, field_name, fields);
	struct shown name = show_text(key->text, key->bytes);

	if (!*c->in && schema_field(schema_of(other)->mapping.fields, key->text))
		AT(c, key, "'%s' is a key of %s profiles, and this is a %s profile", name.text,
			sv_profile_kind_name(other), sv_profile_kind_name(c->kind));
	else if (near)
		AT(c, key, "unknown key '%s%s'; did you mean '%s'?", c->in, name.text, near);
	else if (*c->in)
		AT(c, key,
			"unknown key '%s%s'; `sidevisor profile keys` lists those of an entry",
			c->in, name.text);
	else
		AT(c, key, "unknown key '%s'; `sidevisor profile keys` lists those there are",
			name.text);
}

static bool is_null(const struct tree_node *n)
{
	return n->plain && (!n->bytes || !strcmp(n->text, "~") || !strcmp(n->text, "null") ||
		!strcmp(n->text, "Null") || !strcmp(n->text, "NULL"));
}

/* One line of printable text. */
static bool check_text(struct checker *c, const struct rule *rule, const struct tree_node *n)
{
	size_t step;

	for (size_t i = 0; i < n->bytes; i += step) {
		unsigned ch = control_at(n->text + i, n->bytes - i, &step);

		if (ch == '\n') {
			AT(c, n, "%s%s: it has a line break; write one line, or `>-` to fold "
				 "several",
				c->in, rule->key.name);
			return false;
		}
		if (ch) {
			AT(c, n, "%s%s: it has a control character (U+%04X); write printable text",
				c->in, rule->key.name, ch == CONTROL_NUL ? 0 : ch);
			return false;
		}
	}
	if (rule->form == FORM_TEXT && n->bytes > rule->max) {
		AT(c, n, "%s%s: %zu bytes are too long; write at most %u", c->in, rule->key.name,
			n->bytes, rule->max);
		return false;
	}
	return true;
}

static void check_scalar(struct checker *c, const struct cyaml_schema_field *f,
	const struct rule *rule, const struct tree_node *n)
{
	struct shown value = show_text(n->text, n->bytes);
	const char *near = NULL;

	if (is_null(n)) {
		AT(c, n, "%s%s has no value; write %s, or leave the key out", c->in, f->key,
			rule->key.expected);
		return;
	}
	if (!check_text(c, rule, n))
		return;
	if (f->value.type == CYAML_STRING && f->value.string.max &&
		n->bytes > f->value.string.max) {
		AT(c, n, "%s%s: %zu bytes are too long; write %s", c->in, f->key, n->bytes,
			rule->key.expected);
		return;
	}
	if (f->value.type == CYAML_ENUM) {
		for (uint32_t i = 0; i < f->value.enumeration.count; i++)
			if (!strcmp(n->text, f->value.enumeration.strings[i].str))
				return;
		near = suggest(n->text, choice_name, &f->value);
	} else if (!form_check(rule, n->text)) {
		return;
	}
	AT(c, n, "%s%s: '%s' is not %s%s%s%s", c->in, f->key, value.text, rule->key.expected,
		near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static void check_map(struct checker *c, const struct tree_node *map,
	const struct cyaml_schema_field *fields);

static void check_list(struct checker *c, const struct cyaml_schema_field *f,
	const struct rule *rule, const struct tree_node *list)
{
	unsigned i = 0;

	if (list->children > f->value.sequence.max)
		AT(c, list, "%s: %u entries; write %s", f->key, list->children, rule->key.expected);
	for (const struct tree_node *n = list->child; n && i < f->value.sequence.max;
		n = n->next, i++) {
		if (n->kind != TREE_MAP) {
			AT(c, n, "%s[%u]: write an entry with keys, such as `- %s`",
				f->key, i, !strcmp(f->key, "disks") ? "path: disk.img"
					   : !strcmp(f->key, "nets") ? "switch: lan" : "type: tap");
			continue;
		}
		snprintf(c->in, sizeof(c->in), "%s[%u].", f->key, i);
		check_map(c, n, f->value.sequence.entry->mapping.fields);
		c->in[0] = '\0';
	}
}

static void check_value(struct checker *c, const struct cyaml_schema_field *f,
	const struct cyaml_schema_field *fields, const struct tree_node *n)
{
	static const char *const kinds[] = {"a single value", "a list", "a group of keys"};
	const struct rule *rule = schema_rule(fields, f->key);
	enum tree_kind want = f->value.type == CYAML_SEQUENCE ? TREE_LIST : TREE_SCALAR;

	if (n->kind != want)
		AT(c, n, "%s%s: %s where %s is expected; write %s", c->in, f->key, kinds[n->kind],
			kinds[want], rule->key.expected);
	else if (want == TREE_LIST)
		check_list(c, f, rule, n);
	else
		check_scalar(c, f, rule, n);
}

static void check_map(struct checker *c, const struct tree_node *map,
	const struct cyaml_schema_field *fields)
{
	for (const struct tree_node *n = map->child; n; n = n->next) {
		const struct tree_node *first = tree_find(map, n->key->text);
		const struct cyaml_schema_field *f = schema_field(fields, n->key->text);

		if (strlen(n->key->text) != n->key->bytes || !f)
			unknown_key(c, n->key, fields);
		else if (first != n)
			AT(c, n->key, "'%s%s' is given twice; the first is on line %u", c->in,
				f->key, first->key->line);
		else
			check_value(c, f, fields, n);
	}
	for (const struct cyaml_schema_field *f = fields; f->key; f++)
		if (!(f->value.flags & CYAML_FLAG_OPTIONAL) && !tree_find(map, f->key))
			AT(c, map, "%s%s is missing; write %s", c->in, f->key,
				schema_rule(fields, f->key)->key.expected);
}

void check_document(const struct tree_node *root, const char *file, enum sv_profile_kind kind,
	struct sv_profile_report *r)
{
	struct checker c = {.file = file, .kind = kind, .report = r};

	check_map(&c, root, schema_of(kind)->mapping.fields);
}
