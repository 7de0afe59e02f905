/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest with its console on pipes: it runs fio when told to and answers with fio's record. */
#include "common.h"
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UP_MS 60000
#define GRACE_MS 120000
#define STOP_MS 10000
#define LOOK_MS 1000 /* for a signal that came just before a wait */

/*
 * Lines from the host: DEVICE SECONDS ARGUMENT...; "report" asks for what it found, in one short
 * JSON object; "bye" ends it. Nothing is said between, because each character may cost exits. The markers stand in quotes
 * so that an echo of this text is not taken for an answer.
 */
const char io_guest_loop[] =
	"irq() { awk '/virtio.*(uml|req|input)|virtio[0-9]+$/ { n = 0; for (i = 2; i <= NF; i++) "
	"if ($i ~ /^[0-9]+$/) n += $i; else break; s = s sep n; sep = \", \" } "
	"END { print \"[\" s \"]\" }' /proc/interrupts; }\n"
	"brief() { awk '\n"
	"	/\"error\" :/ { e = $3 }\n"
	"	/\"(read|write|trim|sync)\" : [{]/ { d = $1 }\n"
	"	/\"iops\" :/ { iops[d] = $3 }\n"
	"	/\"total_ios\" :/ { n[d] = $3 }\n"
	"	/\"(slat|clat|lat)_ns\" :/ { c = /clat/ }\n"
	"	c && /\"mean\" :/ { mean[d] = $3 }\n"
	"	c && /\"50.000000\" :/ { p50[d] = $3 }\n"
	"	c && /\"99.000000\" :/ { p99[d] = $3 }\n"
	"	END { printf \"\\\"error\\\": %d\", e; for (d in n) printf \", %s: { \\\"iops\\\": %f, \"\\\n"
	"		\"\\\"total_ios\\\": %d, \\\"mean\\\": %f, \\\"p50\\\": %d, \\\"p99\\\": %d }\", \\\n"
	"		d, iops[d], n[d], mean[d], p50[d], p99[d] }' /tmp/fio; }\n"
	"stty -echo 2>/dev/null\n"
	"command -v fio >/dev/null || echo \"@\"\"lacks fio\"\n"
	"echo \"@\"\"up $(uname -r)\"\n"
	"while read -r device seconds args; do\n"
	"	[ \"$device\" != bye ] || break\n"
	"	if [ \"$device\" = report ]; then\n"
	"		echo \"@\"\"begin\"\n"
	"		echo \"{ $(brief), \\\"before\\\": $before, \\\"after\\\": $after,\"\n"
	"		echo \"\\\"cache\\\": \\\"$(cat /sys/block/$disk/queue/write_cache)\\\" }\"\n"
	"		echo \"@\"\"end\"\n"
	"		continue\n"
	"	fi\n"
	"	disk=$device before=$(irq)\n"
	"	fio --name=w --filename=/dev/$device --direct=1 --ioengine=libaio --time_based \\\n"
	"		--runtime=$seconds --norandommap --randrepeat=0 --output-format=json $args \\\n"
	"		>/tmp/fio 2>/dev/null\n"
	"	after=$(irq)\n"
	"	echo \"@\"\"end\"\n"
	"done\n";

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int io_guest_start(struct io_guest *g, char *const argv[], int a, int b, const char *log,
	struct sv_error *err)
{
	int to[2], from[2];

	if (pipe2(to, O_CLOEXEC) < 0 || pipe2(from, O_CLOEXEC) < 0)
		return sv_fail(err, errno, "pipe: %s", strerror(errno));
	snprintf(g->log, sizeof(g->log), "%s", log);
	g->pid = io_spawn(argv, a, b, to[0], from[1], log);
	close(to[0]);
	close(from[1]);
	if (g->pid < 0) {
		int rc = g->pid;

		g->pid = 0;
		close(to[1]);
		close(from[0]);
		return sv_fail(err, -rc, "%s: %s", argv[0], strerror(-rc));
	}
	g->out = to[1];
	g->in = from[0];
	return 0;
}

int io_pin_vcpus(pid_t pid, int cpu, struct sv_error *err)
{
	unsigned pinned = 0;
	char pattern[64];
	cpu_set_t set;
	glob_t g;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	snprintf(pattern, sizeof(pattern), "/proc/%d/task/*/comm", (int)pid);
	if (glob(pattern, 0, NULL, &g) != 0)
		return sv_fail(err, ESRCH, "the guest is gone");
	for (size_t i = 0; i < g.gl_pathc; i++) {
		FILE *f = fopen(g.gl_pathv[i], "re");
		char name[32] = "";

		if (f && fgets(name, sizeof(name), f) && !strncmp(name, "CPU ", 4)) {
			pid_t tid = (pid_t)atoi(strstr(g.gl_pathv[i], "/task/") + 6);

			pinned += sched_setaffinity(tid, sizeof(set), &set) == 0;
		}
		if (f)
			fclose(f);
	}
	globfree(&g);
	return pinned ? 0 : sv_fail(err, ESRCH, "QEMU has no thread that is called a vCPU");
}

