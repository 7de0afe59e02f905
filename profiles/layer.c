/* SPDX-License-Identifier: BSD-3-Clause */
#include "layer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/dial.h>

#include "check.h"

/* libcyaml's log, one line: it is needed only where it refuses what check.c let pass. */
struct cyaml_said {
	char text[256];
};

static void listen(cyaml_log_t level, void *ctx, const char *fmt, va_list ap)
{
	struct cyaml_said *said = ctx;
	size_t n = strlen(said->text);

	(void)level;
	vsnprintf(said->text + n, sizeof(said->text) - n, fmt, ap);
	for (char *s = said->text; *s; s++)
		if (*s == '\n')
			*s = ';';
}

static int load_typed(struct layer *l, const char *text, size_t bytes, struct sv_profile_report *r)
{
	struct cyaml_said said = {""};
	cyaml_config_t config = {.log_fn = listen,
		.log_ctx = &said,
		.mem_fn = cyaml_mem,
		.log_level = CYAML_LOG_ERROR,
		.flags = CYAML_CFG_NO_ALIAS};
	cyaml_err_t e = cyaml_load_data((const uint8_t *)text, bytes, &config, schema_of(l->kind),
		(cyaml_data_t **)&l->data, NULL);

	if (e == CYAML_ERR_OOM)
		return report_at(r, ENOMEM, l->file, 0, 0, "out of memory");
	if (e != CYAML_OK || !l->data)
		return report_at(r, EINVAL, l->file, 0, 0, "not what the schema has: %s; %s",
			cyaml_strerror(e), said.text);
	return 0;
}

int layer_read(const char *path, size_t max, char **text, size_t *bytes, struct stat *st,
	struct sv_profile_report *r)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), rc = 0;
	size_t n = 0;
	ssize_t got = 1;
	char *buf = NULL;

	if (fd < 0)
		return report_at(r, errno, path, 0, 0, "%s", strerror(errno));
	if (fstat(fd, st) < 0)
		rc = report_at(r, errno, path, 0, 0, "%s", strerror(errno));
	else if (S_ISDIR(st->st_mode))
		rc = report_at(r, EISDIR, path, 0, 0, "it is a directory; name a file");
	else if (!S_ISREG(st->st_mode))
		rc = report_at(r, EINVAL, path, 0, 0, "it is not a regular file; name one");
	else if (st->st_size > (off_t)max)
		rc = report_at(r, EFBIG, path, 0, 0,
			"it has %lld bytes; at most %zu are read", (long long)st->st_size, max);
	else if (!(buf = malloc(max + 1)))
		rc = report_at(r, ENOMEM, path, 0, 0, "out of memory");
	/* It may grow meanwhile, and some files say nothing of their size. */
	while (rc == 0 && got > 0 && n <= max) {
		got = read(fd, buf + n, max + 1 - n);
		if (got < 0 && errno == EINTR)
			got = 1;
		else if (got < 0)
			rc = report_at(r, errno, path, 0, 0, "%s", strerror(errno));
		else
			n += (size_t)got;
	}
	if (rc == 0 && n > max)
		rc = report_at(r, EFBIG, path, 0, 0, "it has more than %zu bytes", max);
	close(fd);
	if (rc < 0) {
		free(buf);
		return rc;
	}
	*text = buf;
	*bytes = n;
	return 0;
}

static int find_kind(struct layer *l, int want, struct sv_profile_report *r)
{
	const struct tree_node *n = tree_find(l->tree.root, "kind");
	const char *slash = l->file ? strrchr(l->file, '/') : NULL;
	const char *base = slash ? slash + 1 : l->file;

	if (n && n->kind == TREE_SCALAR && !strcmp(n->text, "node"))
		l->kind = SV_PROFILE_NODE_KIND;
	else if (n && n->kind == TREE_SCALAR && !strcmp(n->text, "guest"))
		l->kind = SV_PROFILE_GUEST;
	else if (want >= 0)
		l->kind = (enum sv_profile_kind)want;
	else if (base && !strcmp(base, "node.yaml"))
		l->kind = SV_PROFILE_NODE_KIND;
	else
		l->kind = SV_PROFILE_GUEST;
	if (want >= 0 && l->kind != (enum sv_profile_kind)want)
		return report_at(r, EINVAL, l->file, n->line, n->column,
			"it is a %s profile where a %s profile is expected",
			sv_profile_kind_name(l->kind),
			sv_profile_kind_name((enum sv_profile_kind)want));
	return 0;
}

/* Both the typed text and the tree's get the directory of the file that said it. */
static int join_path(const struct layer *l, char **typed, struct tree_node *n)
{
	char *joined, *again;

	if (**typed == '/' || !*l->dir || sv_dial_is_address(*typed))
		return 0;
	if (asprintf(&joined, "%s%s", l->dir, *typed) < 0)
		return -ENOMEM;
	again = strdup(joined);
	if (!again) {
		free(joined);
		return -ENOMEM;
	}
	free(*typed);
	*typed = joined;
	n->given = n->text;
	n->text = again;
	n->bytes = strlen(again);
	return 0;
}

static int join_paths(const struct layer *l, const struct cyaml_schema_field *fields, void *data,
	struct tree_node *map)
{
	int rc = 0;

	for (struct tree_node *n = map->child; n && rc == 0; n = n->next) {
		const struct cyaml_schema_field *f = schema_field(fields, n->key->text);
		void **slot = layer_slot(data, f);
		char *entry = *slot;

		if (f->value.type != CYAML_SEQUENCE) {
			if (schema_rule(fields, f->key)->form == FORM_PATH)
				rc = join_path(l, (char **)slot, n);
			continue;
		}
		for (struct tree_node *e = n->child; e && rc == 0; e = e->next) {
			rc = join_paths(l, f->value.sequence.entry->mapping.fields, entry, e);
			entry += f->value.sequence.entry->data_size;
		}
	}
	return rc;
}

int layer_load(struct layer *l, const char *text, size_t bytes, int want,
	struct sv_profile_report *r)
{
	const char *name = l->file ? l->file : "(default)";
	unsigned before = r->problems;
	int rc = tree_parse(text, bytes, name, &l->tree, r);

	if (rc < 0)
		return rc;
	if (!l->tree.root)
		return report_at(r, EINVAL, name, 0, 0,
			"it is empty; a guest profile begins with keys such as `kernel: vmlinuz`");
	if (l->tree.root->kind != TREE_MAP)
		return report_at(r, EINVAL, name, l->tree.root->line, l->tree.root->column,
			"it has no keys; write lines such as `kernel: vmlinuz`");
	rc = find_kind(l, want, r);
	if (rc < 0)
		return rc;
	check_document(l->tree.root, name, l->kind, r);
	if (r->problems != before)
		return -EINVAL;
	rc = load_typed(l, text, bytes, r);
	if (rc == 0 && join_paths(l, schema_of(l->kind)->mapping.fields, l->data, l->tree.root) < 0)
		rc = report_at(r, ENOMEM, name, 0, 0, "out of memory");
	return rc;
}

void layer_free(struct layer *l)
{
	cyaml_config_t config = {.mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR};

	if (l->data)
		cyaml_free(&config, schema_of(l->kind), l->data, 0);
	tree_free(&l->tree);
	free(l->file);
	free(l->dir);
	*l = (struct layer){0};
}
