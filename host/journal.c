/* SPDX-License-Identifier: BSD-3-Clause */
/* The journal as a file. Read back it is foreign: every field is checked, every length bounded. */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_MS 5000

/* --- reading ----------------------------------------------------------------------------------- */

static int take_set(const json_t *o, const char *key, struct sv_cpus *set)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? sv_cpus_parse_list(text, set) : -EINVAL;
}

static int take_owner(struct journal *j, const json_t *o)
{
	struct owner *w = &j->owner[j->owners];
	json_int_t id = json_integer_value(json_object_get(o, "id"));
	json_int_t pid = json_integer_value(json_object_get(o, "pid"));
	json_int_t start = json_integer_value(json_object_get(o, "start"));
	const char *name = json_string_value(json_object_get(o, "name"));

	if (id < 1 || id > 1000000000 || pid < 1 || pid > 1 << 30 || start < 0 || !name ||
		journal_owner(j, (unsigned)id) || take_set(o, "cpus", &w->cpus) < 0)
		return -EINVAL;
	w->id = (unsigned)id;
	w->pid = (int)pid;
	w->start = (unsigned long long)start;
	snprintf(w->name, sizeof(w->name), "%s", name);
	j->owners++;
	return 0;
}

static int take_change(struct journal *j, const json_t *o)
{
	const char *kind = json_string_value(json_object_get(o, "kind"));
	const char *path = json_string_value(json_object_get(o, "path"));
	const json_t *owners = json_object_get(o, "owners");
	struct change *c;
	unsigned k = 0;

	while (k < CHANGE_KINDS && (!kind || strcmp(kind, change_name((enum change_kind)k)) != 0))
		k++;
	if (k == CHANGE_KINDS || !path || !change_path_is_ours((enum change_kind)k, path) ||
		journal_find(j, path) || json_array_size(owners) > CHANGE_OWNERS)
		return -EINVAL;
	c = journal_add(j, (enum change_kind)k, path);
	if (!c)
		return -ENOMEM;
	if (change_has_value(c->kind) && (take_set(o, "old", &c->old) < 0 ||
		take_set(o, "was", &c->was) < 0 || take_set(o, "now", &c->now) < 0))
		return -EINVAL;
	for (size_t i = 0; i < json_array_size(owners); i++) {
		unsigned id = (unsigned)json_integer_value(json_array_get(owners, i));

		if (!journal_owner(j, id) || change_add_owner(c, id) < 0)
			return -EINVAL;
	}
	return 0;
}

static int take_all(struct journal *j, const json_t *all)
{
	const json_t *owners = json_object_get(all, "owners"), *changes = json_object_get(all, "changes");
	size_t n = json_array_size(owners);
	int rc = 0;

	if (json_integer_value(json_object_get(all, "version")) != 1 || n > JOURNAL_OWNERS ||
		json_array_size(changes) > JOURNAL_CHANGES)
		return -EINVAL;
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = take_owner(j, json_array_get(owners, i));
	for (size_t i = 0; i < json_array_size(changes) && rc == 0; i++)
		rc = take_change(j, json_array_get(changes, i));
	return rc;
}

static void read_boot_id(const char *root, char *text, size_t bytes)
{
	if (sv_file_read(root, "/proc/sys/kernel/random/boot_id", text, bytes) < 0)
		*text = 0;
	text[strcspn(text, "\n")] = 0;
}

static char *read_file(struct journal *j, ssize_t *len)
{
	char *text = NULL;
	struct stat st;
	int fd = sv_file_open(j->dir, j->file, O_RDONLY | O_NONBLOCK, 0);

	*len = fd;
	if (fd < 0)
		return NULL;
	*len = -EBADMSG;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
		(st.st_uid == 0 || st.st_uid == geteuid()) && !(st.st_mode & S_IWOTH) &&
		st.st_size < JOURNAL_BYTES)
		text = malloc(JOURNAL_BYTES + 1);
	close(fd);
	if (text)
		*len = sv_file_read(j->dir, j->file, text, JOURNAL_BYTES);
	return text;
}

