/* SPDX-License-Identifier: BSD-3-Clause */
#include "xml.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#define LIBRARY "libxml2.so.2"

/* POSIX has it that the pointer of dlsym() is one of a function. */
#define CALL(member, function) \
	{offsetof(struct xml_calls, member), #function}

static const struct {
	size_t at;
	const char *name;
} names[] = {
	CALL(new_context, xmlNewParserCtxt),
	CALL(free_context, xmlFreeParserCtxt),
	CALL(read_memory, xmlCtxtReadMemory),
	CALL(stop, xmlStopParser),
	CALL(line_now, xmlSAX2GetLineNumber),
	CALL(root, xmlDocGetRootElement),
	CALL(line_of, xmlGetLineNo),
	CALL(free_document, xmlFreeDoc),
};

const struct xml_calls *xml_open(struct sv_error *err)
{
	static struct xml_calls calls;
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
	sv_fail(err, ENOENT, "the import of XML needs " LIBRARY "; install the package libxml2");
	return NULL;
}
