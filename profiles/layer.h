/* SPDX-License-Identifier: BSD-3-Clause */
/* One file of an inheritance chain. */
#ifndef PROFILES_LAYER_H
#define PROFILES_LAYER_H

#include <sys/stat.h>

#include "schema.h"
#include "tree.h"

struct layer {
	char *file;  /* as sentences name it; NULL: the defaults */
	char *dir;   /* with its slash, or empty: what paths are relative to */
	struct stat st;
	struct tree tree;
	enum sv_profile_kind kind;
	void *data; /* struct sv_profile_guest or _node */
};

/* Read a regular file of at most @max bytes. Return: 0 with *text to be freed, or -errno and reported. */
int layer_read(const char *path, size_t max, char **text, size_t *bytes, struct stat *st,
	struct sv_profile_report *r);

/*
 * Parse, check and load @text into @l, whose file and dir are set. @want: a kind or -1. With
 * problems *l is still to be freed. Return: 0, or -errno and reported.
 */
int layer_load(struct layer *l, const char *text, size_t bytes, int want,
	struct sv_profile_report *r);
void layer_free(struct layer *l);

/* Data of @field within @data: the pointer itself. */
static inline void **layer_slot(void *data, const struct cyaml_schema_field *field)
{
	return (void **)(void *)((char *)data + field->data_offset);
}

#endif
