/* SPDX-License-Identifier: BSD-3-Clause */
#include <host/claims.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "files.h"

#define TRIES 25
#define NAMES_MAX 65536

/* One locked file. */
struct claim {
	int cpu, fd;
	struct claim *next;
};

struct sv_claims {
	struct claim *first;
};

static int usable_dir(const char *path)
{
	struct stat st;

	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return -errno;
	if (lstat(path, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if ((st.st_uid != 0 && st.st_uid != geteuid()) || st.st_mode & S_IWOTH)
		return -EPERM;
	return access(path, W_OK) < 0 ? -errno : 0;
}

int sv_run_dir(char *path, size_t bytes, struct sv_error *err)
{
	const char *given = getenv("SIDEVISOR_RUN_DIR"), *xdg = getenv("XDG_RUNTIME_DIR");
	int rc = -ENOENT;

	if (given && *given) {
		snprintf(path, bytes, "%s", given);
		rc = usable_dir(path);
		return rc < 0 ? sv_fail(err, -rc,
			"SIDEVISOR_RUN_DIR=%s: cannot be used (%s); give a directory of yours that others "
			"may not write", given, strerror(-rc)) : 0;
	}
	snprintf(path, bytes, "/run/sidevisor");
	rc = usable_dir(path);
	if (rc < 0 && xdg && xdg[0] == '/') {
		snprintf(path, bytes, "%s/sidevisor", xdg);
		rc = usable_dir(path);
	}
	if (rc < 0) {
		snprintf(path, bytes, "/tmp/sidevisor-%u", (unsigned)geteuid());
		rc = usable_dir(path);
	}
	return rc < 0 ? sv_fail(err, -rc, "%s: no directory for what runs (%s); set SIDEVISOR_RUN_DIR",
		path, strerror(-rc)) : 0;
}

static int lock(int fd, short type)
{
	struct flock fl = {.l_type = type, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_SETLK, &fl) < 0 ? -errno : 0;
}

/* Would @type be refused? */
static bool blocked(int fd, short type)
{
	struct flock fl = {.l_type = type, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_GETLK, &fl) == 0 && fl.l_type != F_UNLCK;
}

static int open_cpu(const char *run_dir, int cpu, int flags)
{
	char path[64];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "/cpus/%d", cpu);
	fd = sv_file_open(run_dir, path, flags, 0644);
	/* A directory that a group may write to is the group's: so are the locks. */
	if (fd >= 0 && flags & O_CREAT && stat(run_dir, &st) == 0 && st.st_mode & S_IWGRP)
		fchmod(fd, 0664);
	return fd;
}

static int make_cpus_dir(const char *run_dir)
{
	int rc = sv_file_mkdir(run_dir, "/cpus"), fd;
	struct stat st;

	if (rc < 0)
		return rc == -EEXIST ? 0 : rc;
	fd = sv_file_open(run_dir, "/cpus", O_RDONLY | O_DIRECTORY, 0);
	if (fd >= 0 && stat(run_dir, &st) == 0 && st.st_mode & S_IWGRP)
		fchmod(fd, st.st_mode & 07775);
	if (fd >= 0)
		close(fd);
	return 0;
}

static void write_name(int fd, const char *who, const char *what, bool alone)
{
	unsigned long long start = 0;
	struct stat st;
	char line[160];

	if (alone && ftruncate(fd, 0) < 0)
		return;
	if (fstat(fd, &st) < 0 || st.st_size > NAMES_MAX)
		return;
	sv_process_start("", getpid(), &start);
	snprintf(line, sizeof(line), "%d %llu %c %.64s\n", (int)getpid(), start, what[0], who);
	if (write(fd, line, strlen(line)) < 0)
		return; /* the lock counts, the name is for the sentence */
}

/*
 * Alone first, so that names of the dead go; then, if we share, beside the others. One that tries the
 * same at the same moment passes: a few tries.
 */
static int lock_cpu(int fd, bool share, const char *who, const char *what)
{
	struct timespec slice = {.tv_nsec = 2000000};
	int rc;

	for (int i = 0; i < TRIES; i++) {
		if (lock(fd, F_WRLCK) == 0) {
			write_name(fd, who, what, true);
			return share ? lock(fd, F_RDLCK) : 0;
		}
		rc = share ? lock(fd, F_RDLCK) : -EAGAIN;
		if (rc == 0) {
			write_name(fd, who, what, false);
			return 0;
		}
		if (!share && i >= 2)
			break;
		nanosleep(&slice, NULL);
	}
	return -EBUSY;
}

static bool have(const struct sv_claims *c, int cpu)
{
	for (const struct claim *at = c->first; at; at = at->next)
		if (at->cpu == cpu)
			return true;
	return false;
}

static void drop_until(struct sv_claims *c, const struct claim *stop)
{
	while (c->first != stop) {
		struct claim *at = c->first;

		c->first = at->next;
		close(at->fd);
		free(at);
	}
}

static int take_one(struct sv_claims *c, const char *run_dir, int cpu, bool share, const char *who,
	const char *what, struct sv_error *err)
{
	struct claim *at = malloc(sizeof(*at));
	char holder[200];
	int fd, rc;

	if (!at)
		return sv_fail(err, ENOMEM, "out of memory");
	fd = open_cpu(run_dir, cpu, O_RDWR | O_CREAT | O_APPEND);
	if (fd < 0) {
		free(at);
		return sv_fail(err, -fd, "%s/cpus/%d: cannot claim the CPU: %s", run_dir, cpu,
			strerror(-fd));
	}
	rc = lock_cpu(fd, share, who, what);
	if (rc < 0) {
		close(fd);
		free(at);
		sv_claims_holder(run_dir, cpu, holder, sizeof(holder));
		return sv_fail(err, EBUSY,
			"CPU %d cannot be a %s of '%s': it is %s; choose another CPU, or let both share "
			"with --share-cores", cpu, what, who, *holder ? holder : "claimed by another");
	}
	*at = (struct claim){.cpu = cpu, .fd = fd, .next = c->first};
	c->first = at;
	return 0;
}

int sv_claims_take(struct sv_claims **claims, const char *run_dir, const struct sv_cpus *cpus,
	bool share, const char *who, const char *what, struct sv_error *err)
{
	struct sv_claims *c = *claims ? *claims : calloc(1, sizeof(*c));
	const struct claim *before;
	int rc;

	if (!c)
		return sv_fail(err, ENOMEM, "out of memory");
	before = c->first;
	rc = make_cpus_dir(run_dir);
	if (rc < 0)
		sv_fail(err, -rc, "%s/cpus: %s", run_dir, strerror(-rc));
	for (int cpu = sv_cpus_next(cpus, -1); cpu >= 0 && rc == 0; cpu = sv_cpus_next(cpus, cpu))
		if (!have(c, cpu))
			rc = take_one(c, run_dir, cpu, share, who, what, err);
	if (rc < 0)
		drop_until(c, before);
	if (rc < 0 && !*claims)
		free(c);
	else
		*claims = c;
	return rc;
}

void sv_claims_siblings(const char *root, const struct sv_cpus *cpus, struct sv_cpus *siblings)
{
	char path[96], text[SV_CPUS_TEXT];

	memset(siblings, 0, sizeof(*siblings));
	for (int cpu = sv_cpus_next(cpus, -1); cpu >= 0; cpu = sv_cpus_next(cpus, cpu)) {
		struct sv_cpus core;

		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
			cpu);
		if (sv_file_read(root, path, text, sizeof(text)) > 0 &&
			sv_cpus_parse_list(text, &core) == 0)
			sv_cpus_add(siblings, &core);
	}
	sv_cpus_remove(siblings, cpus);
}

