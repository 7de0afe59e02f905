/* SPDX-License-Identifier: BSD-3-Clause */
/* A tree against the schema, before libcyaml sees the text. */
#ifndef PROFILES_CHECK_H
#define PROFILES_CHECK_H

#include "schema.h"
#include "tree.h"

/*
 * Report every problem of the map @root. libcyaml stops at the first one, suggests nothing, and
 * takes "4.5" for 4, "010" for 8 and any word but a few for true: nothing of that gets past here.
 */
void check_document(const struct tree_node *root, const char *file, enum sv_profile_kind kind,
	struct sv_profile_report *r);

#endif
