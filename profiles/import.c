/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * V3M's XML profile as a guest profile. The DTD that it names is never read, nor is anything else:
 * a declaration of an entity ends the parsing, and a reference to one is never followed.
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "layer.h"
#include "xml.h"

#define XML_FLAGS (XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA)
#define NOTES 100u /* sentences about what was left out; then they are only counted */

struct importer {
	const struct xml_calls *xml;
	const char *file;
	struct sv_profile_report *out;
	unsigned notes;
	char *name, *path[SV_PROFILE_GUEST_DISKS]; /* trimmed copies */
	unsigned paths;
};

#define LEFT_OUT(i, node, ...) left_out(i, (unsigned)(i)->xml->line_of(node), __VA_ARGS__)

__attribute__((format(printf, 3, 4)))
static void left_out(struct importer *i, unsigned line, const char *fmt, ...)
{
	char what[300];
	va_list ap;

	if (i->notes++ >= NOTES)
		return;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	report_at(i->out, 0, i->file, line, line ? 1 : 0, "%s", what);
}

/* --- the parser, held back -------------------------------------------------------------------- */

struct guard {
	const struct xml_calls *xml;
	xmlParserCtxtPtr ctxt;
	int entity_line; /* of the first declaration or reference of an entity; 0: none */
	int error_line;	 /* of the first error: the others follow from it */
	struct shown error;
};

static void on_error(void *ctx, xmlErrorPtr e)
{
	struct guard *g = ((xmlParserCtxtPtr)ctx)->_private;

	if (!g->error_line && e->level >= XML_ERR_ERROR && e->message) {
		g->error_line = e->line > 0 ? e->line : 1;
		g->error = show_text(e->message, strcspn(e->message, "\n"));
	}
}

static void stop_at_entity(void *ctx)
{
	xmlParserCtxtPtr c = ctx;
	struct guard *g = c->_private;

	if (!g->entity_line)
		g->entity_line = g->xml->line_now(c) > 0 ? g->xml->line_now(c) : 1;
	g->xml->stop(c);
}

static void on_entity(void *ctx, const xmlChar *name, int type, const xmlChar *public_id,
	const xmlChar *system_id, xmlChar *content)
{
	(void)name, (void)type, (void)public_id, (void)system_id, (void)content;
	stop_at_entity(ctx);
}

static void on_reference(void *ctx, const xmlChar *name)
{
	(void)name;
	stop_at_entity(ctx);
}

static void on_external_subset(void *ctx, const xmlChar *name, const xmlChar *id,
	const xmlChar *system_id)
{
	(void)ctx, (void)name, (void)id, (void)system_id;
}

static xmlParserInputPtr on_resolve(void *ctx, const xmlChar *public_id, const xmlChar *system_id)
{
	(void)ctx, (void)public_id, (void)system_id;
	return NULL;
}

static xmlDocPtr parse(const struct xml_calls *xml, const char *text, size_t bytes,
	const char *name, struct sv_error *err, int *rc)
{
	struct guard g = {.xml = xml, .ctxt = xml->new_context()};
	xmlDocPtr doc;

	*rc = 0;
	if (!g.ctxt) {
		*rc = sv_fail(err, ENOMEM, "%s: out of memory", name);
		return NULL;
	}
	g.ctxt->_private = &g;
	g.ctxt->sax->serror = on_error;
	g.ctxt->sax->entityDecl = on_entity;
	g.ctxt->sax->reference = on_reference;
	g.ctxt->sax->externalSubset = on_external_subset;
	g.ctxt->sax->resolveEntity = on_resolve;
	doc = xml->read_memory(g.ctxt, text, (int)bytes, NULL, NULL, XML_FLAGS);
	if (g.entity_line) {
		*rc = sv_fail(err, EINVAL,
			"%s:%d: it has an entity; write the text itself, entities are not followed",
			name, g.entity_line);
	} else if (!doc && g.error_line) {
		*rc = sv_fail(err, EINVAL, "%s:%d: not XML: %s", name, g.error_line, g.error.text);
	} else if (!doc) {
		*rc = sv_fail(err, EINVAL, "%s: not XML", name);
	}
	xml->free_context(g.ctxt);
	if (*rc == 0)
		return doc;
	if (doc)
		xml->free_document(doc);
	return NULL;
}

