/* SPDX-License-Identifier: BSD-3-Clause */
#include "net_pairs.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"
#include "vu_mask.h"

#define WORD(text) ((char *)(uintptr_t)(text))

/*
 * The first process of both guests. In order: commands that load modules; which of the two it is
 * (1 or 2); programs it needs beside those that all need; which it is, once more.
 */
static const char guest_script[] =
	"#!/bin/sh\nexport PATH=/usr/sbin:/usr/bin:/sbin:/bin\n"
	"mount -t proc none /proc; mount -t sysfs none /sys\n"
	"mount -t devtmpfs none /dev 2>/dev/null\nmount -t tmpfs none /tmp; cd /tmp\n"
	"%s"
	"ip link set lo up; ip link set eth0 up; ip addr add 10.0.0.%u/24 dev eth0\n"
	"rate() { awk '/\"sum_received\"/ { on = 1 }\n"
	"	on && /bits_per_second/ { print $2 + 0; exit }' /tmp/o; }\n"
	"datagrams() { awk '/\"end\"/ { on = 1 } on && /\"sum\"/ { s = 1 }\n"
	"	s && /\"seconds\"/ { t = $2 + 0 }\n"
	"	s && /\"lost_packets\"/ { l = $2 + 0 } s && /\"packets\"/ { p = $2 + 0 }\n"
	"	END { if (t) print (p - l) / t }' /tmp/o; }\n"
	"flood() { to=$(ip neigh show 10.0.0.1 | awk '{ print $5 }')\n"
	"	exec trafgen -q -o eth0 -P 1 --no-sock-mem \\\n"
	"	\"{ eth(da=$to, type=0x88b5), fill(0, 46) }\" >/tmp/t 2>&1; }\n"
	"count() { echo $(date +%%s%%N) $(cat /sys/class/net/eth0/statistics/rx_packets); }\n"
	"frames() { a=$(count); sleep $1\n"
	"	echo $a $(count) | awk '$3 > $1 { print ($4 - $2) / ($3 - $1) * 1e9 }'; }\n"
	"trips() { awk '/received/ { n = $4; t = $NF + 0; if (t) print n * 1000 / t }' /tmp/o; }\n"
	"stty -echo 2>/dev/null\n"
	"for p in ip iperf3 ping %s; do\n"
	"	command -v $p >/dev/null || echo \"@\"\"lacks $p\"\n"
	"done\n"
	"[ %u = 2 ] || iperf3 -s -D >/dev/null\n"
	"echo \"@\"\"up $(uname -r)\"\n"
	"while read -r line; do\n"
	"	[ \"$line\" != bye ] || break\n"
	"	echo \"@\"\"begin\"\n	eval \"$line\"\n	echo \"@\"\"end\"\n"
	"done\necho o >/proc/sysrq-trigger\nsleep 5\n";

/* --- our back end ----------------------------------------------------------------------------- */

static int start_ours(struct net_pairs *s, unsigned i, const char *idle, struct sv_error *err)
{
	struct net_pair *p = &s->at[i];
	char node[128], cpu[16], control[16], net[2][192], log[128];
	char *argv[] = {WORD("/proc/self/exe"), WORD("serve"), WORD("--isolate=none"),
		WORD("--share-cores"), WORD("--cpus"), cpu, WORD("--control-cpu"), control,
		WORD("--idle"), WORD(idle), WORD("--socket"), node, WORD("--net"), net[0],
		WORD("--net"), net[1], NULL};

	snprintf(node, sizeof(node), "%s/node%u", s->dir, i);
	snprintf(cpu, sizeof(cpu), "%d", s->sidecore_cpu);
	snprintf(control, sizeof(control), "%d", s->other_cpu);
	for (unsigned k = 0; k < 2; k++)
		snprintf(net[k], sizeof(net[k]), "path=%s,switch=lan,mac=52:54:00:00:00:0%u",
			p->port[k], k + 1);
	snprintf(log, sizeof(log), "%s/log%u", s->dir, i);
	p->back_end = io_spawn(argv, s->sidecore_cpu, s->other_cpu, -1, -1, log);
	if (p->back_end < 0)
		return sv_fail(err, -p->back_end, "sidevisor serve: %s", strerror(-p->back_end));
	return io_await(p->port[1], p->back_end, log, err);
}

/* --- the peer --------------------------------------------------------------------------------- */

/*
 * What testpmd's vhost ports offer and these guests cannot use: a control queue, which the ports
 * leave to QEMU, so that a driver that talks to them directly would wait for ever for the answer to
 * its first command; and packed rings, for which User-mode Linux starts a ring at 0 instead of at
 * its wrap counter.
 */
