/* SPDX-License-Identifier: BSD-3-Clause */
/* A YAML document as a tree that knows where everything stands. */
#ifndef PROFILES_TREE_H
#define PROFILES_TREE_H

#include <stdbool.h>

#include "report.h"

#define TREE_DEPTH 8u
#define TREE_NODES 4096u

enum tree_kind { TREE_SCALAR, TREE_LIST, TREE_MAP };

struct tree_node {
	enum tree_kind kind;
	bool plain; /* a scalar without quotes */
	unsigned line, column;
	char *text; /* of a scalar; ends with NUL besides */
	size_t bytes;
	char *given; /* text before something replaced it; NULL: nothing did */
	struct tree_node *key; /* of an entry of a map */
	struct tree_node *child, *last, *next;
	unsigned children;
};

struct tree {
	struct tree_node *root; /* NULL: the document is empty */
	struct tree_node **all;
	size_t nodes;
};

/*
 * @bytes of @text, named @file in sentences. UTF-8 only; one document; no anchors, aliases or tags;
 * bounded in depth and in nodes. Return: 0 with *tree to be freed, or -EINVAL or -ENOMEM and
 * reported.
 */
int tree_parse(const char *text, size_t bytes, const char *file, struct tree *tree,
	struct sv_profile_report *r);
void tree_free(struct tree *tree);

/* The value of @key in the map @node. */
struct tree_node *tree_find(const struct tree_node *node, const char *key);

#endif
