/* SPDX-License-Identifier: BSD-3-Clause */
#include "run_options.h"
#include "run_foreign.h"
#include "run_parse.h"
#include "run_profile.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <host/record.h>
#include <io/net_export.h>
#include <io/uplink.h>
#include <io/qos.h>

#include "enforce.h"
#include "paging_auto.h"

static const char help[] =
	"usage: sidevisor run [PROFILE] [OPTION...]\n"
	"\n"
	"Run a guest, as its profile and the options say; an option overrides the profile. PROFILE is a\n"
	"YAML file, or NAME for " SV_PROFILE_GUESTS "/NAME.yaml; `sidevisor profile keys` lists\n"
	"what it may say. Options without a value take one to that end: --quiet=off.\n"
	"\n"
	"The kernel is a Linux bzImage, an ELF with a PVH note, a multiboot 1 image or a lightweight\n"
	"kernel with the sidevisor note. With no node service (`sidevisor serve`) there, a private\n"
	"sidecore is started and ends with the VM.\n"
	"\n"
	"  -k, --kernel FILE         the kernel\n"
	"  -i, --initrd FILE         its initial RAM disk\n"
	"  -c, --cmdline TEXT        its command line\n"
	"  -n, --name NAME           of the VM (default: the profile's, or guest-PID)\n"
	"  -m, --memory SIZE         such as 512M or 4G (default 256M)\n"
	"  -p, --vcpus N             (default 1)\n"
	"      --topology S:D:C:T    sockets, dies (an L3 each), cores, threads (default: that of the\n"
	"                            CPUs the vCPUs are pinned to, caches, nodes and distances too;\n"
	"                            flat when vCPUs share CPUs)\n"
	"      --numa N              NUMA nodes of the guest, with memory and vCPUs split evenly\n"
	"  -d, --disk path=FILE[,readonly][,direct][,writethrough][,nodiscard][,queues=N][,serial=S]\n"
	"                            [,pinned][,iopoll][,format=raw|qcow2][,deadline=SECONDS]\n"
	"                            [,sidecore=CPU][,weight=N][,max-iops=N]...\n"
	"                            [,filters=NAME:FILE[+NAME:FILE]...]\n"
	"                            a virtio-blk disk: raw image, block device, nbd://HOST/EXPORT,\n"
	"                            nbd+unix:///EXPORT?socket=PATH, or a qcow2 image; repeat for more.\n"
	"                            Shares and bounds: weight, priority, min-bandwidth, max-bandwidth,\n"
	"                            min-iops, max-iops, burst, depth; for --net, too\n"
	"      --net switch=NAME[,mac=ADDRESS][,vlan=N][,mtu=N][,queues=N][,spoof][,trunk]\n"
	"                            [,filter=FILTERS]\n"
	"                            a virtio-net interface on a switch of the sidecore process, which\n"
	"                            is made when its first interface comes; repeat for more\n"
	"      --uplink KIND:switch=NAME[,KEY=VALUE]...\n"
	"                            the way of a switch of a private sidecore to the outside, as of\n"
	"                            `serve --uplink`; slirp:switch=lan needs no privileges\n"
	"      --console stdio|serial|none\n"
	"                            what descriptors 0 and 1 are: virtio-console (hvc0) with the\n"
	"                            serial port's output beside it, the serial port (ttyS0), or\n"
	"                            nothing (default stdio). On a terminal Ctrl-A x stops the VM\n"
	"      --cpus LIST           host CPUs of the vCPUs, in order, such as 2,3,6-9 (default: chosen)\n"
	"      --sidecore LIST       host CPUs of the sidecores (default: one, chosen). With several,\n"
	"                            each vCPU is served by the nearest, or as VCPU:CPU says, such as\n"
	"                            7 or 7,15 or 0-6:7,7-13:15. A node service must have them\n"
	"      --sidecores auto|N    how many sidecores are chosen (default auto: one in each cache\n"
	"                            domain that the guest is on)\n"
	"      --sidecore-policy locality|spread|smt-sibling\n"
	"                            few caches for the guest, or many (default locality)\n"
	"      --near DEVICE         a PCI address or network interface the guest should be near to\n"
	"      --smt                 vCPUs on all threads of their cores (default: one each)\n"
	"      --untrusted           never a sidecore on an SMT sibling of a guest core\n"
	"      --smt-sibling         a sidecore may be the SMT sibling of a guest core\n"
	"      --overcommit          more vCPUs than guest cores: they share cores\n"
	"      --share-cores         other VMs may have the same cores, if they say so too\n"
	"      --isolate auto|require|none\n"
	"                            keep interrupts and other threads off the guest cores: what this\n"
	"                            host permits (default), all of it or an error, or nothing\n"
	"      --placement FILE      the CPUs and NUMA nodes of a recorded run\n"
	"      --keep-placement FILE record this run's there\n"
	"      --node SOCKET         the node service to use\n"
	"      --private             start a sidecore of our own even if a node service is there\n"
	"      --rejoin SECONDS      how long the VM waits for a sidecore process that went away (default\n"
	"                            60; 0: it ends with it)\n"
	"      --idle MICROSECONDS   a private sidecore sleeps after so long without work; `never`\n"
	"      --irqchip split|full  full: PIC, PIT and IOAPIC in the kernel (default split)\n"
	"      --exit-port           port 0xf4 ends the VM, as bare-metal test kernels expect\n"
	"      --fw-cfg              a minimal fw_cfg at 0x510\n"
	"      --boot32              enter a bzImage by the 32-bit protocol\n"
	"      --no-populate         do not populate guest memory before the start\n"
	"      --backing auto|4k|thp|2m|1g\n"
	"                            pages of guest memory: reserved ones of 2 MiB if there are\n"
	"                            enough, else those that the kernel makes huge (default auto)\n"
	"      --stage2 before|running|demand\n"
	"                            when KVM maps guest memory: before the start, by a thread of\n"
	"                            ours while the guest runs (default), or by the guest's faults\n"
	"                            (default with --no-populate)\n"
	"      --rng                 a virtio-rng device: random bytes of this machine's kernel\n"
	"      --vsock CID           a virtio-vsock device of the host's kernel; CID, from 3 up, is the\n"
	"                            guest's address\n"
	"      --vhost-user blk|net|fs,socket=PATH[,queues=N][,tag=NAME]\n"
	"                            a device that another program serves, such as virtiofsd (fs: the\n"
	"                            guest mounts it as NAME); may be given several times\n"
	"      --paging auto|off     auto: populate, stage2, backing and direct paging as `sidevisor\n"
	"                            bench paging --advise PROFILE recorded them; what the profile\n"
	"                            or an option says itself goes first (default off)\n"
	"      --balloon             the guest may give memory back: free pages that it reports, and\n"
	"                            what `sidevisor memory` asks for\n"
	"      --memory-source PATH  memory that arrives while the guest runs: from a file, or from the\n"
	"                            process that listens on a Unix socket; also written as\n"
	"                            file=FILE|unix=SOCKET[,hot=FILE][,prefetch=off][,timeout=SECONDS]\n"
	"      --memory-hot FILE     its pages that come first: a list of page numbers\n"
	"      --memory-prefetch on|off\n"
	"                            off: only pages that somebody waits for (default on)\n"
	"      --memory-timeout SECONDS\n"
	"                            the source is lost when it takes longer to answer (default 10)\n"
	"      --track-dirty         `sidevisor dirty` may say what the guest writes\n"
	"      --ring-entries N      of each channel, a power of two (default 64)\n"
	"      --allow-bench         let the guest occupy the sidecore for measurements\n"
	"      --direct-paging       page tables that belong to the sidecore (lightweight kernel)\n"
	"  -q, --quiet               say nothing when the VM ends well\n"
	"  -j, --json                how the VM ended, as JSON on standard error\n"
	"  -h, --help\n"
	"\n"
	"Exit status: 0 the guest powered off, asked for a reboot, was stopped or exited with 0;\n"
	"1 it failed, panicked or crashed; 2 wrong usage.\n";