#define NOT_FOR_UML \
	(1ull << VIRTIO_F_RING_PACKED | 1ull << VIRTIO_NET_F_CTRL_VQ | \
		1ull << VIRTIO_NET_F_CTRL_RX | 1ull << VIRTIO_NET_F_CTRL_VLAN | \
		1ull << VIRTIO_NET_F_CTRL_RX_EXTRA | 1ull << VIRTIO_NET_F_GUEST_ANNOUNCE | \
		1ull << VIRTIO_NET_F_MQ | 1ull << VIRTIO_NET_F_CTRL_MAC_ADDR | \
		1ull << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)

/* As execvp() finds it. */
static bool in_path(const char *program)
{
	const char *path = getenv("PATH");
	char at[512];

	while (path && *path) {
		size_t n = strcspn(path, ":");

		snprintf(at, sizeof(at), "%.*s/%s", (int)n, path, program);
		if (n && access(at, X_OK) == 0)
			return true;
		path += n + (path[n] == ':');
	}
	return false;
}

bool net_peer_is_there(void)
{
	return in_path("dpdk-testpmd") && __builtin_cpu_supports("sse4.2");
}

/*
 * testpmd joins two ports without looking at an address. It polls from now on, and whenever it is
 * not stopped; one that is stopped does not notice a gentle signal at its parent's end.
 */
static int start_testpmd(struct net_pairs *s, unsigned i, struct sv_error *err)
{
	struct net_pair *p = &s->at[i];
	char lcores[32], vdev[2][224], behind[160], log[128];
	char *argv[] = {WORD("setpriv"), WORD("--pdeathsig=KILL"), WORD("dpdk-testpmd"),
		WORD("--lcores"), lcores, WORD("--no-pci"), WORD("--no-telemetry"), WORD("-m"),
		WORD("256"), WORD("--no-huge"), WORD("--file-prefix=t"), WORD("--vdev"), vdev[0],
		WORD("--vdev"), vdev[1], WORD("--"), WORD("--nb-cores=1"), WORD("--no-mlockall"),
		WORD("--total-num-mbufs=16384"), WORD("--stats-period=3600"),
		WORD("--forward-mode=io"), NULL};
	int rc = 0;

	snprintf(lcores, sizeof(lcores), "(0,1)@%d", s->sidecore_cpu);
	for (unsigned k = 0; k < 2; k++)
		snprintf(vdev[k], sizeof(vdev[k]),
			"net_vhost%u,iface=%.127s-behind,queues=1,tso=1,legacy-ol-flags=1", k,
			p->port[k]);
	snprintf(log, sizeof(log), "%s/log%u", s->dir, i);
	setenv("RUNTIME_DIRECTORY", s->dir, 1); /* where DPDK leaves files */
	p->back_end = io_spawn(argv, s->sidecore_cpu, s->other_cpu, -1, -1, log);
	unsetenv("RUNTIME_DIRECTORY");
	if (p->back_end < 0)
		return sv_fail(err, -p->back_end, "dpdk-testpmd: %s", strerror(-p->back_end));
	for (unsigned k = 0; k < 2 && rc == 0; k++) {
		snprintf(behind, sizeof(behind), "%s-behind", p->port[k]);
		rc = io_await(behind, p->back_end, log, err);
		if (rc == 0)
			rc = vu_mask_start(&p->mask[k], p->port[k], behind, NOT_FOR_UML, err);
	}
	return rc;
}

void net_pair_turn(const struct net_pairs *s, unsigned i, bool begin)
{
	if (i == NET_PEER && s->at[i].back_end > 0)
		kill(s->at[i].back_end, begin ? SIGCONT : SIGSTOP);
}

/* --- guests ----------------------------------------------------------------------------------- */

static int write_init(const struct net_pairs *s, unsigned k, char *path, size_t room,
	struct sv_error *err)
{
	static const char *const modules[] = {
		"../net/core/failover", "net/net_failover", "net/virtio_net"};
	char insmod[1024] = "", module[256];
	size_t n = 0;
	FILE *f;
	int rc;

	for (unsigned m = 0; m < 3; m++)
		if (io_uml_module(modules[m], module, sizeof(module)))
			n += (size_t)snprintf(
				insmod + n, sizeof(insmod) - n, "insmod %s\n", module);
	if (!strstr(insmod, "virtio_net"))
		return sv_fail(err, ENOENT,
			"no virtio_net module for User-mode Linux: install user-mode-linux");
	snprintf(path, room, "%s/init%u", s->dir, k);
	f = fopen(path, "we");
	if (!f)
		return sv_fail(err, errno, "%s: %s", path, strerror(errno));
	fprintf(f, guest_script, insmod, k + 1, s->frames ? "trafgen pkill" : "", k + 1);
	rc = ferror(f) | fchmod(fileno(f), 0700);
	return fclose(f) || rc ? sv_fail(err, EIO, "%s: cannot be written", path) : 0;
}

