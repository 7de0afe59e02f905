/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef REPORT_EXPORT_H
#define REPORT_EXPORT_H

#include "view.h"

/* libvirt.c. Return: 0 or -ENOMEM. */
int export_libvirt(FILE *f, const struct view *v);

#endif
