/* SPDX-License-Identifier: BSD-3-Clause */
/* A chain of files resolved into one profile. */
#include <profiles/profile.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "layer.h"

struct sv_profile {
	enum sv_profile_kind kind;
	struct layer
		layer[SV_PROFILE_CHAIN + 1]; /* the file, what it inherits from, the defaults */
	unsigned layers;
	union {
		struct sv_profile_guest guest;
		struct sv_profile_node node;
	} merged; /* pointers into the layers */
	struct sv_profile_value *value;
	size_t values;
};

const char *sv_profile_kind_name(enum sv_profile_kind kind)
{
	return kind == SV_PROFILE_NODE_KIND ? "node" : "guest";
}

/* --- the chain -------------------------------------------------------------------------------- */

static int set_names(struct layer *l, const char *path)
{
	const char *slash = strrchr(path, '/');

	l->file = strdup(path);
	l->dir = strndup(path, slash ? (size_t)(slash + 1 - path) : 0);
	return l->file && l->dir ? 0 : -ENOMEM;
}

/* "a.yaml -> b.yaml -> a.yaml", for a chain that ends with @last. */
static int chain_error(const struct sv_profile *p, const struct tree_node *at, const char *last,
	const char *what, struct sv_profile_report *r)
{
	char chain[256] = "";
	size_t n = 0;

	for (unsigned i = 0; i < p->layers && n < sizeof(chain) - 1; i++) {
		const char *slash = strrchr(p->layer[i].file, '/');

		n += (size_t)snprintf(chain + n, sizeof(chain) - n, "%.40s -> ",
			slash ? slash + 1 : p->layer[i].file);
	}
	return report_at(r, ELOOP, p->layer[p->layers - 1].file, at->line, at->column,
		"inherits: %s: %s%.40s", what, chain,
		strrchr(last, '/') ? strrchr(last, '/') + 1 : last);
}

/* The file that `inherits` names: as it stands, or with .yaml; from the directory of its file. */
static char *find_parent(const struct layer *l, const char *name)
{
	static const char *const endings[] = {"", ".yaml"};
	const char *dir = *name == '/' ? "" : l->dir;
	char *path = NULL;
	struct stat st;

	for (unsigned i = 0; i < 2; i++) {
		free(path);
		if (asprintf(&path, "%s%s%s", dir, name, endings[i]) < 0)
			return NULL;
		if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
			return path;
	}
	return path;
}

static int read_layer(struct sv_profile *p, const char *path, int want,
	struct sv_profile_report *r)
{
	struct layer *l = &p->layer[p->layers];
	char *text = NULL;
	size_t bytes;
	int rc = layer_read(path, SV_PROFILE_BYTES, &text, &bytes, &l->st, r);

	if (rc < 0)
		return rc;
	p->layers++;
	if (set_names(l, path) < 0)
		rc = report_at(r, ENOMEM, path, 0, 0, "out of memory");
	if (rc == 0)
		rc = layer_load(l, text, bytes, want, r);
	free(text);
	return rc;
}

static int read_parent(
	struct sv_profile *p, const struct tree_node *at, struct sv_profile_report *r)
{
	const struct layer *l = &p->layer[p->layers - 1];
	char *path = find_parent(l, at->text);
	struct stat st;
	int rc;

	if (!path)
		return report_at(r, ENOMEM, l->file, 0, 0, "out of memory");
	if (stat(path, &st) < 0) {
		struct shown name = show_text(at->text, at->bytes);

		rc = report_at(r, errno, l->file, at->line, at->column,
			"inherits: '%s': %s; there is neither that file nor one with .yaml in %s",
			name.text, strerror(errno), *l->dir ? l->dir : "this directory");
		free(path);
		return rc;
	}
	rc = 0;
	for (unsigned i = 0; i < p->layers && rc == 0; i++)
		if (p->layer[i].st.st_dev == st.st_dev && p->layer[i].st.st_ino == st.st_ino)
			rc = chain_error(p, at, path, "a cycle", r);
	if (rc == 0 && p->layers == SV_PROFILE_CHAIN)
		rc = chain_error(p, at, path, "a chain of more than 8 files", r);
	if (rc == 0)
		rc = read_layer(p, path, (int)p->layer[0].kind, r);
	free(path);
	return rc;
}

