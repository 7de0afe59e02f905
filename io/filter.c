/* SPDX-License-Identifier: BSD-3-Clause */
#include "filters.h"

#include <string.h>

static const struct sv_blk_filter_class *const classes[] = {&filter_integrity, &filter_xts};

const struct sv_blk_filter_class *sv_blk_filter_find(const char *name)
{
	for (unsigned i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (!strcmp(classes[i]->name, name))
			return classes[i];
	return NULL;
}

void sv_blk_filter_preload(void)
{
	filter_xts_preload();
}
