/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files under a root: "" in life, a made-up tree in tests. No symbolic link is followed below the
 * root. Private to this directory.
 */
#ifndef HOST_FILES_H
#define HOST_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define SV_PATH_MAX 1024u

/* Return: a descriptor, or -errno. @path begins with '/'. */
int sv_file_open(const char *root, const char *path, int flags, mode_t mode);
/* The whole of a small file, with a 0 behind it. Return: its length, -EFBIG, or -errno. */
ssize_t sv_file_read(const char *root, const char *path, char *text, size_t bytes);
/* One write() of the text. Return: 0 or -errno. */
int sv_file_write(const char *root, const char *path, const char *text);
bool sv_file_is_there(const char *root, const char *path);
int sv_file_mkdir(const char *root, const char *path);
int sv_file_rmdir(const char *root, const char *path);

/*
 * Tests: called before each effect ("write", "mkdir", "rmdir", "save", "open", "fork") with the
 * path below the root, and after it with @done. A negative answer before the effect stands for its
 * result; a positive one says that it has been done.
 */
extern int (*sv_file_seam)(const char *what, const char *path, bool done);
/* Return: 0 go on, 1 it was done by the test, or -errno. */
int sv_file_ask(const char *what, const char *path);
void sv_file_told(const char *what, const char *path);

/*
 * When a process began, in the kernel's ticks since boot (field 22 of /proc/PID/stat): with the pid
 * it names a process for ever. Return: 0, or -ESRCH when there is no such process (a zombie is none).
 */
int sv_process_start(const char *root, pid_t pid, unsigned long long *start);
/* Is it the same process still? */
bool sv_process_lives(const char *root, pid_t pid, unsigned long long start);

#endif
