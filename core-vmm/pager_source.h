/* SPDX-License-Identifier: BSD-3-Clause */
/* The source of guest memory as the VM process opens and checks it, for the pager to read. */
#ifndef CORE_VMM_PAGER_SOURCE_H
#define CORE_VMM_PAGER_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>
#include <vmm/config.h>

struct sv_pager_source {
	bool is_socket;
	const char *path;
	int fd;	    /* a file; a socket whose greeting is over and that nobody has yet; -1: none */
	int hot_fd; /* a memfd of struct sv_pager_range; -1: no hot list */
	uint64_t bytes, generation;
	uint32_t timeout_ms, read_max;
};

/* Context: set-up; waits for the source at most its deadline. Return: 0, or -errno with a sentence. */
int sv_pager_source_open(struct sv_pager_source *s, const struct sv_memory_source_config *c,
	uint64_t memory_bytes, struct sv_error *err);
void sv_pager_source_close(struct sv_pager_source *s);
/*
 * A descriptor for one unit: the file, which stays the source's, or a connection of its own, the
 * caller's. Return: it, or -errno with a sentence.
 */
int sv_pager_source_connect(struct sv_pager_source *s, struct sv_error *err);

#endif