static int add_defaults(struct sv_profile *p, struct sv_profile_report *r)
{
	struct layer *l = &p->layer[p->layers];
	char *text = NULL;
	size_t bytes, n;
	const struct sv_profile_key *key = sv_profile_keys(p->kind, NULL, &n);
	FILE *f = open_memstream(&text, &bytes);
	int rc;

	if (!f || !(l->dir = strdup("")))
		rc = report_at(r, ENOMEM, "(default)", 0, 0, "out of memory");
	else
		rc = 0;
	for (size_t i = 0; f && i < n; i++)
		if (key[i].default_text)
			fprintf(f, "%s: %s\n", key[i].name, key[i].default_text);
	if (f && fclose(f) != 0)
		rc = report_at(r, ENOMEM, "(default)", 0, 0, "out of memory");
	p->layers++;
	if (rc == 0)
		rc = layer_load(l, text, bytes, (int)p->kind, r);
	free(text);
	return rc;
}

/* --- resolution ------------------------------------------------------------------------------- */

static enum sv_profile_type type_of(const struct cyaml_schema_field *f)
{
	return f->value.type == CYAML_UINT ? SV_PROFILE_NUMBER
		: f->value.type == CYAML_BOOL ? SV_PROFILE_BOOL : SV_PROFILE_TEXT;
}

static struct sv_profile_value *add_value(struct sv_profile *p, const struct layer *l,
	const struct cyaml_schema_field *f, const struct tree_node *n)
{
	struct sv_profile_value *v = &p->value[p->values++];

	*v = (struct sv_profile_value){.key = f->key, .type = type_of(f), .file = l->file,
		.line = n->line, .column = n->column, .is_list = n->kind == TREE_LIST};
	if (v->type == SV_PROFILE_BOOL)
		v->text = form_bool(n->text) ? "true" : "false";
	else if (!v->is_list)
		v->text = n->text;
	if (v->is_list) {
		v->line = n->key->line;
		v->column = n->key->column;
	}
	v->given = n->given ? n->given : v->text;
	return v;
}

static void add_entries(struct sv_profile *p, const struct layer *l,
	const struct cyaml_schema_field *list, const struct tree_node *n)
{
	unsigned index = 0;

	for (const struct tree_node *e = n->child; e; e = e->next, index++) {
		const struct cyaml_schema_field *f = list->value.sequence.entry->mapping.fields;

		for (; f->key; f++) {
			const struct tree_node *leaf = tree_find(e, f->key);

			if (leaf) {
				struct sv_profile_value *v = add_value(p, l, f, leaf);

				v->list = list->key;
				v->index = index;
			}
		}
	}
}

/* Each key from the first layer that has it. */
static int resolve(struct sv_profile *p)
{
	const struct cyaml_schema_field *fields = schema_of(p->kind)->mapping.fields, *f;

	p->value = calloc(RULES + ENTRY_KEYS * (SV_PROFILE_NODE_DISKS + SV_PROFILE_NODE_NETS +
						       SV_PROFILE_NODE_UPLINKS), sizeof(*p->value));
	if (!p->value)
		return -ENOMEM;
	for (f = fields; f->key; f++) {
		bool own = schema_rule(fields, f->key)->own || !strcmp(f->key, "inherits");

		for (unsigned i = 0; i < p->layers; i++) {
			struct layer *l = &p->layer[i];
			const struct tree_node *n = tree_find(l->tree.root, f->key);

			if (!n || (own && i > 0))
				continue;
			*layer_slot(&p->merged, f) = *layer_slot(l->data, f);
			if (f->value.type == CYAML_SEQUENCE)
				memcpy((char *)&p->merged + f->count_offset,
					(char *)l->data + f->count_offset, f->count_size);
			add_value(p, l, f, n);
			if (n->kind == TREE_LIST)
				add_entries(p, l, f, n);
			break;
		}
	}
	return 0;
}

