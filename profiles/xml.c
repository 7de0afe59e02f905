/* SPDX-License-Identifier: BSD-3-Clause */
#include "xml.h"

#include <errno.h>
#include <stddef.h>

#include <base/library.h>

#define LIBRARY "libxml2.so.2"

#define CALL(member, function) \
	{offsetof(struct xml_calls, member), #function}

static const struct sv_library_call names[] = {
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
	static bool loaded;

	if (!loaded)
		loaded = sv_library_load(LIBRARY, names, sizeof(names) / sizeof(names[0]), &calls);
	if (loaded)
		return &calls;
	sv_fail(err, ENOENT, "the import of XML needs " LIBRARY "; install the package libxml2");
	return NULL;
}
