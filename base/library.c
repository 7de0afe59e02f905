/* SPDX-License-Identifier: BSD-3-Clause */
#include <base/library.h>

#include <dlfcn.h>
#include <string.h>

bool sv_library_load(const char *file, const struct sv_library_call *call, size_t n, void *calls)
{
	void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);

	for (size_t i = 0; library && i < n; i++) {
		/* POSIX has it that the pointer of dlsym() is one of a function. */
		void *function = dlsym(library, call[i].name);

		memcpy((char *)calls + call[i].at, &function, sizeof(function));
		if (!function) {
			dlclose(library);
			library = NULL;
		}
	}
	return library;
}
