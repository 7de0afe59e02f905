/* SPDX-License-Identifier: BSD-3-Clause */
#include "tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

struct builder {
	struct tree *tree;
	const char *file;
	struct sv_profile_report *report;
	struct tree_node *open[TREE_DEPTH]; /* lists and maps that have not ended */
	struct tree_node *key[TREE_DEPTH];  /* of an open map: a key that waits for its value */
	unsigned depth, documents;
};

static int fail_at(struct builder *b, const yaml_mark_t *at, const char *what)
{
	return report_at(b->report, EINVAL, b->file, (unsigned)at->line + 1,
		(unsigned)at->column + 1, "%s", what);
}

static struct tree_node *new_node(struct builder *b, const yaml_event_t *e, enum tree_kind kind)
{
	struct tree *t = b->tree;
	struct tree_node *n;

	if (!t->all)
		t->all = calloc(TREE_NODES, sizeof(*t->all));
	n = t->all ? calloc(1, sizeof(*n)) : NULL;
	if (!n)
		return NULL;
	t->all[t->nodes++] = n;
	n->kind = kind;
	n->line = (unsigned)e->start_mark.line + 1;
	n->column = (unsigned)e->start_mark.column + 1;
	return n;
}

static int put_node(struct builder *b, const yaml_event_t *e, struct tree_node *n)
{
	struct tree_node *into = b->depth ? b->open[b->depth - 1] : NULL;

	if (!into) {
		b->tree->root = n;
		return 0;
	}
	if (into->kind == TREE_MAP && !b->key[b->depth - 1]) {
		if (n->kind != TREE_SCALAR)
			return fail_at(b, &e->start_mark, "a key must be a word");
		b->key[b->depth - 1] = n;
		return 0;
	}
	n->key = b->key[b->depth - 1];
	b->key[b->depth - 1] = NULL;
	if (into->last)
		into->last->next = n;
	else
		into->child = n;
	into->last = n;
	into->children++;
	return 0;
}

static int start(struct builder *b, const yaml_event_t *e, enum tree_kind kind,
	const yaml_char_t *anchor, const yaml_char_t *tag)
{
	struct tree_node *n;
	int rc;

	if (anchor)
		return fail_at(b, &e->start_mark,
			"anchors and aliases are not read: write the value, or put what profiles "
			"share "
			"into a file and name it with `inherits`");
	if (tag)
		return fail_at(b, &e->start_mark, "tags (`!`) are not read: write the value alone");
	if (b->tree->nodes == TREE_NODES)
		return fail_at(b, &e->start_mark, "too many values: a profile has a few dozen");
	n = new_node(b, e, kind);
	if (!n)
		return report_at(b->report, ENOMEM, b->file, 0, 0, "out of memory");
	if (kind == TREE_SCALAR) {
		n->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
		n->bytes = e->data.scalar.length;
		n->text = malloc(n->bytes + 1);
		if (!n->text)
			return report_at(b->report, ENOMEM, b->file, 0, 0, "out of memory");
		memcpy(n->text, e->data.scalar.value, n->bytes);
		n->text[n->bytes] = '\0';
	}
	rc = put_node(b, e, n);
	if (rc < 0 || kind == TREE_SCALAR)
		return rc;
	if (b->depth == TREE_DEPTH)
		return fail_at(b, &e->start_mark, "nested too deeply: a profile has three levels");
	b->key[b->depth] = NULL;
	b->open[b->depth++] = n;
	return 0;
}

static int take(struct builder *b, const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (b->documents++)
			return fail_at(b, &e->start_mark,
				"a second document begins here: a profile is one document");
		return 0;
	case YAML_ALIAS_EVENT:
		return start(b, e, TREE_SCALAR, e->data.alias.anchor, NULL);
	case YAML_SCALAR_EVENT:
		return start(b, e, TREE_SCALAR, e->data.scalar.anchor, e->data.scalar.tag);
	case YAML_SEQUENCE_START_EVENT:
		return start(
			b, e, TREE_LIST, e->data.sequence_start.anchor, e->data.sequence_start.tag);
	case YAML_MAPPING_START_EVENT:
		return start(
			b, e, TREE_MAP, e->data.mapping_start.anchor, e->data.mapping_start.tag);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		b->depth--;
		return 0;
	default:
		return 0;
	}
}

/* The parser's own complaint, with where the construct began when that is elsewhere. */
static int syntax_error(struct builder *b, const yaml_parser_t *p)
{
	const yaml_mark_t *at = &p->problem_mark;
	const char *what = p->problem ? p->problem : "it cannot be read";

	if (p->error == YAML_MEMORY_ERROR)
		return report_at(b->report, ENOMEM, b->file, 0, 0, "out of memory");
	if (p->error == YAML_READER_ERROR)
		at = &p->mark;
	if (p->context && p->context_mark.line != at->line)
		return report_at(b->report, EINVAL, b->file, (unsigned)at->line + 1,
			(unsigned)at->column + 1, "not YAML: %s (%s that began on line %zu)", what,
			p->context, p->context_mark.line + 1);
	return report_at(b->report, EINVAL, b->file, (unsigned)at->line + 1,
		(unsigned)at->column + 1, "not YAML: %s", what);
}

/* Length of the UTF-8 sequence at @s, 0: none. */
static size_t utf8_length(const unsigned char *s, size_t left)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3
		: s[0] < 0xf5 ? 4 : 0;

	if (n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
		(s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static int check_utf8(const char *text, size_t bytes, const char *file, struct sv_profile_report *r)
{
	const unsigned char *s = (const unsigned char *)text;
	unsigned line = 1, column = 1;

	for (size_t i = 0; i < bytes;) {
		size_t n = utf8_length(s + i, bytes - i);

		if (!n)
			return report_at(r, EINVAL, file, line, column,
				"not UTF-8 (a byte 0x%02x): a profile is text in UTF-8", s[i]);
		if (!s[i])
			return report_at(r, EINVAL, file, line, column,
				"a NUL byte: a profile is text in UTF-8");
		column++;
		if (s[i] == '\n') {
			line++;
			column = 1;
		}
		i += n;
	}
	return 0;
}

int tree_parse(const char *text, size_t bytes, const char *file, struct tree *tree,
	struct sv_profile_report *r)
{
	struct builder b = {.tree = tree, .file = file, .report = r};
	yaml_parser_t parser;
	yaml_event_t event;
	bool ended = false;
	int rc;

	*tree = (struct tree){0};
	rc = check_utf8(text, bytes, file, r);
	if (rc < 0)
		return rc;
	if (!yaml_parser_initialize(&parser))
		return report_at(r, ENOMEM, file, 0, 0, "out of memory");
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
	while (rc == 0 && !ended) {
		if (!yaml_parser_parse(&parser, &event)) {
			rc = syntax_error(&b, &parser);
			break;
		}
		ended = event.type == YAML_STREAM_END_EVENT;
		rc = take(&b, &event);
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	if (rc < 0)
		tree_free(tree);
	return rc;
}

void tree_free(struct tree *tree)
{
	for (size_t i = 0; i < tree->nodes; i++) {
		free(tree->all[i]->text);
		free(tree->all[i]->given);
		free(tree->all[i]);
	}
	free(tree->all);
	*tree = (struct tree){0};
}

struct tree_node *tree_find(const struct tree_node *node, const char *key)
{
	if (!node || node->kind != TREE_MAP)
		return NULL;
	for (struct tree_node *n = node->child; n; n = n->next)
		if (!strcmp(n->key->text, key))
			return n;
	return NULL;
}