/* Read on until the line @marker is there; *line: its beginning in g->text. Return: 0 or -errno. */
static int await(struct io_guest *g, const char *marker, uint64_t ms, char **line)
{
	uint64_t deadline = now_ms() + ms;

	for (;;) {
		struct pollfd p = {.fd = g->in, .events = POLLIN};
		uint64_t now = now_ms();
		ssize_t n;
		int ready;

		g->text[g->have] = 0;
		*line = strstr(g->text, marker);
		if (*line && strchr(*line, '\n'))
			return 0;
		if (g->have + 1 == sizeof(g->text))
			return -EMSGSIZE;
		if (bench_interrupted())
			return -EINTR;
		if (now >= deadline)
			return -ETIMEDOUT;
		ready = poll(&p, 1, deadline - now < LOOK_MS ? (int)(deadline - now) : LOOK_MS);
		if (ready == 0 || (ready < 0 && errno == EINTR))
			continue;
		n = read(g->in, g->text + g->have, sizeof(g->text) - 1 - g->have);
		if (n <= 0)
			return -EPIPE;
		for (ssize_t i = n; i > 0; i--) { /* carriage returns of the terminal */
			char *c = &g->text[g->have];

			if (*c == '\r')
				memmove(c, c + 1, (size_t)i - 1);
			else
				g->have++;
		}
	}
}

static int gave_up(const struct io_guest *g, int rc, const char *doing, struct sv_error *err)
{
	size_t tail = g->have > 150 ? g->have - 150 : 0;
	char log[200];

	io_beginning(g->log, log, sizeof(log));
	return sv_fail(err, -rc, "the guest of %s %s while %s; it said last: %s%s",
		strrchr(g->log, '/') ? strrchr(g->log, '/') + 1 : g->log,
		rc == -ETIMEDOUT ? "did not answer" : "ended", doing, g->text + tail, log);
}

int io_guest_up(struct io_guest *g, char *release, size_t room, struct sv_error *err)
{
	char *line;
	char *lacks;
	int rc = await(g, "@up ", UP_MS, &line);

	if (rc < 0)
		return gave_up(g, rc, "booting", err);
	lacks = strstr(g->text, "@lacks ");
	if (lacks)
		return sv_fail(err, ENOENT, "the guest has no %.*s: install it in its root file system",
			(int)strcspn(lacks + 7, "\n"), lacks + 7);
	snprintf(release, room, "%.*s", (int)strcspn(line + 4, "\n"), line + 4);
	return 0;
}

int io_guest_ask(struct io_guest *g, const char *line, unsigned ms, char **answer,
	struct sv_error *err)
{
	size_t n = strlen(line);
	char *end;
	int rc;

	g->have = 0;
	if (write(g->out, line, n) != (ssize_t)n || write(g->out, "\n", 1) != 1)
		return sv_fail(err, EIO, "the guest takes no command");
	rc = await(g, "@end", ms, &end);
	if (rc < 0)
		return gave_up(g, rc, line, err);
	*end = 0;
	*answer = strstr(g->text, "@begin\n");
	*answer = *answer ? *answer + 7 : g->text;
	return 0;
}

int io_guest_fio(struct io_guest *g, const char *device, const char *args, double seconds,
	struct sv_error *err)
{
	char command[512], *answer = NULL;

	snprintf(command, sizeof(command), "%s %g %s", device, seconds, args);
	return io_guest_ask(g, command, (unsigned)(seconds * 1000) + GRACE_MS, &answer, err);
}

int io_guest_record(struct io_guest *g, json_t **out, struct sv_error *err)
{
	char *answer = NULL;
	int rc = io_guest_ask(g, "report", GRACE_MS, &answer, err);

	if (rc < 0)
		return rc;
	*out = json_loads(answer, 0, NULL);
	return *out ? 0 : sv_fail(err, EPROTO, "fio in the guest: no record: %.300s", answer);
}

void io_guest_stop(struct io_guest *g)
{
	uint64_t deadline = now_ms() + (bench_interrupted() ? 0 : STOP_MS);

	if (!g->pid)
		return;
	(void)!write(g->out, "bye\n", 4);
	while (waitpid(g->pid, NULL, WNOHANG) == 0) {
		if (now_ms() > deadline) {
			kill(-g->pid, SIGKILL);
			waitpid(g->pid, NULL, 0);
			break;
		}
		usleep(20000);
	}
	kill(-g->pid, SIGKILL); /* what User-mode Linux left behind */
	close(g->in);
	close(g->out);
	g->pid = 0;
}
