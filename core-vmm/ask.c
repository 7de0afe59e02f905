/* SPDX-License-Identifier: BSD-3-Clause */
#include "ask.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <channels/atomics.h>
#include <vmm/vmm.h>

#include "balloon.h"
#include "devices.h"
#include "dirty.h"
#include "node.h"
#include "settings.h"
#include "stats.h"
#include "vcpu.h"

#define PREFIX "sidevisor/vm/"
#define ANSWER_MAX (16u << 20)

static socklen_t make_address(struct sockaddr_un *a, const char *name)
{
	memset(a, 0, sizeof(*a));
	a->sun_family = AF_UNIX;
	/* sun_path[0] stays 0: the abstract name space */
	snprintf(a->sun_path + 1, sizeof(a->sun_path) - 1, PREFIX "%s", name);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(a->sun_path + 1));
}

int sv_ask_listen(const char *name, struct sv_error *err)
{
	struct sockaddr_un a;
	socklen_t len = make_address(&a, name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc;

	if (fd < 0)
		return sv_fail(err, errno, "socket: %s", strerror(errno));
	if (bind(fd, (struct sockaddr *)&a, len) == 0 && listen(fd, 16) == 0)
		return fd;
	rc = errno == EADDRINUSE
		     ? sv_fail(err, EADDRINUSE,
			       "--name %s: a VM of this name is running; choose another name or stop it "
			       "with `sidevisor stop %s`", name, name)
		     : sv_fail(err, errno, "--name %s: %s", name, strerror(errno));
	close(fd);
	return rc;
}

static bool allowed(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static void set_deadline(int fd, int seconds)
{
	struct timeval tv = {.tv_sec = seconds};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static char *refusal(const struct sv_error *err)
{
	json_t *o = json_pack("{s:s}", "error", err->text);
	char *text = json_dumps(o, 0);

	json_decref(o);
	return text;
}

static void note(struct sv_vm *vm, const char *device, const char *key, const char *value)
{
	if (!vm->settings)
		vm->settings = calloc(1, sizeof(*vm->settings));
	if (vm->settings)
		sv_settings_note(vm->settings, device, key, value);
}

/* "NAME" or "NAME KEY=VALUE". */
static char *answer_device(struct sv_vm *vm, char *what)
{
	struct sv_error err = {""};
	char *key = strchr(what, ' '), *value = key ? strchr(key, '=') : NULL, *text = NULL;
	int rc;

	if (key)
		*key++ = 0;
	if (value)
		*value++ = 0;
	if (key && !value)
		rc = sv_fail(&err, EINVAL, "%s: write key=value", key);
	else
		rc = sv_node_set_device(*vm->node_sock, vm->config->name, what, key, value, &text, &err);
	if (rc >= 0 && key)
		note(vm, what, key, value);
	return rc < 0 ? refusal(&err) : text;
}

static char *answer_devices(struct sv_vm *vm)
{
	struct sv_error err = {""};
	char *text = NULL;

	return sv_node_stats(*vm->node_sock, &text, &err) < 0 ? refusal(&err) : text;
}

/* How many pages were written since the last time. */
static json_t *take_dirty(struct sv_vm *vm)
{
	uint64_t *bits = calloc(sv_dirty_words(vm), sizeof(bits[0])), n = 0;

	if (bits && sv_dirty_harvest(vm) >= 0)
		n = sv_dirty_take(vm, bits);
	free(bits);
	return json_pack("{s:I}", "pages", (json_int_t)n);
}

/* "start", "stop", "take" (and begin anew), "verify", "show". */
static char *answer_dirty(struct sv_vm *vm, const char *what)
{
	struct sv_error err = {""};
	json_t *o = NULL;
	char *text;
	int rc = 0;

	if (!strcmp(what, "start"))
		rc = sv_dirty_start(vm, &err);
	else if (!vm->dirty)
		rc = sv_fail(&err, ENODEV,
			"this VM's writes are not tracked; run it with --track-dirty");
	else if (!strcmp(what, "stop"))
		sv_dirty_stop(vm);
	else if (!strcmp(what, "take"))
		o = take_dirty(vm);
	else if (!strcmp(what, "verify"))
		o = sv_dirty_verify(vm, &err);
	if (rc < 0 || *err.text)
		return refusal(&err);
	if (!o)
		o = sv_dirty_json(vm);
	text = json_dumps(o, JSON_INDENT(2));
	json_decref(o);
	return text;
}

static char *set_memory(struct sv_vm *vm, uint64_t bytes)
{
	struct sv_balloon *b = sv_devices_balloon(vm);
	int rc = b ? sv_balloon_set(b, bytes) : -ENODEV;

	if (rc == -ENODEV)
		return strdup("{\"error\": \"this VM has no balloon; run it with --balloon\"}");
	if (rc == -EINVAL)
		return strdup("{\"error\": \"give a size up to that of its memory, in whole pages\"}");
	return strdup(rc < 0 ? "{\"error\": \"its balloon does not answer\"}" : "{\"ok\": true}");
}

static char *answer(struct sv_vm *vm, char *command)
{
	if (!strcmp(command, "stats"))
		return sv_stats_json(vm);
	if (!strcmp(command, "stop")) {
		sv_vm_end(vm, SV_END_STOPPED, 0, NULL);
		return strdup("{\"ok\": true}");
	}
	if (!strcmp(command, "pause") || !strcmp(command, "resume")) {
		sv_store_release(&vm->paused, command[0] == 'p');
		sv_vcpus_kick(vm);
		return strdup("{\"ok\": true}");
	}
	if (!strcmp(command, "devices"))
		return answer_devices(vm);
	if (!strncmp(command, "device ", 7))
		return answer_device(vm, command + 7);
	if (!strncmp(command, "dirty ", 6))
		return answer_dirty(vm, command + 6);
	if (!strncmp(command, "memory ", 7))
		return set_memory(vm, strtoull(command + 7, NULL, 10));
	return strdup("{\"error\": \"unknown command\"}");
}

void sv_ask_serve(int listener, struct sv_vm *vm)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	char command[256] = "", *text;
	ssize_t n;

	if (fd < 0)
		return;
	set_deadline(fd, 1);
	n = allowed(fd) ? recv(fd, command, sizeof(command) - 1, 0) : -1;
	if (n > 0) {
		command[strcspn(command, "\n")] = 0;
		text = answer(vm, command);
		for (size_t at = 0, len = text ? strlen(text) : 0; at < len; at += (size_t)n) {
			n = send(fd, text + at, len - at, MSG_NOSIGNAL);
			if (n <= 0)
				break;
		}
		free(text);
	}
	close(fd);
}

int sv_vmm_ask(const char *name, const char *what, char **text, struct sv_error *err)
{
	struct sockaddr_un a;
	socklen_t alen = make_address(&a, name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t len = 0, room = 65536;
	char *buf = malloc(room + 1);
	ssize_t n = -1;

	if (fd < 0 || !buf)
		goto no_memory;
	set_deadline(fd, 5);
	if (connect(fd, (struct sockaddr *)&a, alen) < 0) {
		close(fd);
		free(buf);
		return sv_fail(err, ENOENT,
			"%s: no VM of this name is running here; `sidevisor ps` lists them", name);
	}
	if (send(fd, what, strlen(what), MSG_NOSIGNAL) < 0)
		goto lost;
	while ((n = recv(fd, buf + len, room - len, 0)) > 0) {
		len += (size_t)n;
		if (len == room) {
			char *more = room < ANSWER_MAX ? realloc(buf, room * 2 + 1) : NULL;

			if (!more)
				goto no_memory;
			buf = more;
			room *= 2;
		}
	}
lost:
	close(fd);
	buf[len] = 0;
	if (n < 0 || !len) {
		free(buf);
		return sv_fail(err, EIO, "%s: the VM process does not answer (another user's?)", name);
	}
	*text = buf;
	return 0;
no_memory:
	if (fd >= 0)
		close(fd);
	free(buf);
	return sv_fail(err, ENOMEM, "out of memory");
}

char *sv_vmm_list(void)
{
	FILE *f = fopen("/proc/net/unix", "re");
	json_t *all = json_array();
	char line[512], *text;

	while (f && fgets(line, sizeof(line), f)) {
		char *at = strstr(line, "@" PREFIX);

		if (!at || json_array_size(all) >= 4096)
			continue;
		at += sizeof("@" PREFIX) - 1;
		at[strcspn(at, "\n")] = 0;
		json_array_append_new(all, json_string(at));
	}
	if (f)
		fclose(f);
	text = json_dumps(all, 0);
	json_decref(all);
	return text;
}