static int load(struct journal *j, struct sv_error *err)
{
	json_error_t where = {.line = 1};
	char boot[64] = "";
	const char *theirs;
	ssize_t len;
	char *text = read_file(j, &len);
	json_t *all;
	int rc;

	if (len == -ENOENT) {
		free(text);
		return 0;
	}
	j->was_there = true;
	all = text && len >= 0 ? json_loadb(text, (size_t)len, JSON_REJECT_DUPLICATES, &where) : NULL;
	free(text);
	read_boot_id(j->root, boot, sizeof(boot));
	theirs = json_string_value(json_object_get(all, "boot"));
	if (theirs && *boot && strcmp(theirs, boot) != 0)
		rc = 0; /* what it records ended with that boot */
	else
		rc = all ? take_all(j, all) : -EBADMSG;
	json_decref(all);
	if (rc == 0)
		return 0;
	j->owners = j->changes = 0;
	return sv_fail(err, rc == -ENOMEM ? ENOMEM : EBADMSG,
		"%s%s: not a journal of ours (line %d); nothing was changed. Look at it, then "
		"remove it", j->dir, j->file, where.line > 0 ? where.line : 1);
}

/* --- writing ----------------------------------------------------------------------------------- */

static json_t *set_json(const struct sv_cpus *set)
{
	char text[SV_CPUS_TEXT] = "";

	sv_cpus_print_list(set, text, sizeof(text));
	return json_string(text);
}

static json_t *change_json(const struct change *c)
{
	json_t *o = json_object(), *owners = json_array();

	json_object_set_new(o, "kind", json_string(change_name(c->kind)));
	json_object_set_new(o, "path", json_string(c->path));
	if (change_has_value(c->kind)) {
		json_object_set_new(o, "old", set_json(&c->old));
		json_object_set_new(o, "was", set_json(&c->was));
		json_object_set_new(o, "now", set_json(&c->now));
	}
	for (unsigned i = 0; i < c->owners; i++)
		json_array_append_new(owners, json_integer(c->owner[i]));
	json_object_set_new(o, "owners", owners);
	return o;
}

static json_t *journal_json(struct journal *j)
{
	json_t *all = json_object(), *owners = json_array(), *changes = json_array();
	char boot[64];

	read_boot_id(j->root, boot, sizeof(boot));
	for (unsigned i = 0; i < j->owners; i++) {
		json_t *o = json_pack("{s:i, s:i, s:I, s:s, s:o}", "id", (int)j->owner[i].id, "pid",
			j->owner[i].pid, "start", (json_int_t)j->owner[i].start, "name",
			j->owner[i].name, "cpus", set_json(&j->owner[i].cpus));

		json_array_append_new(owners, o);
	}
	for (unsigned i = 0; i < j->changes; i++)
		json_array_append_new(changes, change_json(&j->change[i]));
	json_object_set_new(all, "version", json_integer(1));
	json_object_set_new(all, "boot", json_string(boot));
	json_object_set_new(all, "owners", owners);
	json_object_set_new(all, "changes", changes);
	return all;
}

