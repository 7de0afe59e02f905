/* SPDX-License-Identifier: BSD-3-Clause */
/* A host in a temporary directory: interrupts, a work queue, cgroups, processes. */
#ifndef MADE_UP_HOST_H
#define MADE_UP_HOST_H

#include <stdbool.h>
#include <stddef.h>

#include <host/isolate.h>

#define HOST_CPUS "0-7"
#define OWNER_A 1001
#define OWNER_B 1002

extern char host_root[256], host_run[280];

/* @cgroup: of every process, such as "/" or "/system.slice/x.service"; @version: 0, 1 or 2. */
void host_make(int version, const char *cgroup);
void host_remove(void);
void host_put(const char *path, const char *text);
/* The file's first line, in a static buffer. */
const char *host_get(const char *path);
void host_process(int pid, unsigned long long start);
void host_end_process(int pid);
/* Everything but /run, as one text that the caller frees. */
char *host_snapshot(void);
/* Is everything as in @before, and no journal left? Frees it. */
void host_expect_unchanged(char *before, const char *when);

/* From now on operation @at (0: the first) fails with @errnum; 0: the process exits before it, -1: after. */
void host_fail_at(int at, int errnum);
/* Writes to paths that contain @part fail; NULL: none does. */
void host_refuse(const char *part, int errnum);
int host_operations(void);
void host_reset_operations(void);

struct sv_isolation_request host_request(int pid, const char *guest, const char *sidecore);

#endif