enum {
	OPT_TOPOLOGY = 256, OPT_NUMA, OPT_CONSOLE, OPT_CPUS, OPT_SIDECORE, OPT_SMT, OPT_OVERCOMMIT,
	OPT_NODE, OPT_PRIVATE, OPT_IDLE, OPT_IRQCHIP, OPT_EXIT_PORT, OPT_FW_CFG, OPT_BOOT32,
	OPT_NO_POPULATE, OPT_RING, OPT_BENCH, OPT_PAGING, OPT_SHARE,
	OPT_COUNT, OPT_POLICY, OPT_NEAR, OPT_THREADS, OPT_UNTRUSTED,
	OPT_ISOLATE, OPT_PLACEMENT, OPT_KEEP, OPT_NET, OPT_UPLINK, OPT_BACKING, OPT_STAGE2, OPT_REJOIN,
	OPT_BALLOON, OPT_DIRTY, OPT_PAGING_AUTO,
	OPT_FOREIGN, OPT_RNG, OPT_VSOCK, OPT_SOURCE, OPT_HOT, OPT_PREFETCH, OPT_SOURCE_TIMEOUT,
};

static const struct option options[] = {
	{"kernel", required_argument, NULL, 'k'},
	{"initrd", required_argument, NULL, 'i'},
	{"cmdline", required_argument, NULL, 'c'},
	{"name", required_argument, NULL, 'n'},
	{"memory", required_argument, NULL, 'm'},
	{"vcpus", required_argument, NULL, 'p'},
	{"topology", required_argument, NULL, OPT_TOPOLOGY},
	{"numa", required_argument, NULL, OPT_NUMA},
	{"disk", required_argument, NULL, 'd'},
	{"net", required_argument, NULL, OPT_NET},
	{"console", required_argument, NULL, OPT_CONSOLE},
	{"cpus", required_argument, NULL, OPT_CPUS},
	{"sidecore", required_argument, NULL, OPT_SIDECORE},
	{"sidecores", required_argument, NULL, OPT_COUNT},
	{"sidecore-policy", required_argument, NULL, OPT_POLICY},
	{"near", required_argument, NULL, OPT_NEAR},
	{"smt", optional_argument, NULL, OPT_THREADS},
	{"untrusted", optional_argument, NULL, OPT_UNTRUSTED},
	{"smt-sibling", optional_argument, NULL, OPT_SMT},
	{"overcommit", optional_argument, NULL, OPT_OVERCOMMIT},
	{"node", required_argument, NULL, OPT_NODE},
	{"private", optional_argument, NULL, OPT_PRIVATE},
	{"rejoin", required_argument, NULL, OPT_REJOIN},
	{"idle", required_argument, NULL, OPT_IDLE},
	{"irqchip", required_argument, NULL, OPT_IRQCHIP},
	{"exit-port", optional_argument, NULL, OPT_EXIT_PORT},
	{"fw-cfg", optional_argument, NULL, OPT_FW_CFG},
	{"boot32", optional_argument, NULL, OPT_BOOT32},
	{"no-populate", optional_argument, NULL, OPT_NO_POPULATE},
	{"backing", required_argument, NULL, OPT_BACKING},
	{"stage2", required_argument, NULL, OPT_STAGE2},
	{"rng", optional_argument, NULL, OPT_RNG},
	{"vsock", required_argument, NULL, OPT_VSOCK},
	{"uplink", required_argument, NULL, OPT_UPLINK},
	{"vhost-user", required_argument, NULL, OPT_FOREIGN},
	{"balloon", optional_argument, NULL, OPT_BALLOON},
	{"memory-source", required_argument, NULL, OPT_SOURCE},
	{"memory-hot", required_argument, NULL, OPT_HOT},
	{"memory-prefetch", required_argument, NULL, OPT_PREFETCH},
	{"memory-timeout", required_argument, NULL, OPT_SOURCE_TIMEOUT},
	{"track-dirty", optional_argument, NULL, OPT_DIRTY},
	{"paging", required_argument, NULL, OPT_PAGING_AUTO},
	{"ring-entries", required_argument, NULL, OPT_RING},
	{"allow-bench", optional_argument, NULL, OPT_BENCH},
	{"direct-paging", optional_argument, NULL, OPT_PAGING},
	{"share-cores", optional_argument, NULL, OPT_SHARE},
	{"isolate", required_argument, NULL, OPT_ISOLATE},
	{"placement", required_argument, NULL, OPT_PLACEMENT},
	{"keep-placement", required_argument, NULL, OPT_KEEP},
	{"quiet", optional_argument, NULL, 'q'},
	{"json", optional_argument, NULL, 'j'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};


static int take(struct run_options *o, int c, char *arg, struct sv_error *err)
{
	static const char *const policies[] = {"locality", "spread", "smt-sibling", NULL};
	static const char *const consoles[] = {"stdio", "serial", "none", NULL};
	static const char *const irqchips[] = {"split", "full", NULL};
	static const char *const backings[] = {"auto", "4k", "thp", "2m", "1g", NULL};
	static const char *const pagings[] = {"auto", "off", NULL};
	static const char *const whens[] = {"before", "running", "demand", NULL};
	uint64_t n = 0;
	unsigned choice = 0;
	int rc = 0;

	switch (c) {
	case 'k':
		o->vm.kernel = arg;
		break;
	case 'i':
		o->vm.initrd = arg;
		break;
	case 'c':
		o->vm.cmdline = arg;
		break;
	case 'n':
		rc = run_parse_name(o, arg, err);
		break;
	case 'm':
		rc = cli_parse_size("--memory", arg, &o->vm.memory_bytes, err);
		if (rc == 0 && !o->vm.memory_bytes)
			rc = sv_fail(err, EINVAL, "--memory 0: a guest needs memory, such as 256M");
		break;
	case 'p':
		rc = cli_parse_number("--vcpus", arg, 1, SV_MAX_VCPUS, &n, err);
		o->vm.vcpus = (unsigned)n;
		break;
	case 'd':
		rc = run_parse_disk(o, arg, err);
		break;
	case OPT_UPLINK:
		rc = run_parse_uplink(o, arg, err);
		break;
	case OPT_NET:
		rc = run_parse_net(o, arg, err);
		break;
	case OPT_TOPOLOGY:
		rc = run_parse_topology(o, arg, err);
		break;
	case OPT_NUMA:
		rc = cli_parse_number("--numa", arg, 1, SV_MAX_NODES, &n, err);
		o->vm.topology.nodes = (unsigned)n;
		break;
	case OPT_CONSOLE:
		rc = run_parse_choice("--console", arg, consoles, &choice, err);
		o->vm.console = (enum sv_console)choice;
		break;
	case OPT_CPUS:
		rc = run_parse_cpus(o, arg, err);
		break;
	case OPT_SIDECORE:
		rc = run_parse_sidecores(o, arg, err);
		break;
	case OPT_SMT:
		rc = cli_parse_flag(arg, &o->smt_sibling, err);
		break;
	case OPT_COUNT:
		if (strcmp(arg, "auto") != 0)
			rc = cli_parse_number("--sidecores", arg, 1, SV_CONTROL_SIDECORES, &n, err);
		o->sidecore_count = (int)n;
		break;
	case OPT_POLICY:
		rc = run_parse_choice("--sidecore-policy", arg, policies, &choice, err);
		o->policy = (enum sv_plan_policy_kind)choice;
		break;
	case OPT_NEAR:
		o->near = arg;
		break;
	case OPT_THREADS:
		rc = cli_parse_flag(arg, &o->smt, err);
		break;
	case OPT_UNTRUSTED:
		rc = cli_parse_flag(arg, &o->untrusted, err);
		break;
	case OPT_OVERCOMMIT:
		rc = cli_parse_flag(arg, &o->vm.overcommit, err);
		break;
	case OPT_NODE:
		o->node = arg;
		break;
	case OPT_PRIVATE:
		rc = cli_parse_flag(arg, &o->private_node, err);
		break;
	case OPT_IDLE:
		if (strcmp(arg, "never") != 0)
			rc = cli_parse_number("--idle", arg, 0, 1000000000, &n, err);
		o->idle = arg;
		break;
	case OPT_REJOIN:
		rc = cli_parse_number("--rejoin", arg, 0, 86400, &n, err);
		o->vm.rejoin_s = (unsigned)n;
		break;
	case OPT_IRQCHIP:
		rc = run_parse_choice("--irqchip", arg, irqchips, &choice, err);
		o->vm.irqchip = (enum sv_irqchip)choice;
		break;
	case OPT_EXIT_PORT:
		rc = cli_parse_flag(arg, &o->vm.exit_port, err);
		break;
	case OPT_FW_CFG:
		rc = cli_parse_flag(arg, &o->vm.fw_cfg, err);
		break;
	case OPT_BOOT32:
		rc = cli_parse_flag(arg, &o->vm.boot32, err);
		break;
	case OPT_NO_POPULATE:
		o->said.populate = true;
		rc = cli_parse_flag(arg, &o->vm.no_populate, err);
		break;
	case OPT_BACKING:
		o->said.backing = true;
		rc = run_parse_choice("--backing", arg, backings, &choice, err);
		o->vm.backing = (enum sv_backing)choice;
		break;
	case OPT_STAGE2:
		o->said.stage2 = true;
		rc = run_parse_choice("--stage2", arg, whens, &choice, err);
		o->vm.stage2 = (enum sv_stage2_when)(SV_STAGE2_BEFORE + choice);
		break;
	case OPT_RNG:
		rc = cli_parse_flag(arg, &o->vm.rng, err);
		break;
	case OPT_VSOCK:
		rc = cli_parse_number("--vsock", arg, 3, UINT32_MAX - 1, &o->vm.vsock_cid, err);
		break;
	case OPT_FOREIGN:
		rc = run_foreign_parse(o, arg, err);
		break;
	case OPT_PAGING_AUTO:
		rc = run_parse_choice("--paging", arg, pagings, &choice, err);
		o->paging_auto = choice == 0;
		break;
	case OPT_BALLOON:
		rc = cli_parse_flag(arg, &o->vm.balloon, err);
		break;
	case OPT_SOURCE:
		rc = run_parse_source(o, arg, err);
		break;
	case OPT_HOT:
		o->vm.source.hot = arg;
		o->in_source.hot = false;
		break;
	case OPT_PREFETCH:
		o->in_source.prefetch = false;
		rc = run_parse_prefetch(o, arg, err);
		break;
	case OPT_SOURCE_TIMEOUT:
		o->in_source.timeout = false;
		rc = run_parse_source_timeout(o, "--memory-timeout", arg, err);
		break;
	case OPT_DIRTY:
		rc = cli_parse_flag(arg, &o->vm.track_dirty, err);
		break;
	case OPT_RING:
		rc = cli_parse_number("--ring-entries", arg, 2, 4096, &n, err);
		if (rc == 0 && (n & (n - 1)))
			rc = sv_fail(err, EINVAL, "--ring-entries %s: give a power of two", arg);
		o->vm.ring_entries = (uint32_t)n;
		break;
	case OPT_PAGING:
		o->said.direct = true;
		rc = cli_parse_flag(arg, &o->vm.direct_paging, err);
		break;
	case OPT_SHARE:
		rc = cli_parse_flag(arg, &o->share_cores, err);
		break;
	case OPT_ISOLATE:
		o->isolate_given = true;
		rc = enforce_parse(arg, &o->isolate, err);
		break;
	case OPT_PLACEMENT:
		o->placement = arg;
		break;
	case OPT_KEEP:
		o->keep_placement = arg;
		break;
	case OPT_BENCH:
		rc = cli_parse_flag(arg, &o->allow_bench, err);
		break;
	case 'q':
		rc = cli_parse_flag(arg, &o->quiet, err);
		break;
	case 'j':
		rc = cli_parse_flag(arg, &o->json, err);
		break;
	}
	return rc;
}

static int check_topology(struct run_options *o, struct sv_error *err)
{
	struct sv_topology *t = &o->vm.topology;
	uint64_t n;

	o->topology_given = t->sockets || t->nodes;
	if (!t->nodes)
		t->nodes = 1;
	if (!t->sockets)
		*t = (struct sv_topology){
			.sockets = 1, .dies = 1, .cores = o->vm.vcpus, .threads = 1, .nodes = t->nodes};
	n = (uint64_t)t->sockets * t->dies * t->cores * t->threads;
	if (n != o->vm.vcpus)
		return sv_fail(err, EINVAL,
			"--topology %u:%u:%u:%u makes %llu vCPUs, --vcpus says %u; make them agree",
			t->sockets, t->dies, t->cores, t->threads, (unsigned long long)n, o->vm.vcpus);
	if (t->nodes > o->vm.vcpus)
		return sv_fail(err, EINVAL, "--numa %u: more nodes than vCPUs (%u)", t->nodes,
			o->vm.vcpus);
	return 0;
}

/* A recorded placement stands for --cpus, --sidecore and --private. */
static int take_placement(struct run_options *o, struct sv_error *err)
{
	struct sv_record *r;
	int rc;

	if (o->cpus_given || o->sidecores)
		return sv_fail(err, EINVAL,
			"--placement %s: it names the CPUs; leave --cpus and --sidecore out", o->placement);
	r = calloc(1, sizeof(*r));
	if (!r)
		return sv_fail(err, ENOMEM, "out of memory");
	rc = sv_record_read(o->placement, r, err);
	if (rc == 0 && r->vcpus != o->vm.vcpus)
		rc = sv_fail(err, EINVAL, "--placement %s: it is of %u vCPUs, --vcpus says %u; make them "
			"agree", o->placement, r->vcpus, o->vm.vcpus);
	for (unsigned i = 0; i < r->sidecores && rc == 0; i++)
		rc = run_add_sidecore(o, r->sidecore_cpu[i], err);
	for (unsigned i = 0; i < r->vcpus && rc == 0; i++)
		o->vm.vcpu_cpu[i] = r->vcpu_cpu[i];
	for (unsigned i = 0; i < r->nodes && rc == 0; i++)
		o->placement_node[o->placement_nodes++] = r->memory_node[i];
	o->cpus_given = true;
	o->private_node |= r->private_sidecores;
	o->placement_control = r->control_cpu;
	free(r);
	return rc;
}

static void set_defaults(struct run_options *o)
{
	memset(o, 0, sizeof(*o));
	o->vm.memory_bytes = 256ull << 20;
	o->vm.vcpus = 1;
	o->vm.rtc = true;
	o->vm.source.timeout_s = RUN_SOURCE_TIMEOUT_S;
	o->vm.control_cpu = -1;
	o->vm.rejoin_s = 60;
	for (unsigned i = 0; i < SV_MAX_NODES; i++)
		o->vm.memory_node[i] = -1;
	for (unsigned i = 0; i < SV_MAX_VCPUS; i++)
		o->vm.vcpu_cpu[i] = o->vm.vcpu_sidecore_cpu[i] = -1;
	snprintf(o->name, sizeof(o->name), "guest-%d", (int)getpid());
	o->vm.name = o->name;
}

const struct option *run_options_table(void)
{
	return options;
}

int run_options_set(struct run_options *o, const char *name, char *value, struct sv_error *err)
{
	for (const struct option *p = options; p->name; p++)
		if (!strcmp(p->name, name))
			return take(o, p->val, value, err);
	return -ENOENT;
}

/* What may be given several times replaces the profile's, and then adds up. */
static void forget_profile(struct run_options *o, int c)
{
	if (c == 'd' && !o->disks_given) {
		o->disks_given = true;
		memset(o->vm.disk, 0, sizeof(o->vm.disk));
		o->vm.ndisks = 0;
	}
	if (c == OPT_NET && !o->nets_given) {
		o->nets_given = true;
		o->vm.nnets = 0;
	}
	if (c == OPT_FOREIGN && !o->foreign_given) {
		o->foreign_given = true;
		o->vm.nforeign = 0;
	}
	if (c == OPT_SIDECORE && !o->sidecores_given) {
		o->sidecores_given = true;
		o->sidecores = 0;
		for (unsigned i = 0; i < SV_MAX_VCPUS; i++)
			o->vm.vcpu_sidecore_cpu[i] = -1;
	}
}

#define SHORT_OPTIONS "-:k:i:c:n:m:p:d:qjh" /* '-': operands may stand anywhere */

/* Wrong usage and --help come before anything is read. Return: -1 go on, else the exit status. */
static int scan(int argc, char **argv, const char **profile)
{
	int c;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, SHORT_OPTIONS, options, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return EXIT_DONE;
		}
		if (c == '?')
			return cli_usage_error("run", "unknown option '%s'", argv[optind - 1]);
		if (c == ':')
			return cli_usage_error("run", "option '%s' needs a value", argv[optind - 1]);
		if (c == 1 && *profile)
			return cli_usage_error("run", "unexpected operand '%s'", optarg);
		if (c == 1)
			*profile = optarg;
	}
	if (optind < argc)
		return cli_usage_error("run", "unexpected operand '%s'", argv[optind]);
	return -1;
}

