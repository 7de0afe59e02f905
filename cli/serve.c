/* SPDX-License-Identifier: BSD-3-Clause */
/* sidevisor serve: the node's sidecores, with every kind of device there is. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <io/blk_export.h>
#include <io/devices.h>
#include <io/dial.h>
#include <io/filter.h>
#include <io/net_export.h>
#include <io/uplink.h>
#include <pager/pager.h>
#include <sidecore/node.h>

#include "again.h"
#include "cli.h"
#include "enforce.h"
#include "paging.h"
#include "place.h"
#include "serve_profile.h"

#define DEFAULT_IDLE_US 2000
#define DISKS 64u
#define NETS 64u
#define UPLINKS 16u

static const char help[] =
	"usage: sidevisor serve [PROFILE] [OPTION...]\n"
	"\n"
	"Run this node's sidecores in the foreground, until SIGINT or SIGTERM. PROFILE is a node profile\n"
	"(default " SV_PROFILE_NODE ", when there is one); an option overrides it.\n"
	"\n"
	"  -c, --cpus LIST         one sidecore on each of these CPUs (default: one, chosen)\n"
	"  -s, --socket PATH       where VMs attach (default " SV_CONTROL_SOCKET ")\n"
	"      --sidecores N|auto  how many are chosen when --cpus names none (default 1); auto: one in\n"
	"                          each cache domain of the machine\n"
	"      --control-cpu CPU   of the control thread (default: chosen)\n"
	"      --idle MICROSECONDS a sidecore sleeps after so long without work (default 2000);\n"
	"                          `never`: it polls for ever\n"
	"      --blk path=IMAGE,socket=SOCKET[,readonly][,direct][,discard][,writethrough][,in-order]\n"
	"                          [,pinned][,iopoll][,queues=N][,serial=TEXT][,format=raw|qcow2]\n"
	"                          [,deadline=SECONDS]\n"
	"                          [,filters=NAME:FILE[+NAME:FILE]...]:\n"
	"                          IMAGE may be nbd://HOST/EXPORT: a disk for a vhost-user front end that\n"
	"                          is not sidevisor's, such as QEMU; may be given several times\n"
	"      --net path=SOCKET,switch=NAME[,mac=ADDRESS][,vlan=N][,mtu=N][,queues=N][,spoof][,trunk]\n"
	"                          [,filter=FILTERS]\n"
	"                          a port of a switch for such a front end; the switch is made when its\n"
	"                          first interface comes; may be given several times\n"
	"                          Both take what docs/qos.md lists: weight, priority, min-bandwidth,\n"
	"                          max-bandwidth, min-iops, max-iops, burst, depth\n"
	"      --uplink tap:switch=NAME,dev=INTERFACE[,queues=N][,vlan=N][,filter=FILTERS]\n"
	"      --uplink packet:switch=NAME,dev=INTERFACE[,vlan=N][,filter=FILTERS]\n"
	"      --uplink slirp:switch=NAME[,net=ADDRESS/BITS][,restrict][,host-loopback]\n"
	"                          [,forward=tcp|udp:[HOST:]PORT:[GUEST:]PORT]...[,filter=FILTERS]\n"
	"                          the way of a switch to the outside: a TAP interface of the host, an\n"
	"                          Ethernet interface of the host, or a network stack without privileges\n"
	"      --isolate auto|require|none\n"
	"                          keep interrupts and other threads off the sidecores: what this host\n"
	"                          permits (default), all of it or an error, or nothing\n"
	"      --supervise         start the sidecores again when they crash; guests go on where they were\n"
	"      --share-cores       VMs that say so too may have these CPUs\n"
	"      --allow-bench       let guests occupy a sidecore for measurements\n"
	"  -h, --help\n";

enum { OPT_CONTROL = 256, OPT_IDLE, OPT_BENCH, OPT_PRIVATE, OPT_BLK, OPT_JOIN, OPT_ISOLATE, OPT_SHARE,
	OPT_COUNT, OPT_NET, OPT_SUPERVISE, OPT_REMOTE, OPT_UPLINK };

/* What --blk, --net and --uplink say: filled from the command line, open while the node serves. */
struct exports {
	unsigned n;
	struct sv_blk_export_config config[DISKS];
	struct sv_blk_export *open[DISKS];
	bool given; /* on the command line: they replace the profile's */
	unsigned nets;
	struct sv_net_export_config net_config[NETS];
	struct sv_net_export *net[NETS];
	bool nets_given;
	unsigned uplinks;
	struct sv_uplink_config uplink_config[UPLINKS];
	struct sv_uplink *uplink[UPLINKS];
	bool uplinks_given;
};

