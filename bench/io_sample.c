/* SPDX-License-Identifier: BSD-3-Clause */
/* What the host counts for a target: our node's counters, processor time, KVM's exits. */
#include "io.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <vmm/vmm.h>

const char *const io_kind_name[IO_KINDS] = {"io_exits", "mmio_exits", "halt_exits", "irq_exits",
	"irq_window_exits", "nmi_exits", "hypercalls", "irq_injections"};

static double cpu_ns(pid_t pid)
{
	unsigned long user, system;
	char path[64], text[1024], *p;
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return -1;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	p = strrchr(text, ')');
	if (!p || sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
		return -1;
	return (double)(user + system) * 1e9 / (double)sysconf(_SC_CLK_TCK);
}

static json_t *node_stats(const char *socket_path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	json_t *o = NULL;
	char *text = NULL;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (strlen(socket_path) < sizeof(sun.sun_path))
		strcpy(sun.sun_path, socket_path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0 &&
		sv_node_stats(fd, &text, NULL) == 0)
		o = json_loads(text, 0, NULL);
	free(text);
	if (fd >= 0)
		close(fd);
	return o;
}

static double number(json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);

	return json_is_number(v) ? json_number_value(v) : -1;
}

/* The disk is the only device of its node, or of the only VM there. */
static void from_node(const struct io_target *t, struct io_sample *s)
{
	json_t *o = node_stats(t->node), *d = json_array_get(json_object_get(o, "devices"), 0);
	json_t *vms = json_object_get(o, "vms");
	double ticks = number(o, "ticks_per_us");

	for (size_t v = 0; !d && v < json_array_size(vms); v++) {
		json_t *all = json_object_get(json_array_get(vms, v), "devices"), *one;
		size_t i;

		json_array_foreach(all, i, one)
			if (!strcmp(json_string_value(json_object_get(one, "class")), "blk"))
				d = one;
	}
	s->of[IO_KICKS] = number(d, "kicks");
	if (ticks > 0 && number(d, "busy_ticks") >= 0)
		s->of[IO_BUSY_NS] = number(d, "busy_ticks") * 1000 / ticks;
	json_decref(o);
}

static double file_number(const char *dir, const char *name)
{
	char path[512];
	double v = -1;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "re");
	if (!f)
		return -1;
	if (fscanf(f, "%lf", &v) != 1)
		v = -1;
	fclose(f);
	return v;
}

/* KVM counts for every VMM alike, in debugfs under the process that made the VM. */
static void from_kvm(pid_t vmm, struct io_sample *s)
{
	char pattern[64];
	glob_t g;

	snprintf(pattern, sizeof(pattern), "/sys/kernel/debug/kvm/%d-*", (int)vmm);
	if (glob(pattern, 0, NULL, &g) != 0)
		return;
	s->of[IO_EXITS] = file_number(g.gl_pathv[0], "exits");
	for (unsigned k = 0; k < IO_KINDS; k++)
		s->exits[k] = file_number(g.gl_pathv[0], io_kind_name[k]);
	globfree(&g);
}

void io_sample(const struct io_target *t, struct io_sample *s)
{
	for (unsigned i = 0; i < IO_COUNTERS; i++)
		s->of[i] = -1;
	for (unsigned k = 0; k < IO_KINDS; k++)
		s->exits[k] = -1;
	s->of[IO_CPU_NS] = cpu_ns(t->back_end ? t->back_end : t->guest->pid);
	if (*t->node)
		from_node(t, s);
	from_kvm(t->guest->pid, s);
}