int run_options_parse(struct run_options *o, int argc, char **argv)
{
	const char *profile = NULL;
	struct sv_error err;
	int c, rc;

	set_defaults(o);
	rc = scan(argc, argv, &profile);
	if (rc >= 0)
		return rc;
	if (profile && run_profile_apply(o, profile, &err) < 0) {
		fprintf(stderr, "sidevisor: %s\n", err.text);
		return EXIT_FAILED;
	}
	optind = 0; /* from the start, in this mode */
	while ((c = getopt_long(argc, argv, SHORT_OPTIONS, options, NULL)) != -1) {
		forget_profile(o, c);
		rc = take(o, c, optarg, &err);
		if (rc < 0)
			return cli_fail(&err, rc);
	}
	if (!o->vm.kernel)
		return cli_usage_error("run", profile
			? "no kernel: the profile has none, and --kernel FILE is missing"
			: "--kernel FILE is missing");
	rc = check_topology(o, &err);
	if (rc == 0 && !o->isolate_given)
		rc = enforce_parse(NULL, &o->isolate, &err);
	if (rc == 0 && o->paging_auto)
		rc = paging_auto_apply(o, &err);
	if (rc == 0 && o->placement)
		rc = take_placement(o, &err);
	if (rc == 0 && o->vm.irqchip == SV_IRQCHIP_FULL)
		o->vm.pit = true;
	return rc < 0 ? cli_fail(&err, rc) : -1;
}
