/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libxml2, loaded when a file is imported and not before: it brings ICU along, 33 MB and a millisecond
 * of start-up that no VM should pay for.
 */
#ifndef PROFILES_XML_H
#define PROFILES_XML_H

#include <libxml/SAX2.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <libxml/xmlerror.h>

#include <base/error.h>

struct xml_calls {
	xmlParserCtxtPtr (*new_context)(void);
	void (*free_context)(xmlParserCtxtPtr ctxt);
	xmlDocPtr (*read_memory)(xmlParserCtxtPtr ctxt, const char *text, int bytes, const char *url,
		const char *encoding, int options);
	void (*stop)(xmlParserCtxtPtr ctxt);
	int (*line_now)(void *ctxt);
	xmlNodePtr (*root)(const xmlDoc *doc);
	long (*line_of)(const xmlNode *node);
	void (*free_document)(xmlDocPtr doc);
};

/* Return: the functions; NULL with a sentence when the library is not there. Context: one thread. */
const struct xml_calls *xml_open(struct sv_error *err);

#endif