static int start_guest(struct net_pairs *s, unsigned i, unsigned k, struct sv_error *err)
{
	struct net_pair *p = &s->at[i];
	char init[128], init_is[160], uml_dir[160], umid[32], port[192], log[128];
	char *argv[] = {WORD("linux.uml"), WORD("mem=128M"), WORD("rootfstype=hostfs"),
		WORD("rootflags=/"), WORD("rw"), init_is, port, WORD("con=null"),
		WORD("con0=fd:0,fd:1"), WORD("ssl=null"), WORD("quiet"), WORD("loglevel=1"),
		uml_dir, umid, NULL};
	int cpu = k && s->other_cpu != s->sidecore_cpu ? s->other_cpu : s->guest_cpu;
	int rc = write_init(s, k, init, sizeof(init), err);

	if (rc < 0)
		return rc;
	snprintf(init_is, sizeof(init_is), "init=%s", init);
	snprintf(uml_dir, sizeof(uml_dir), "uml_dir=%s/", s->dir);
	snprintf(umid, sizeof(umid), "umid=g%u%u", i, k);
	snprintf(port, sizeof(port), "virtio_uml.device=%s:1", p->port[k]);
	snprintf(log, sizeof(log), "%s/guest%u%u", s->dir, i, k);
	io_uml_preload();
	rc = io_guest_start(&p->guest[k], argv, cpu, cpu, log, err);
	unsetenv("LD_PRELOAD");
	return rc < 0 ? rc : io_guest_up(&p->guest[k], s->release, sizeof(s->release), err);
}

/* --- pairs ------------------------------------------------------------------------------------ */

static int start_back_end(struct net_pairs *s, unsigned i, struct sv_error *err)
{
	return i == NET_PEER ? start_testpmd(s, i, err)
			     : start_ours(s, i, i == NET_OURS ? "2000" : "0", err);
}

static int start_pair(struct net_pairs *s, unsigned i, struct sv_error *err)
{
	static const struct net_pair plan[NET_PAIRS] = {
		[NET_OURS] = {.key = "ours", .what = "sidevisor's switch, the sidecore polls"},
		[NET_OURS_EXIT] = {.key = "ours_exit", .what = "sidevisor's switch, woken by kicks"},
		[NET_PEER] = {.key = "testpmd", .what = "DPDK's testpmd, polls"},
	};
	static const char reach[] = "for i in 1 2 3 4 5; do ping -q -c 1 -W 1 10.0.0.1 >/dev/null &&"
				    " break; done; echo $?";
	struct net_pair *p = &s->at[i];
	char *answer;
	int rc;

	bench_progress("the guests of %s", plan[i].what);
	*p = plan[i];
	s->n = i + 1;
	for (unsigned k = 0; k < 2; k++)
		snprintf(p->port[k], sizeof(p->port[k]), "%s/net%u%u", s->dir, i, k);
	rc = start_back_end(s, i, err);
	for (unsigned k = 0; k < 2 && rc == 0; k++)
		rc = start_guest(s, i, k, err);
	if (rc == 0)
		rc = io_guest_ask(&p->guest[1], reach, 20000, &answer, err);
	if (rc == 0 && atoi(answer) != 0)
		rc = sv_fail(err, EHOSTUNREACH, "%s: the guests do not reach each other", p->what);
	if (rc == 0)
		net_pair_turn(s, i, false);
	return rc;
}

int net_pairs_start(struct net_pairs *s, unsigned n, struct sv_error *err)
{
	const char *tmp = getenv("TMPDIR");
	int rc = 0;

	if (snprintf(s->dir, sizeof(s->dir), "%s/sidevisor-net.XXXXXX",
		    tmp && *tmp ? tmp : "/tmp") >= (int)sizeof(s->dir) || !mkdtemp(s->dir)) {
		rc = sv_fail(err, errno, "%s: %s", s->dir, strerror(errno));
		s->dir[0] = 0;
		return rc;
	}
	setenv("SIDEVISOR_RUN_DIR", s->dir, 1);
	for (unsigned i = 0; i < n && rc == 0; i++)
		rc = start_pair(s, i, err);
	return rc;
}

void net_pairs_stop(struct net_pairs *s)
{
	for (unsigned i = 0; i < s->n; i++) {
		struct net_pair *p = &s->at[i];

		net_pair_turn(s, i, true);
		io_guest_stop(&p->guest[1]);
		io_guest_stop(&p->guest[0]);
		vu_mask_stop(p->mask[0]);
		vu_mask_stop(p->mask[1]);
		io_end(p->back_end);
	}
	if (s->dir[0])
		io_remove(s->dir);
}