static int open_exports(struct sv_poller_host *host, void *ctx, struct sv_error *err)
{
	struct exports *d = ctx;
	int rc = 0;

	for (unsigned i = 0; i < d->n && rc == 0; i++)
		rc = sv_blk_export_open(&d->open[i], &d->config[i], host, err);
	for (unsigned i = 0; i < d->nets && rc == 0; i++)
		rc = sv_net_export_open(&d->net[i], &d->net_config[i], host, err);
	for (unsigned i = 0; i < d->uplinks && rc == 0; i++)
		rc = sv_uplink_open(&d->uplink[i], &d->uplink_config[i], host, err);
	return rc;
}

static void close_exports(void *ctx)
{
	struct exports *d = ctx;

	for (unsigned i = 0; i < d->n; i++)
		if (d->open[i])
			sv_blk_export_close(d->open[i]);
	for (unsigned i = 0; i < d->nets; i++)
		if (d->net[i])
			sv_net_export_close(d->net[i]);
	for (unsigned i = 0; i < d->uplinks; i++)
		if (d->uplink[i])
			sv_uplink_close(d->uplink[i]);
}

static const struct sv_device_class *own_device(void *ctx, unsigned i, const char **name, void **handle)
{
	struct exports *d = ctx;

	if (i < d->n) {
		*handle = d->open[i];
		*name = sv_blk_export_name(d->open[i]);
		return &sv_blk_export_class;
	}
	i -= d->n;
	if (i >= d->nets && i - d->nets < d->uplinks) {
		*handle = d->uplink[i - d->nets];
		*name = sv_uplink_name(*handle);
		return &sv_uplink_class;
	}
	if (i >= d->nets)
		return NULL;
	*handle = d->net[i];
	*name = sv_net_export_name(d->net[i]);
	return &sv_net_export_class;
}

static int parse_net(struct exports *d, char *text, struct sv_error *err)
{
	if (!d->nets_given)
		d->nets = 0;
	d->nets_given = true;
	if (d->nets == NETS)
		return sv_fail(err, EINVAL, "--net: at most %u interfaces", NETS);
	return sv_net_export_parse(text, &d->net_config[d->nets++], err);
}

static int parse_uplink(struct exports *d, char *text, struct sv_error *err)
{
	if (!d->uplinks_given)
		d->uplinks = 0;
	d->uplinks_given = true;
	if (d->uplinks == UPLINKS)
		return sv_fail(err, EINVAL, "--uplink: at most %u of them", UPLINKS);
	return sv_uplink_parse(text, &d->uplink_config[d->uplinks++], err);
}

static int parse_disk(struct exports *d, char *text, struct sv_error *err)
{
	if (!d->given)
		d->n = 0;
	d->given = true;
	if (d->n == DISKS)
		return sv_fail(err, EINVAL, "--blk: at most %u disks", DISKS);
	return sv_blk_export_parse(text, &d->config[d->n++], err);
}

