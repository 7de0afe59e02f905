/* SPDX-License-Identifier: BSD-3-Clause */
#include "doctor.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"

const char *sv_severity_name(enum sv_severity severity)
{
	static const char *const names[] = {"problem", "warning", "note", "unknown", "ok"};

	return severity < SV_SEVERITIES ? names[severity] : "?";
}

struct sv_finding *sv_found(
	struct sv_doctor *d, const char *id, enum sv_severity severity, const char *fmt, ...)
{
	struct sv_findings *all = d->out;
	struct sv_finding *f = &all->finding[all->n < SV_FINDINGS ? all->n++ : SV_FINDINGS - 1];
	va_list ap;

	*f = (struct sv_finding){
		.id = id, .severity = severity, .matters = severity < SV_SEVERITY_NOTE};
	va_start(ap, fmt);
	vsnprintf(f->what, sizeof(f->what), fmt, ap);
	va_end(ap);
	return f;
}

void sv_costs(struct sv_finding *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->cost, sizeof(f->cost), fmt, ap);
	va_end(ap);
}

void sv_remedy(struct sv_finding *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->remedy, sizeof(f->remedy), fmt, ap);
	va_end(ap);
}

void sv_unknown(struct sv_doctor *d, const char *id, const char *path)
{
	sv_found(d, id, SV_SEVERITY_UNKNOWN, "%s cannot be read", path);
}

/* Printable text only: what is found is shown to the operator. */
static void clean(char *text)
{
	for (char *s = text; *s; s++)
		if (!isprint((unsigned char)*s))
			*s = '?';
}

bool sv_read_line(const struct sv_doctor *d, const char *path, char *text, size_t bytes)
{
	char whole[4096];
	ssize_t n = sv_file_read(d->e->root, path, whole, sizeof(whole));
	size_t len;

	if (n <= 0)
		return false;
	len = strcspn(whole, "\n");
	if (len >= bytes)
		len = bytes - 1;
	memcpy(text, whole, len);
	text[len] = 0;
	clean(text);
	return len > 0;
}

bool sv_read_number(const struct sv_doctor *d, const char *path, long long *n)
{
	char text[64], *end;

	if (!sv_read_line(d, path, text, sizeof(text)))
		return false;
	errno = 0;
	*n = strtoll(text, &end, 10);
	return end != text && !*end && !errno;
}

bool sv_read_choice(const struct sv_doctor *d, const char *path, char *text, size_t bytes)
{
	char line[256];
	const char *from, *to;

	if (!sv_read_line(d, path, line, sizeof(line)))
		return false;
	from = strchr(line, '[');
	to = from ? strchr(from, ']') : NULL;
	if (!to || (size_t)(to - from) > bytes)
		return false;
	snprintf(text, bytes, "%.*s", (int)(to - from - 1), from + 1);
	return true;
}

static int by_severity(const void *a, const void *b)
{
	const struct sv_finding *x = a, *y = b;

	if (x->severity != y->severity)
		return x->severity < y->severity ? -1 : 1;
	return strcmp(x->id, y->id);
}

void sv_doctor_examine(const struct sv_examination *e, struct sv_findings *out)
{
	struct sv_doctor d = {.e = e, .out = out};
	char text[4096];

	out->n = 0;
	if (!sv_read_line(&d, "/sys/devices/system/cpu/online", text, sizeof(text)) ||
		sv_cpus_parse_list(text, &d.online) < 0)
		sv_unknown(&d, "online-cpus", "/sys/devices/system/cpu/online");
	d.busy = e->guest;
	sv_cpus_add(&d.busy, &e->sidecore);
	d.planned = !sv_cpus_empty(&d.busy);
	if (!d.planned)
		d.busy = d.online;
	sv_doctor_kvm(&d);
	sv_doctor_memory(&d);
	sv_doctor_cores(&d);
	sv_doctor_kernel(&d);
	qsort(out->finding, out->n, sizeof(out->finding[0]), by_severity);
}
