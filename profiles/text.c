/* SPDX-License-Identifier: BSD-3-Clause */
/* Text as a YAML scalar that every reader takes for that text. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "schema.h"

/* Plain: nothing that YAML 1.1 or 1.2 reads as something else. */
static bool is_plain(const char *text)
{
	static const char *const words[] = {"y", "n", "yes", "no", "on", "off", "true", "false", "null",
		"nan", "inf"};
	size_t n = strlen(text);

	if (!n || !(isalpha((unsigned char)*text) || *text == '/' || *text == '_'))
		return false;
	if (strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/+-=@%") != n)
		return false;
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strcasecmp(text, words[i]))
			return false;
	return true;
}

void sv_profile_put_text(FILE *f, const char *text)
{
	if (is_plain(text)) {
		fputs(text, f);
		return;
	}
	fputc('"', f);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			fprintf(f, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			fprintf(f, "\\x%02x", c);
		else
			fputc(c, f);
	}
	fputc('"', f);
}
