/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the doctor share. */
#ifndef HOST_DOCTOR_PRIVATE_H
#define HOST_DOCTOR_PRIVATE_H

#include <host/doctor.h>

struct sv_doctor {
	const struct sv_examination *e;
	struct sv_findings *out;
	struct sv_cpus online, busy; /* busy: guest cores and sidecores, or all when none is planned */
	bool planned;
};

/* A finding with what was found; the others may be added. Never NULL. */
struct sv_finding *sv_found(struct sv_doctor *d, const char *id, enum sv_severity severity,
	const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void sv_costs(struct sv_finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sv_remedy(struct sv_finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The first line of a file without its end. Return: is it there, readable and not empty? */
bool sv_read_line(const struct sv_doctor *d, const char *path, char *text, size_t bytes);
/* A number in a file. */
bool sv_read_number(const struct sv_doctor *d, const char *path, long long *n);
/* The choice in brackets of "always [madvise] never". */
bool sv_read_choice(const struct sv_doctor *d, const char *path, char *text, size_t bytes);
void sv_unknown(struct sv_doctor *d, const char *id, const char *path);

void sv_doctor_kvm(struct sv_doctor *d);
void sv_doctor_memory(struct sv_doctor *d);
void sv_doctor_cores(struct sv_doctor *d);
void sv_doctor_kernel(struct sv_doctor *d);

#endif
