/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Images that are not raw are served by qemu-nbd, on a socket that only this user reaches: their
 * formats are its matter. What it has not written when it dies is lost, so it is never started again.
 */
#include "dial_private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TOOL "qemu-nbd"
#define START_MS 10000
#define REFUSE_MS 1000
#define STOP_MS 10000
#define NAP_MS 5

static void nap(void)
{
	static const struct timespec slice = {.tv_nsec = NAP_MS * 1000000};

	nanosleep(&slice, NULL);
}

static void become_tool(const struct sv_dial_spec *spec, const char *socket, int output, pid_t parent)
{
	char format[64], at[128];
	const char *argv[16];
	int n = 0;

	snprintf(format, sizeof(format), "--format=%s", spec->format);
	snprintf(at, sizeof(at), "--socket=%s", socket);
	argv[n++] = TOOL;
	argv[n++] = at;
	argv[n++] = format;
	argv[n++] = "--persistent";
	argv[n++] = "--shared=0";
	argv[n++] = "--discard=unmap";
	argv[n++] = spec->direct ? "--cache=none" : "--cache=writeback";
	if (spec->readonly)
		argv[n++] = "--read-only";
	argv[n++] = "--";
	argv[n++] = spec->image;
	argv[n] = NULL;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() == parent) {
		dup2(output, STDERR_FILENO);
		execvp(TOOL, (char **)(uintptr_t)argv);
		dprintf(output, errno == ENOENT
					? TOOL " is missing; install the package qemu-utils\n"
					: TOOL " cannot be started\n");
	}
	_exit(127);
}

static int launch(struct dial_tool *t, const struct sv_dial_spec *spec, const char *socket)
{
	pid_t parent = getpid();
	int out[2];

	if (pipe2(out, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	t->pid = fork();
	if (t->pid == 0)
		become_tool(spec, socket, out[1], parent);
	close(out[1]);
	t->output = out[0];
	if (t->pid < 0) {
		t->pid = 0;
		return -errno;
	}
	return 0;
}

/* Its last words, on one line without its name. */
static void quote(const struct dial_tool *t, char *text, size_t bytes)
{
	static const char prefix[] = TOOL ": ";
	ssize_t n = read(t->output, text, bytes - 1);

	text[n > 0 ? n : 0] = 0;
	text[strcspn(text, "\n")] = 0;
	for (char *s = text; *s; s++)
		if (*s < ' ' || *s > '~')
			*s = '?';
	if (!strncmp(text, prefix, sizeof(prefix) - 1))
		memmove(text, text + sizeof(prefix) - 1, strlen(text) - sizeof(prefix) + 2);
}

bool dial_tool_ended(struct dial_tool *t, struct sv_error *err)
{
	char text[160];
	int status;

	if (!t->dir[0])
		return false;
	if (t->pid && waitpid(t->pid, &status, WNOHANG) == 0)
		return false;
	t->pid = 0;
	quote(t, text, sizeof(text));
	sv_fail(err, EIO, "%s", text[0] ? text : TOOL " ended, and what it had not written is lost");
	return true;
}

static int wait_for_socket(struct dial_tool *t, const struct dial_address *a, struct sv_error *err)
{
	for (unsigned ms = 0; ms < START_MS; ms += NAP_MS) {
		int sock;

		if (dial_tool_ended(t, err))
			return -EIO;
		sock = dial_connect(a, err);
		if (sock >= 0) {
			close(sock);
			return 0;
		}
		nap();
	}
	return sv_fail(err, ETIMEDOUT, TOOL " does not open its socket");
}

static int check_image(const struct sv_dial_spec *spec, struct sv_error *err)
{
	if (strcmp(spec->format, "qcow2") != 0)
		return sv_fail(err, EINVAL, "format %s is not known; raw and qcow2 are", spec->format);
	if (access(spec->image, spec->readonly ? R_OK : R_OK | W_OK) < 0)
		return sv_fail(err, errno, "cannot be opened for %s: %s; check the path and its "
			       "permissions", spec->readonly ? "reading" : "writing", strerror(errno));
	return 0;
}

int dial_tool_start(struct dial_tool *t, const struct sv_dial_spec *spec, struct dial_address *a,
	struct sv_error *err)
{
	int rc = check_image(spec, err);

	if (rc < 0)
		return rc;
	*a = (struct dial_address){.unix_socket = true, .un = {.sun_family = AF_UNIX}};
	snprintf(t->dir, sizeof(t->dir), "/tmp/sidevisor-nbd-XXXXXX");
	if (!mkdtemp(t->dir)) {
		t->dir[0] = 0;
		return sv_fail(err, errno, "no directory for a socket in /tmp: %s", strerror(errno));
	}
	snprintf(a->un.sun_path, sizeof(a->un.sun_path), "%s/socket", t->dir);
	rc = launch(t, spec, a->un.sun_path);
	return rc < 0 ? sv_fail(err, -rc, TOOL ": %s", strerror(-rc))
		      : wait_for_socket(t, a, err);
}

bool dial_tool_refused(struct dial_tool *t, struct sv_error *err)
{
	for (unsigned ms = 0; t->dir[0] && ms < REFUSE_MS; ms += NAP_MS) {
		if (dial_tool_ended(t, err))
			return true;
		nap();
	}
	return false;
}

void dial_tool_stop(struct dial_tool *t)
{
	char path[96];

	for (unsigned ms = 0; t->pid; ms += NAP_MS) {
		if (ms == 0)
			kill(t->pid, SIGTERM);
		if (ms >= STOP_MS)
			kill(t->pid, SIGKILL);
		if (waitpid(t->pid, NULL, ms >= STOP_MS ? 0 : WNOHANG) != 0)
			t->pid = 0;
		else
			nap();
	}
	if (t->output >= 0)
		close(t->output);
	t->output = -1;
	if (!t->dir[0])
		return;
	snprintf(path, sizeof(path), "%s/socket", t->dir);
	unlink(path);
	rmdir(t->dir);
	t->dir[0] = 0;
}
