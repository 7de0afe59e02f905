/* SPDX-License-Identifier: BSD-3-Clause */
/* Text as a YAML scalar that every reader takes for that text. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "report.h"

/* Plain: nothing that YAML 1.1 or 1.2 reads as something else. */
static bool is_plain(const char *text)
{
	static const char *const words[] = {
		"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"};
	size_t n = strlen(text);

	if (!n || !(isalpha((unsigned char)*text) || *text == '/' || *text == '_'))
		return false;
	if (strspn(text,
		    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/+-=@%") != n)
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
	for (size_t step, left = strlen(text); left; text += step, left -= step) {
		unsigned c = control_at(text, left, &step);

		if (c || *text == '\t')
			fprintf(f, "\\u%04x", c ? c : '\t');
		else if (*text == '"' || *text == '\\')
			fprintf(f, "\\%c", *text);
		else
			fputc(*text, f);
	}
	fputc('"', f);
}