static const struct option options[] = {
	{"cpus", required_argument, NULL, 'c'},
	{"socket", required_argument, NULL, 's'},
	{"sidecores", required_argument, NULL, OPT_COUNT},
	{"control-cpu", required_argument, NULL, OPT_CONTROL},
	{"idle", required_argument, NULL, OPT_IDLE},
	{"allow-bench", optional_argument, NULL, OPT_BENCH},
	{"blk", required_argument, NULL, OPT_BLK},
	{"net", required_argument, NULL, OPT_NET},
	{"uplink", required_argument, NULL, OPT_UPLINK},
	{"private-fd", required_argument, NULL, OPT_PRIVATE}, /* `run` starts us with it */
	{"remote-disks", no_argument, NULL, OPT_REMOTE}, /* so does a VM that has some */
	{"join-fd", required_argument, NULL, OPT_JOIN},
	{"isolate", required_argument, NULL, OPT_ISOLATE},
	{"supervise", optional_argument, NULL, OPT_SUPERVISE},
	{"share-cores", optional_argument, NULL, OPT_SHARE},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static int parse_cpus(struct sv_node_config *c, char *text, struct sv_error *err)
{
	char *save = NULL;

	c->sidecores = 0; /* a profile's */
	for (char *s = strtok_r(text, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
		uint64_t cpu;
		int rc = cli_parse_number("--cpus", s, 0, 65535, &cpu, err);

		if (rc < 0)
			return rc;
		if (c->sidecores == SV_NODE_SIDECORES)
			return sv_fail(err, EINVAL, "--cpus: at most %u sidecores", SV_NODE_SIDECORES);
		c->cpu[c->sidecores++] = (int)cpu;
	}
	return c->sidecores ? 0 : sv_fail(err, EINVAL, "--cpus: name at least one CPU");
}

/* The VM that this process is for has a disk behind a server. */
static bool remote_disks;
/* How the sidecores are kept to themselves. */
static const char *isolate_text;
static bool share_cores;
static bool supervise;
/* When no CPU is named. */
static struct sv_plan_policy policy = {.sidecores = 1, .housekeeping = SV_PLAN_AUTO};
static struct sv_profile_node_policy node_policy; /* its arrays */

static int take(struct sv_node_config *c, int opt, struct sv_error *err)
{
	uint64_t n = 0;
	int rc = 0;

	switch (opt) {
	case 'c':
		rc = parse_cpus(c, optarg, err);
		break;
	case 's':
		c->socket = optarg;
		break;
	case OPT_COUNT:
		policy.sidecores = SV_PLAN_AUTO;
		if (strcmp(optarg, "auto") != 0) {
			rc = cli_parse_number("--sidecores", optarg, 1, SV_NODE_SIDECORES, &n, err);
			policy.sidecores = (int)n;
		}
		break;
	case OPT_CONTROL:
		rc = cli_parse_number("--control-cpu", optarg, 0, 65535, &n, err);
		c->control_cpu = (int)n;
		break;
	case OPT_IDLE:
		if (!strcmp(optarg, "never")) {
			c->idle_spin_us = SV_IDLE_NEVER;
		} else {
			rc = cli_parse_number("--idle", optarg, 0, 1000000000, &n, err);
			c->idle_spin_us = n;
		}
		break;
	case OPT_BENCH:
		rc = cli_parse_flag(optarg, &c->allow_bench, err);
		break;
	case OPT_BLK:
		rc = parse_disk(c->devices, optarg, err);
		break;
	case OPT_NET:
		rc = parse_net(c->devices, optarg, err);
		break;
	case OPT_UPLINK:
		rc = parse_uplink(c->devices, optarg, err);
		break;
	case OPT_ISOLATE:
		isolate_text = optarg;
		break;
	case OPT_SHARE:
		rc = cli_parse_flag(optarg, &share_cores, err);
		break;
	case OPT_SUPERVISE:
		rc = cli_parse_flag(optarg, &supervise, err);
		break;
	case OPT_REMOTE:
		remote_disks = true;
		break;
	case OPT_JOIN:
		rc = cli_parse_number("--join-fd", optarg, 3, 1023, &n, err);
		c->join_fd = (int)n;
		break;
	case OPT_PRIVATE:
		rc = cli_parse_number("--private-fd", optarg, 3, 1023, &n, err);
		c->private_fd = (int)n;
		break;
	}
	return rc;
}

/* No CPU named: those that suit. */
static int choose_cpus(struct sv_node_config *c, struct sv_error *err)
{
	int control = -1, n = place_sidecores(&policy, c->cpu, SV_NODE_SIDECORES, &control, err);

	if (n < 0)
		return n;
	c->sidecores = (unsigned)n;
	if (c->control_cpu < 0)
		c->control_cpu = control;
	return 0;
}

/* A private one is placed and isolated by the VM process that started it. */
static int enforce(struct enforcement *e, struct sv_node_config *c, struct sv_error *err)
{
	enum sv_isolate mode;
	int rc = enforce_parse(isolate_text, &mode, err);
	sigset_t ends;

	/* Pending until the control thread takes them: not in the middle of a change. */
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigprocmask(SIG_BLOCK, &ends, NULL);

	if (rc == 0)
		rc = enforce_open(e, err);
	if (rc == 0 && !c->sidecores)
		rc = choose_cpus(c, err);
	if (rc == 0 && c->control_cpu < 0)
		c->control_cpu = enforce_housekeeping(e, c->cpu, c->sidecores);
	if (rc == 0)
		rc = enforce_sidecores(e, c, mode, share_cores, isolate_text, err);
	if (rc == 0)
		c->join_fd = enforce_join_fd(e, c->cpu[0]);
	return rc;
}

const struct option *serve_options_table(void)
{
	return options;
}

#define SHORT_OPTIONS "-:c:s:h" /* '-': operands may stand anywhere */

/* Wrong usage and --help come before anything is read. Return: -1 go on, else the exit status. */
static int scan(int argc, char **argv, const char **profile)
{
	int opt;

	optind = 0;
	opterr = 0;
	while ((opt = getopt_long(argc, argv, SHORT_OPTIONS, options, NULL)) != -1) {
		if (opt == 'h') {
			fputs(help, stdout);
			return EXIT_DONE;
		}
		if (opt == '?')
			return cli_usage_error("serve", "unknown option '%s'", argv[optind - 1]);
		if (opt == ':')
			return cli_usage_error("serve", "option '%s' needs a value", argv[optind - 1]);
		if (opt == 1 && *profile)
			return cli_usage_error("serve", "unexpected operand '%s'", optarg);
		if (opt == 1)
			*profile = optarg;
	}
	if (optind < argc)
		return cli_usage_error("serve", "unexpected operand '%s'", argv[optind]);
	return -1;
}

static bool is_private(char **argv)
{
	while (*argv)
		if (!strncmp(*argv++, "--private-fd", 12))
			return true;
	return false;
}

static int take_profile(struct sv_node_config *c, const char *path, struct exports *exports,
	struct sv_profile **profile, struct sv_error *err)
{
	_Static_assert(DISKS == SV_PROFILE_NODE_DISKS && NETS == SV_PROFILE_NODE_NETS &&
			UPLINKS == SV_PROFILE_NODE_UPLINKS,
		"a profile may list what options may");
	int rc = serve_profile_apply(path, c, exports->config, &exports->n, profile, err);

	if (rc == 0)
		rc = serve_profile_nets(*profile, exports->net_config, &exports->nets, err);
	if (rc == 0)
		rc = serve_profile_uplinks(*profile, exports->uplink_config, &exports->uplinks, err);

	if (rc == 0 && sv_profile_node_policy(*profile, &node_policy) < 0)
		rc = sv_fail(err, ENOMEM, "out of memory");
	if (rc == 0) {
		serve_profile_policy(*profile, &node_policy, &policy);
		isolate_text = serve_profile_text(*profile, "isolate");
		share_cores = !strcmp(serve_profile_text(*profile, "share_cores"), "true");
		supervise = !strcmp(serve_profile_text(*profile, "supervise"), "true");
	}
	return rc;
}

int cli_serve(int argc, char **argv)
{
	struct sv_profile *profile = NULL;
	const char *path = NULL;
	static struct exports exports;
	struct sv_node_config c = {.socket = SV_CONTROL_SOCKET,
		.private_fd = -1,
		.open_devices = open_exports,
		.close_devices = close_exports,
		.own_device = own_device,
		.devices = &exports,
		.control_cpu = -1,
		.idle_spin_us = DEFAULT_IDLE_US};
	static struct enforcement e;
	struct sv_error err = {""};
	int opt, rc;

	rc = scan(argc, argv, &path);
	if (rc >= 0)
		return rc;
	if (path || (!is_private(argv) && access(SV_PROFILE_NODE, F_OK) == 0)) {
		rc = take_profile(&c, path ? path : SV_PROFILE_NODE, &exports, &profile, &err);
		if (rc < 0) {
			fprintf(stderr, "sidevisor: %s\n", err.text);
			sv_profile_free(profile);
			return EXIT_FAILED;
		}
	}
	optind = 0;
	while ((opt = getopt_long(argc, argv, SHORT_OPTIONS, options, NULL)) != -1) {
		rc = take(&c, opt, &err);
		if (rc < 0) {
			sv_profile_free(profile);
			return cli_fail(&err, rc);
		}
	}
	if (supervise && c.private_fd < 0) {
		rc = again_supervise();
		if (rc >= 0) {
			sv_profile_node_policy_free(&node_policy);
			sv_profile_free(profile);
			return rc;
		}
	}
	if (c.private_fd < 0) {
		rc = enforce(&e, &c, &err);
		if (rc < 0) {
			enforce_close(&e);
			sv_profile_free(profile);
			return cli_fail(&err, rc);
		}
	}
	if (c.control_cpu < 0)
		c.control_cpu = c.cpu[0];
	if (c.private_fd >= 0)
		prctl(PR_SET_NAME, "sidevisor-serve"); /* it was started by way of /proc/self/exe */
	/* Once confined it cannot load anything; without the library such disks are refused. */
	if (c.private_fd < 0 || remote_disks) {
		sv_nbd_preload(NULL);
		sv_blk_filter_preload();
	}
	c.class[c.classes++] = &sv_blk_class;
	c.class[c.classes++] = &sv_console_class;
	c.class[c.classes++] = &sv_net_class;
	c.class[c.classes++] = &sv_rng_class;
	c.service[c.services++] = &cli_paging_class;
	c.pager = &sv_pager_class;
	if (c.private_fd < 0)
		fprintf(stderr, "sidevisor serve: %u sidecore%s, the first on CPU %d; VMs attach at %s\n",
			c.sidecores, c.sidecores == 1 ? "" : "s", c.cpu[0], c.socket);
	rc = sv_node_run(&c, &err);
	if (c.private_fd < 0)
		enforce_close(&e);
	sv_profile_node_policy_free(&node_policy);
	sv_profile_free(profile);
	return rc < 0 ? cli_fail(&err, rc) : EXIT_DONE;
}
