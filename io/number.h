/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers as users write them. */
#ifndef IO_NUMBER_H
#define IO_NUMBER_H

#include <base/error.h>

/*
 * A decimal number from @least to @most into *n. @what and @key begin the sentence. Return: 0; -EINVAL
 * with a sentence, *n untouched.
 */
int number_parse(const char *what, const char *key, const char *text, unsigned long least,
	unsigned long most, unsigned long *n, struct sv_error *err);

#endif
