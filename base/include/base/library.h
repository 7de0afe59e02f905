/* SPDX-License-Identifier: BSD-3-Clause */
/* Libraries that only some uses of a program need: found when they are, and missing is an answer. */
#ifndef BASE_LIBRARY_H
#define BASE_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

/* A function of the library, and where the caller's structure keeps its pointer. */
struct sv_library_call {
	size_t at;
	const char *name;
};

/*
 * Load @file, for the life of the process, and fill in @calls. Context: start-up; blocks on files.
 * Return: false: it, or one of the functions, is not there; *calls is then not to be used.
 */
bool sv_library_load(const char *file, const struct sv_library_call *call, size_t n, void *calls);

#endif
