/* SPDX-License-Identifier: BSD-3-Clause */
#include "nbd_library.h"

#include <errno.h>
#include <stddef.h>

#include <base/library.h>
#include <io/dial.h>

#define LIBRARY "libnbd.so.0"

#define NBD_NAME(name) {offsetof(struct nbd_calls, name), "nbd_" #name},

const struct nbd_calls *nbd_library(struct sv_error *err)
{
	static const struct sv_library_call names[] = {NBD_CALLS(NBD_NAME)};
	static struct nbd_calls calls;
	static bool loaded;

	if (!loaded)
		loaded = sv_library_load(LIBRARY, names, sizeof(names) / sizeof(names[0]), &calls);
	if (loaded)
		return &calls;
	sv_fail(err, ENOENT, "a remote disk needs " LIBRARY "; install the package libnbd0");
	return NULL;
}

int sv_nbd_preload(struct sv_error *err)
{
	return nbd_library(err) ? 0 : -ENOENT;
}
