/* SPDX-License-Identifier: BSD-3-Clause */
/* `sidevisor device`: what its files share. */
#ifndef CLI_DEVICE_H
#define CLI_DEVICE_H

#include <jansson.h>

/* A line for each device of an array, whose "vm" and "name" name it. */
void device_print_list(const json_t *devices);
/* All of one. */
void device_print_one(const json_t *device);

#endif
