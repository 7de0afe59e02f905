/* SPDX-License-Identifier: BSD-3-Clause */
#include "nbd_library.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <io/dial.h>

#define LIBRARY "libnbd.so.0"

/* POSIX has it that the pointer of dlsym() is one of a function. */
#define NBD_NAME(name) {offsetof(struct nbd_calls, name), "nbd_" #name},
static const struct {
	size_t at;
	const char *name;
} names[] = {NBD_CALLS(NBD_NAME)};

const struct nbd_calls *nbd_library(struct sv_error *err)
{
	static struct nbd_calls calls;
	static void *library;

	if (library)
		return &calls;
	library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	for (size_t i = 0; library && i < sizeof(names) / sizeof(names[0]); i++) {
		void *function = dlsym(library, names[i].name);

		memcpy((char *)&calls + names[i].at, &function, sizeof(function));
		if (!function) {
			dlclose(library);
			library = NULL;
		}
	}
	if (library)
		return &calls;
	sv_fail(err, ENOENT, "a remote disk needs " LIBRARY "; install the package libnbd0");
	return NULL;
}

int sv_nbd_preload(struct sv_error *err)
{
	return nbd_library(err) ? 0 : -ENOENT;
}