void sv_claims_release(struct sv_claims *claims)
{
	if (!claims)
		return;
	drop_until(claims, NULL);
	free(claims);
}

int sv_claims_list(const char *run_dir, struct sv_cpus *exclusive, struct sv_cpus *shared)
{
	int at = sv_file_open(run_dir, "/cpus", O_RDONLY | O_DIRECTORY, 0);
	const struct dirent *e;
	DIR *d;

	memset(exclusive, 0, sizeof(*exclusive));
	memset(shared, 0, sizeof(*shared));
	if (at < 0)
		return at == -ENOENT ? 0 : at;
	d = fdopendir(at);
	if (!d) {
		close(at);
		return -ENOMEM;
	}
	while ((e = readdir(d))) {
		char tail;
		int cpu, fd;

		if (sscanf(e->d_name, "%5d%c", &cpu, &tail) != 1 || cpu < 0)
			continue;
		fd = open_cpu(run_dir, cpu, O_RDONLY | O_NONBLOCK);
		if (fd < 0)
			continue;
		if (blocked(fd, F_RDLCK))
			sv_cpus_set(exclusive, cpu);
		else if (blocked(fd, F_WRLCK))
			sv_cpus_set(shared, cpu);
		close(fd);
	}
	closedir(d);
	return 0;
}

/* The holders that live, one by one. Return: false: no more. */
static bool next_holder(char **save, char *first, int *pid, char *what, char who[65])
{
	for (char *line; (line = strtok_r(first, "\n", save)); first = NULL) {
		unsigned long long start;

		if (sscanf(line, "%d %llu %c %64[ -~]", pid, &start, what, who) == 4 &&
			sv_process_lives("", *pid, start))
			return true;
	}
	return false;
}

static char *read_names(const char *run_dir, int cpu)
{
	char path[64], *names = malloc(NAMES_MAX + 256);

	snprintf(path, sizeof(path), "/cpus/%d", cpu);
	if (names && sv_file_read(run_dir, path, names, NAMES_MAX + 256) > 0)
		return names;
	free(names);
	return NULL;
}

void sv_claims_holder(const char *run_dir, int cpu, char *text, size_t bytes)
{
	char *names = read_names(run_dir, cpu), *save = NULL, who[65], what;
	int pid;

	*text = 0;
	if (names && next_holder(&save, names, &pid, &what, who))
		snprintf(text, bytes, "a %s of '%s' (pid %d)",
			what == 's' ? "sidecore" : what == 'c' ? "control CPU"
				: what == 't' ? "thread beside a core" : "guest core", who, pid);
	free(names);
}

void sv_claims_control(const char *run_dir, struct sv_cpus *control)
{
	struct sv_cpus exclusive, shared;

	memset(control, 0, sizeof(*control));
	if (sv_claims_list(run_dir, &exclusive, &shared) < 0)
		return;
	for (int cpu = sv_cpus_next(&shared, -1); cpu >= 0; cpu = sv_cpus_next(&shared, cpu)) {
		char *names = read_names(run_dir, cpu), *save = NULL, *first = names, who[65], what;
		bool any = false, other = false;
		int pid;

		for (; names && next_holder(&save, first, &pid, &what, who); first = NULL) {
			any = true;
			other |= what != 'c';
		}
		if (any && !other)
			sv_cpus_set(control, cpu);
		free(names);
	}
}