static int write_new(struct journal *j, const char *text)
{
	int fd = sv_file_open(j->dir, j->new_file, O_WRONLY | O_CREAT | O_TRUNC, 0644), rc = 0;
	size_t len = strlen(text);

	if (fd < 0)
		return fd;
	for (size_t at = 0; at < len && rc == 0;) {
		ssize_t n = write(fd, text + at, len - at);

		if (n <= 0)
			rc = n < 0 ? -errno : -EIO;
		else
			at += (size_t)n;
	}
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

static int replace(struct journal *j, const char *text)
{
	int dir = open(j->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

	if (dir < 0)
		return -errno;
	if (text) {
		rc = write_new(j, text);
		if (rc == 0 && renameat(dir, &j->new_file[1], dir, &j->file[1]) < 0)
			rc = -errno;
	} else if (unlinkat(dir, &j->file[1], 0) < 0 && errno != ENOENT) {
		rc = -errno;
	}
	if (rc == 0 && fsync(dir) < 0 && errno != EINVAL)
		rc = -errno;
	close(dir);
	return rc;
}

void journal_forget_owners(struct journal *j)
{
	for (unsigned i = 0; i < j->owners; i++) {
		bool any = false;

		for (unsigned k = 0; k < j->changes && !any; k++)
			any = change_is_of(&j->change[k], j->owner[i].id);
		if (!any)
			j->owner[i--] = j->owner[--j->owners];
	}
}

int journal_save(struct journal *j, struct sv_error *err)
{
	int rc = sv_file_ask("save", j->file);
	char *text = NULL;
	json_t *all;

	if (rc == 0 && j->changes) {
		all = journal_json(j);
		text = json_dumps(all, JSON_INDENT(1));
		json_decref(all);
		rc = text ? 0 : -ENOMEM;
	}
	if (rc == 0 && (text || j->was_there))
		rc = replace(j, text);
	j->was_there |= rc == 0 && text;
	free(text);
	if (rc < 0)
		return sv_fail(err, -rc, "%s%s: cannot be written: %s", j->dir, j->file,
			strerror(-rc));
	sv_file_told("save", j->file);
	return 0;
}

/* --- the lock ---------------------------------------------------------------------------------- */

static int lock(struct journal *j, struct sv_error *err)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct timespec slice = {.tv_nsec = 5000000};

	j->lock_fd = sv_file_open(j->dir, j->lock_file, O_RDWR | O_CREAT, 0644);
	if (j->lock_fd < 0)
		return sv_fail(err, -j->lock_fd, "%s%s: %s", j->dir, j->lock_file, strerror(-j->lock_fd));
	for (int ms = 0; ms < LOCK_MS; ms += 5) {
		if (fcntl(j->lock_fd, F_OFD_SETLK, &fl) == 0)
			return 0;
		nanosleep(&slice, NULL);
	}
	close(j->lock_fd);
	j->lock_fd = -1;
	return sv_fail(err, ETIMEDOUT, "%s%s: held by another for more than %d s", j->dir,
		j->lock_file, LOCK_MS / 1000);
}

/* In a directory that is not ours (a group's), each user has a journal of its own. */
static void choose_names(struct journal *j)
{
	char suffix[16] = "";
	struct stat st;

	if (stat(j->dir, &st) == 0 && st.st_uid != geteuid())
		snprintf(suffix, sizeof(suffix), ".%u", (unsigned)geteuid());
	snprintf(j->file, sizeof(j->file), "/host.journal%s", suffix);
	snprintf(j->new_file, sizeof(j->new_file), "/host.journal%s.new", suffix);
	snprintf(j->lock_file, sizeof(j->lock_file), "/host.lock%s", suffix);
}

int journal_open(struct journal *j, const char *root, const char *dir, struct sv_error *err)
{
	int rc;

	*j = (struct journal){.root = root, .dir = dir, .lock_fd = -1};
	j->owner = calloc(JOURNAL_OWNERS, sizeof(j->owner[0]));
	if (!j->owner)
		return sv_fail(err, ENOMEM, "out of memory");
	choose_names(j);
	rc = lock(j, err);
	if (rc == 0)
		rc = load(j, err);
	if (rc == 0)
		journal_forget_owners(j);
	if (rc < 0)
		journal_close(j);
	return rc;
}

void journal_close(struct journal *j)
{
	if (j->lock_fd >= 0)
		close(j->lock_fd);
	free(j->owner);
	free(j->change);
	j->owner = NULL;
	j->change = NULL;
	j->lock_fd = -1;
}
