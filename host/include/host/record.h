/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The placement of a running VM as a file beside it, RUN_DIR/NAME.placement.json: for `sidevisor ps`, and
 * to run it again in the same place (`run --placement FILE`). The schema is in docs/isolation.md.
 */
#ifndef HOST_RECORD_H
#define HOST_RECORD_H

#include <stdbool.h>

#include <base/error.h>
#include <host/isolate.h>

#define SV_RECORD_VCPUS 1024u
#define SV_RECORD_SIDECORES 64u
#define SV_RECORD_NODES 64u

struct sv_record {
	char name[48], policy[32];
	unsigned vcpus, sidecores, nodes;
	int vcpu_cpu[SV_RECORD_VCPUS];
	int sidecore_cpu[SV_RECORD_SIDECORES];
	int control_cpu;		    /* -1: not pinned */
	int memory_node[SV_RECORD_NODES];   /* -1: not bound */
	bool private_sidecores, share_cores;
};

/* JSON of it, with what was isolated (@iso may be NULL). Return: text that the caller frees, or NULL. */
char *sv_record_text(const struct sv_record *r, const struct sv_isolation *iso);
/* Replace @path by @text. Return: 0 or -errno with a sentence. */
int sv_record_save(const char *path, const char *text, struct sv_error *err);
/* Return: 0; -EINVAL with a sentence that names file, key and what was expected; -errno. */
int sv_record_read(const char *path, struct sv_record *r, struct sv_error *err);
/* RUN_DIR/NAME.placement.json. Return: 0, or -ENAMETOOLONG. */
int sv_record_path(const char *run_dir, const char *name, char *path, unsigned bytes);
/* Remove the records of processes that are gone; @removed is told of each. */
void sv_record_sweep(const char *run_dir, bool dry,
	void (*removed)(void *ctx, const char *path, bool dry), void *ctx);

#endif
