/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <channels/atomics.h>

#include "net_filters.h"

#define CONFIG_MAX 4096u

static const struct sv_net_filter_class *const classes[] = {&sv_net_pcap_class,
	&sv_net_pcap_from_class, &sv_net_pcap_to_class, &sv_net_count_class, &sv_net_dscp_class};
#define CLASSES (sizeof(classes) / sizeof(classes[0]))

static const struct sv_net_filter_class *class_of(const char *name, size_t len)
{
	for (size_t i = 0; i < CLASSES; i++)
		if (strlen(classes[i]->name) == len && !memcmp(classes[i]->name, name, len))
			return classes[i];
	return NULL;
}

static int unknown(const char *name, size_t len, struct sv_error *err)
{
	char known[256] = "";
	size_t at = 0;

	for (size_t i = 0; i < CLASSES && at < sizeof(known); i++)
		at += (size_t)snprintf(known + at, sizeof(known) - at, "%s%s", i ? ", " : "",
			classes[i]->usage);
	return sv_fail(err, ENOENT, "packet filter '%.*s' is unknown; there are: %s",
		(int)(len < 64 ? len : 64), name, known);
}

/* One `NAME:CONFIG` of @len bytes at the end of the chain. */
static int add(struct sv_net_filter **first, const char *text, size_t len, struct sv_error *err)
{
	const char *colon = memchr(text, ':', len);
	size_t name = colon ? (size_t)(colon - text) : len;
	const struct sv_net_filter_class *class = class_of(text, name);
	struct sv_net_filter *f, *last = *first;
	char *config;
	int rc;

	if (!class)
		return unknown(text, name, err);
	config = strndup(colon ? colon + 1 : "", colon ? len - name - 1 : 0);
	if (!config)
		return sv_fail(err, ENOMEM, "out of memory");
	rc = class->create(&f, config, err);
	free(config);
	if (rc < 0)
		return rc;
	f->class = class;
	while (last && last->next)
		last = last->next;
	f->prev = last;
	*(last ? &last->next : first) = f;
	return 0;
}

int sv_net_filter_open(struct sv_net_filter **out, const char *text, struct sv_error *err)
{
	struct sv_net_filter *first = NULL;
	unsigned n = 0;
	int rc = 0;

	if (strlen(text) > CONFIG_MAX)
		return sv_fail(err, E2BIG, "packet filters: at most %u bytes of text", CONFIG_MAX);
	while (*text && rc == 0) {
		size_t len = strcspn(text, ";");

		if (++n > SV_NET_FILTERS)
			rc = sv_fail(err, E2BIG, "packet filters: at most %u in a chain", SV_NET_FILTERS);
		else
			rc = add(&first, text, len, err);
		text += len + (text[len] == ';');
	}
	if (rc < 0) {
		sv_net_filter_close(first);
		return rc;
	}
	*out = first;
	return 0;
}

void sv_net_filter_close(struct sv_net_filter *f)
{
	while (f) {
		struct sv_net_filter *next = f->next;

		f->class->destroy(f);
		f = next;
	}
}

enum sv_net_verdict sv_net_filter_run(struct sv_net_filter *f, struct sv_net_packet *p)
{
	bool out = p->direction == SV_NET_TO_PORT;

	while (out && f->next)
		f = f->next;
	for (; f; f = out ? f->prev : f->next) {
		enum sv_net_verdict v = f->class->packet(f, p);
		uint64_t *counter = &(v == SV_NET_PASS ? f->passed : f->dropped)[p->direction];

		sv_store_relaxed(counter, *counter + 1);
		if (v != SV_NET_PASS)
			return v;
	}
	return SV_NET_PASS;
}

static json_t *one_json(struct sv_net_filter *f)
{
	char *text = f->class->stats ? f->class->stats(f) : NULL;
	json_t *o = text ? json_loads(text, 0, NULL) : NULL;
	static const char *const way[] = {"from_port", "to_port"};

	free(text);
	if (!o)
		o = json_object();
	json_object_set_new(o, "filter", json_string(f->class->name));
	for (unsigned i = 0; i < 2; i++)
		json_object_set_new(o, way[i],
			json_pack("{s:I, s:I}", "passed", (json_int_t)sv_load_relaxed(&f->passed[i]),
				"dropped", (json_int_t)sv_load_relaxed(&f->dropped[i])));
	return o;
}

char *sv_net_filter_json(struct sv_net_filter *f)
{
	json_t *all = json_array();
	char *text;

	for (; f; f = f->next)
		json_array_append_new(all, one_json(f));
	text = json_dumps(all, JSON_COMPACT);
	json_decref(all);
	return text;
}