/* What concerns several keys, which may stand in several files. */
static int check_together(const struct sv_profile *p, struct sv_profile_report *r)
{
	const struct sv_profile_value *topology = sv_profile_find(p, "topology"),
		*vcpus = sv_profile_find(p, "vcpus"), *numa = sv_profile_find(p, "numa"),
		*cpus = sv_profile_find(p, "cpus");
	unsigned before = r->problems, have, part[4];
	unsigned long long product;

	if (p->kind != SV_PROFILE_GUEST)
		return 0;
	have = *p->merged.guest.vcpus;
	if (topology && form_topology(topology->text, part)) {
		product = 1ull * part[0] * part[1] * part[2] * part[3];
		if (product != have)
			report_at(r, EINVAL, topology->file, topology->line, topology->column,
				"topology: %s makes %llu vCPUs, and vcpus is %u (%s:%u); make them "
				"agree", topology->text, product, have,
				vcpus->file ? vcpus->file : "default", vcpus->line);
	}
	if (numa && *p->merged.guest.numa > have)
		report_at(r, EINVAL, numa->file, numa->line, numa->column,
			"numa: %s nodes are more than the vCPUs, %u", numa->text, have);
	if (cpus && !*p->merged.guest.overcommit &&
		(unsigned)form_cpus(cpus->text, NULL, 0) < have)
		report_at(r, EINVAL, cpus->file, cpus->line, cpus->column,
			"cpus: %s names %d CPUs, and vcpus is %u; name one for each vCPU, or say "
			"overcommit",
			cpus->text, form_cpus(cpus->text, NULL, 0), have);
	return r->problems == before ? 0 : -EINVAL;
}

/* The rest of the way, once the first layer is there. */
static int finish(struct sv_profile *p, struct sv_profile_report *r)
{
	int rc = 0;

	p->kind = p->layer[0].kind;
	while (rc == 0) {
		const struct tree_node *at =
			tree_find(p->layer[p->layers - 1].tree.root, "inherits");

		if (!at)
			break;
		rc = read_parent(p, at, r);
	}
	if (rc == 0)
		rc = add_defaults(p, r);
	if (rc == 0 && resolve(p) < 0)
		rc = report_at(r, ENOMEM, p->layer[0].file, 0, 0, "out of memory");
	return rc < 0 ? rc : check_together(p, r);
}

int sv_profile_load(const char *path, int want, struct sv_profile **out,
	struct sv_profile_report *r)
{
	struct sv_profile *p = calloc(1, sizeof(*p));
	int rc = p ? read_layer(p, path, want, r)
		   : report_at(r, ENOMEM, path, 0, 0, "out of memory");

	if (rc == 0)
		rc = finish(p, r);
	if (rc < 0)
		sv_profile_free(p);
	else
		*out = p;
	return rc;
}

int sv_profile_parse(const char *text, size_t bytes, const char *name, int want,
	struct sv_profile **out, struct sv_profile_report *r)
{
	struct sv_profile *p = calloc(1, sizeof(*p));
	struct tree_node *at;
	int rc = 0;

	if (!p || set_names(&p->layer[0], name) < 0) {
		free(p);
		return report_at(r, ENOMEM, name, 0, 0, "out of memory");
	}
	p->layers = 1;
	if (bytes > SV_PROFILE_BYTES)
		rc = report_at(r, EFBIG, name, 0, 0, "it has more than %u bytes",
			SV_PROFILE_BYTES);
	if (rc == 0)
		rc = layer_load(&p->layer[0], text, bytes, want, r);
	at = rc == 0 ? tree_find(p->layer[0].tree.root, "inherits") : NULL;
	if (at)
		rc = report_at(r, EINVAL, name, at->line, at->column,
			"inherits: this text is no file, and has no directory to look in");
	if (rc == 0)
		rc = finish(p, r);
	if (rc < 0)
		sv_profile_free(p);
	else
		*out = p;
	return rc;
}

void sv_profile_free(struct sv_profile *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i <= SV_PROFILE_CHAIN; i++)
		layer_free(&p->layer[i]);
	free(p->value);
	free(p);
}

/* --- what it says ----------------------------------------------------------------------------- */

enum sv_profile_kind sv_profile_kind(const struct sv_profile *p)
{
	return p->kind;
}

const struct sv_profile_guest *sv_profile_guest(const struct sv_profile *p)
{
	return p->kind == SV_PROFILE_GUEST ? &p->merged.guest : NULL;
}

const struct sv_profile_node *sv_profile_node(const struct sv_profile *p)
{
	return p->kind == SV_PROFILE_NODE_KIND ? &p->merged.node : NULL;
}

const struct sv_profile_value *sv_profile_values(const struct sv_profile *p, size_t *n)
{
	*n = p->values;
	return p->value;
}

const struct sv_profile_value *sv_profile_find(const struct sv_profile *p, const char *key)
{
	for (size_t i = 0; i < p->values; i++)
		if (!p->value[i].list && !strcmp(p->value[i].key, key))
			return &p->value[i];
	return NULL;
}