/* --- the elements ----------------------------------------------------------------------------- */

static bool is_named(const xmlNode *n, const char *name)
{
	return n->type == XML_ELEMENT_NODE && !strcmp((const char *)n->name, name);
}

/* The text of an element without the blanks around it. Return: NULL: it has none, or elements too.
 */
static char *text_of(const xmlNode *n)
{
	const char *s, *end;

	if (!n->children || n->children->next || n->children->type != XML_TEXT_NODE)
		return NULL;
	s = (const char *)n->children->content;
	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		end--;
	return end > s ? strndup(s, (size_t)(end - s)) : NULL;
}

static bool is_printable(const char *text)
{
	size_t step, left = strlen(text);

	for (; left; text += step, left -= step)
		if (control_at(text, left, &step) || *text == '\t')
			return false;
	return true;
}

static void take_name(struct importer *i, const xmlNode *n, char *text)
{
	static const char good[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	struct shown was = show_text(text, strlen(text));
	bool changed = strlen(text) > 31;

	if (i->name) {
		LEFT_OUT(i, n, "a second <name>, '%s', is left out", was.text);
		free(text);
		return;
	}
	if (changed)
		text[31] = '\0';
	for (char *s = text + strspn(text, good); *s; s += strspn(s, good)) {
		*s = '-';
		changed = true;
	}
	if (changed)
		LEFT_OUT(i, n,
			"the name '%s' becomes '%s': names have at most 31 letters, digits, '.', "
			"'_' or '-'",
			was.text, text);
	i->name = text;
}

static void take_image(struct importer *i, const xmlNode *n, char *text)
{
	for (const xmlAttr *a = n->properties; a; a = a->next) {
		const char *value = a->children && a->children->content
			? (const char *)a->children->content : "";
		struct shown v = show_text(value, strlen(value));

		if (!strcmp((const char *)a->name, "size"))
			LEFT_OUT(i, n,
				"<image size=\"%s\"> is left out: a disk is as large as its file",
				v.text);
		else
			LEFT_OUT(i, n, "the attribute %.40s of <image> is left out",
				(const char *)a->name);
	}
	if (!is_printable(text) || strlen(text) > 4000) {
		LEFT_OUT(i, n, "<image> is left out: its path is too long or not printable");
		free(text);
	} else if (i->paths == SV_PROFILE_GUEST_DISKS) {
		LEFT_OUT(i, n, "<image> is left out: a guest has at most %u disks",
			SV_PROFILE_GUEST_DISKS);
		free(text);
	} else {
		i->path[i->paths++] = text;
	}
}

static void take_type(struct importer *i, const xmlNode *n, const char *text)
{
	struct shown type = show_text(text, strlen(text));

	LEFT_OUT(i, n, "the type %s is left out: this is a guest of sidevisor%s", type.text,
		strcasecmp(text, "xen")
			? ""
			: "; a kernel for Xen needs a PVH note or must be replaced");
}

static void take_nic(struct importer *i, const xmlNode *n)
{
	struct shown mac = {""}, kind = {""};

	for (const xmlNode *c = n->children; c; c = c->next) {
		char *text = is_named(c, "mac") || is_named(c, "type") ? text_of(c) : NULL;

		if (text)
			*(is_named(c, "mac") ? &mac : &kind) = show_text(text, strlen(text));
		else if (c->type == XML_ELEMENT_NODE)
			LEFT_OUT(i, c, "<%.40s> of <%.40s> is left out", (const char *)c->name,
				(const char *)n->name);
		free(text);
	}
	LEFT_OUT(i, n, "the network card <%.40s>%s%s%s%s is left out: name a switch in `nets` instead",
		(const char *)n->name, *kind.text ? " of type " : "", kind.text,
		*mac.text ? " with MAC " : "", mac.text);
}

static bool is_nic(const xmlNode *n)
{
	const char *name = (const char *)n->name;

	return !strncmp(name, "nic", 3) && !name[3 + strspn(name + 3, "0123456789")];
}

static void take_element(struct importer *i, const xmlNode *n)
{
	char *text;

	if (is_nic(n)) {
		take_nic(i, n);
		return;
	}
	if (!is_named(n, "name") && !is_named(n, "image") && !is_named(n, "type")) {
		LEFT_OUT(i, n, "<%.40s> is left out: its meaning is not known",
			(const char *)n->name);
		return;
	}
	text = text_of(n);
	if (!text) {
		LEFT_OUT(i, n, "<%.40s> is left out: it has no text, or elements within",
			(const char *)n->name);
	} else if (is_named(n, "name")) {
		take_name(i, n, text);
	} else if (is_named(n, "image")) {
		take_image(i, n, text);
	} else {
		take_type(i, n, text);
		free(text);
	}
}

static int write_yaml(const struct importer *i, char **yaml)
{
	size_t bytes;
	FILE *f = open_memstream(yaml, &bytes);

	if (!f)
		return -ENOMEM;
	fputs("# A guest profile, imported from V3M's XML.\nkind: guest\n", f);
	if (i->name) {
		fputs("name: ", f);
		sv_profile_put_text(f, i->name);
		fputc('\n', f);
	}
	fputs("# kernel: the path of one, which that profile does not name\n", f);
	if (i->paths)
		fputs("disks:\n", f);
	for (unsigned n = 0; n < i->paths; n++) {
		fputs("- path: ", f);
		sv_profile_put_text(f, i->path[n]);
		fputc('\n', f);
	}
	if (fclose(f) != 0) {
		free(*yaml);
		return -ENOMEM;
	}
	return 0;
}

int sv_profile_import_v3m_text(const char *text, size_t bytes, const char *name, char **yaml,
	struct sv_profile_report *out, struct sv_error *err)
{
	struct importer i = {.file = name, .out = out};
	const xmlNode *root;
	xmlDocPtr doc;
	int rc;

	if (bytes > SV_PROFILE_XML_BYTES)
		return sv_fail(err, EFBIG, "%s: it has more than %u bytes", name,
			SV_PROFILE_XML_BYTES);
	i.xml = xml_open(err);
	if (!i.xml)
		return -ENOENT;
	doc = parse(i.xml, text, bytes, name, err, &rc);
	if (!doc)
		return rc;
	root = i.xml->root(doc);
	if (!root || !is_named(root, "profile")) {
		rc = sv_fail(err, EINVAL, "%s: its root is <%.40s>; a V3M profile's is <profile>",
			name, root ? (const char *)root->name : "");
	} else {
		for (const xmlNode *n = root->children; n; n = n->next)
			if (n->type == XML_ELEMENT_NODE)
				take_element(&i, n);
		if (i.notes > NOTES)
			report_at(out, 0, name, 0, 0, "and %u more", i.notes - NOTES);
		rc = write_yaml(&i, yaml) < 0 ? sv_fail(err, ENOMEM, "%s: out of memory", name) : 0;
	}
	i.xml->free_document(doc);
	free(i.name);
	for (unsigned n = 0; n < i.paths; n++)
		free(i.path[n]);
	return rc;
}

int sv_profile_import_v3m(const char *path, char **yaml, struct sv_profile_report *out,
	struct sv_error *err)
{
	struct sv_profile_report reading = {0};
	struct stat st;
	size_t bytes;
	char *text;
	int rc = layer_read(path, SV_PROFILE_XML_BYTES, &text, &bytes, &st, &reading);

	if (rc < 0)
		return sv_fail(err, -rc, "%s", reading.first.text);
	rc = sv_profile_import_v3m_text(text, bytes, path, yaml, out, err);
	free(text);
	return rc;
}
