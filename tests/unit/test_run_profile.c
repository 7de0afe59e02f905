/* SPDX-License-Identifier: BSD-3-Clause */
/* Profiles against the options of `run`: no option without a key, one meaning for both. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "paging_auto.h"
#include "profile.h"
#include "run_options.h"
#include "run_profile.h"
#include "serve_profile.h"

/* Keys that say what no option of `run` does: who the profile is. */
static const char *const own_keys[] = {"kind", "inherits", "description", NULL};

static bool is_option(const char *name)
{
	for (const struct option *o = run_options_table(); o->name; o++)
		if (!strcmp(o->name, name))
			return true;
	return false;
}

static bool is_own_key(const char *key)
{
	for (unsigned i = 0; own_keys[i]; i++)
		if (!strcmp(own_keys[i], key))
			return true;
	return false;
}

Test(run_profile, every_option_has_a_key)
{
	size_t n;
	const struct sv_profile_key *k = sv_profile_keys(SV_PROFILE_GUEST, NULL, &n);
	bool inverted;
	char name[32];

	for (const struct option *o = run_options_table(); o->name; o++) {
		bool found = !strcmp(o->name, "help");

		for (size_t i = 0; i < n && !found; i++)
			found = !strcmp(run_profile_option(k[i].name, &inverted, name), o->name);
		cr_expect(found, "--%s: no key in profiles/rules.c", o->name);
	}
	for (size_t i = 0; i < n; i++)
		cr_expect(is_option(run_profile_option(k[i].name, &inverted, name)) ||
				  is_own_key(k[i].name),
			"%s: no option of run", k[i].name);
}

/* Those that serve has for itself: `run` starts it with them. */
static bool is_internal(const char *name)
{
	return !strcmp(name, "private-fd") || !strcmp(name, "join-fd") ||
	       !strcmp(name, "remote-disks") || !strcmp(name, "help");
}

Test(run_profile, every_option_of_serve_has_a_key)
{
	size_t n;
	const struct sv_profile_key *k = sv_profile_keys(SV_PROFILE_NODE_KIND, NULL, &n);
	bool inverted;
	char name[32];

	for (const struct option *o = serve_options_table(); o->name; o++) {
		const char *option = strcmp(o->name, "blk") ? o->name : "disk";
		bool found = is_internal(o->name);

		for (size_t i = 0; i < n && !found; i++)
			found = !strcmp(run_profile_option(k[i].name, &inverted, name), option);
		cr_expect(found, "serve --%s: no key in profiles/rules.c", o->name);
	}
}

/* The help is what a user sees of the table. */
Test(run_profile, every_option_of_the_help_is_in_the_table)
{
	static struct run_options o;
	char *argv[] = {(char[]){"run"}, (char[]){"--help"}, NULL}, line[256], word[64];
	unsigned found = 0;

	cr_redirect_stdout();
	cr_assert_eq(run_options_parse(&o, 2, argv), EXIT_DONE);
	fflush(stdout);
	for (FILE *f = cr_get_redirected_stdout(); fgets(line, sizeof(line), f);) {
		const char *s = strstr(line, "--");

		if (line[0] != ' ' || !s || s - line > 8 || sscanf(s, "--%63[a-z0-9-]", word) != 1)
			continue;
		cr_expect(is_option(word), "--%s", word);
		found++;
	}
	cr_expect_gt(found, 25);
}

static void check_documented(const char *text, enum sv_profile_kind kind, const char *list)
{
	char row[512];
	size_t n;
	const struct sv_profile_key *k = sv_profile_keys(kind, list, &n);

	cr_assert(k && n);
	for (size_t i = 0; i < n; i++) {
		const char *quote = k[i].default_text ? "`" : "";

		snprintf(row, sizeof(row), "| `%s%s%s` | %s | %s | %s%s%s |\n",
			list ? list : "", list ? "[]." : "", k[i].name, k[i].expected, k[i].what, quote,
			k[i].default_text ? k[i].default_text : "", quote);
		cr_expect(strstr(text, row), "docs/profiles.md has no row\n%s", row);
	}
}

Test(run_profile, every_key_is_documented)
{
	static char text[65536];
	FILE *f = fopen(SOURCE_DIR "/docs/profiles.md", "r");
	char *nodes;

	cr_assert(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	nodes = strstr(text, "## Keys of a node profile");
	cr_assert(nodes);
	check_documented(nodes, SV_PROFILE_NODE_KIND, NULL);
	check_documented(nodes, SV_PROFILE_NODE_KIND, "disks");
	check_documented(nodes, SV_PROFILE_NODE_KIND, "nets");
	check_documented(nodes, SV_PROFILE_NODE_KIND, "uplinks");
	*nodes = '\0';
	check_documented(text, SV_PROFILE_GUEST, NULL);
	check_documented(text, SV_PROFILE_GUEST, "disks");
	check_documented(text, SV_PROFILE_GUEST, "nets");
}

/* --- one meaning ------------------------------------------------------------------------------ */

static const char full[] =
	"kernel: k\ninitrd: i\ncmdline: a b\nname: n\nmemory: 1G\nvcpus: 4\ntopology: "
	"1:2:2:1\nnuma: 2\n"
	"console: serial\ncpus: 4-7\nsidecore: 0-1:8,2-3:9\nsmt_sibling: on\novercommit: on\n"
	"node: /n.sock\nprivate: on\nidle: never\nrejoin: 5\nirqchip: full\nexit_port: on\nfw_cfg: "
	"on\nboot32: on\n"
	"populate: off\nbacking: 2m\nstage2: before\nballoon: on\npaging: off\nrng: on\nvsock: 7\nuplink: slirp:switch=lan,restrict\nvhost_user: blk,socket=/b fs,socket=/f,tag=t,queues=2\ntrack_dirty: on\nmemory_source: /s\nmemory_hot: /h\n"
	"memory_prefetch: off\nmemory_timeout: 3\nring_entries: 128\nallow_bench: on\n"
	"direct_paging: on\nquiet: on\njson: "
	"on\n"
	"share_cores: on\nisolate: require\nkeep_placement: /kept\n"
	"smt: on\nuntrusted: on\nnear: eth0\nsidecores: 2\nsidecore_policy: spread\n"
	"disks:\n- path: /d1\n  readonly: on\n  direct: on\n  writethrough: on\n  nodiscard: on\n"
	"  pinned: on\n  iopoll: on\n  queues: 2\n  serial: s\n  sidecore: 9\n"
	"  weight: 300\n  priority: 2\n  min_bandwidth: 1M\n  max_bandwidth: 2G\n  min_iops: 5\n"
	"  max_iops: 6\n  burst: 7\n  depth: 8\n- path: /d,2\n"
	"nets:\n- switch: lan\n  mac: 52:54:00:00:00:01\n  vlan: 7\n  mtu: 9000\n  queues: 3\n"
	"  spoof: on\n  trunk: on\n  filter: pcap:arp or ip;count\n  weight: 3\n  max_bandwidth: 1G\n- switch: wan\n";

static char path[64];

static void put(const char *text)
{
	FILE *f;
	int fd;

	strcpy(path, "/tmp/sv-run-XXXXXX.yaml");
	fd = mkstemps(path, 5);
	f = fdopen(fd, "w");
	cr_assert(f);
	fputs(text, f);
	fclose(f);
}

static int parse(struct run_options *o, int argc, ...)
{
	char *argv[64] = {(char[]){"run"}};
	va_list ap;
	int rc;

	va_start(ap, argc);
	for (int i = 1; i <= argc; i++)
		argv[i] = va_arg(ap, char *);
	va_end(ap);
	rc = run_options_parse(o, argc + 1, argv);
	unlink(path);
	return rc;
}

Test(run_profile, a_profile_with_every_key_is_what_the_options_say)
{
	static struct run_options a, b;
	char *argv[] = {"run", "--kernel", NULL, "--initrd", NULL, "--cmdline", "a b", "--name",
		"n", "--memory", "1G", "--vcpus", "4", "--topology", "1:2:2:1", "--numa", "2",
		"--console", "serial", "--cpus", "4-7", "--sidecore", "0-1:8,2-3:9",
		"--smt-sibling", "--overcommit", "--node", "/n.sock", "--private", "--rejoin", "5", "--idle",
		"never", "--irqchip", "full", "--exit-port", "--fw-cfg", "--boot32",
		"--no-populate", "--backing", "2m", "--stage2", "before", "--balloon", "--paging", "off", "--rng", "--vsock", "7", "--uplink", "slirp:switch=lan,restrict", "--vhost-user", "blk,socket=/b", "--vhost-user", "fs,socket=/f,tag=t,queues=2", "--track-dirty",
		"--memory-source", "/s",
		"--memory-hot", "/h", "--memory-prefetch", "off", "--memory-timeout", "3",
		"--ring-entries", "128", "--allow-bench", "--direct-paging",
		"--quiet", "--json", "--share-cores", "--isolate", "require", "--keep-placement", "/kept", "--smt", "--untrusted", "--near",
		"eth0", "--sidecores", "2", "--sidecore-policy", "spread", "--disk",
		(char[]){"path=/"
			 "d1,readonly,direct,writethrough,nodiscard,pinned,iopoll,queues=2,serial=s,sidecore=9,weight=300,"
			 "priority=2,min-bandwidth=1M,max-bandwidth=2G,min-iops=5,max-iops=6,burst=7,"
			 "depth=8"},
		"--disk", (char[]){"path=/d2"}, "--net",
		(char[]){"switch=lan,mac=52:54:00:00:00:01,vlan=7,mtu=9000,queues=3,spoof,trunk,"
			 "filter=pcap:arp or ip;count,weight=3,max-bandwidth=1024M"},
		"--net", (char[]){"switch=wan"}, NULL};

	put(full);
	cr_assert_eq(parse(&a, 1, path), -1);
	argv[2] = "/tmp/k";
	argv[4] = "/tmp/i";
	cr_assert_eq(run_options_parse(&b, sizeof(argv) / sizeof(argv[0]) - 1, argv), -1);
	/* Strings by contents, and then not again. */
#define SAME(m) \
	do { \
		cr_expect_str_eq(a.m, b.m); \
		a.m = b.m = NULL; \
	} while (0)
	SAME(vm.kernel);
	SAME(vm.initrd);
	SAME(vm.cmdline);
	SAME(vm.name);
	SAME(node);
	SAME(idle);
	SAME(uplink);
	SAME(keep_placement);
	SAME(near);
	SAME(vm.source.path);
	SAME(vm.foreign[0].path);
	SAME(vm.foreign[1].path);
	SAME(vm.foreign[1].tag);
	memset(a.foreign, 0, sizeof(a.foreign));
	memset(b.foreign, 0, sizeof(b.foreign));
	SAME(vm.source.hot);
	free(a.source_text);
	free(b.source_text);
	a.source_text = b.source_text = NULL;
	SAME(vm.disk[0].path);
	SAME(vm.disk[0].serial);
	cr_expect_str_eq(a.vm.disk[1].path, "/d,2");
	a.vm.disk[1].path = b.vm.disk[1].path = NULL;
	cr_expect_str_eq(a.name, b.name);
	memset(a.name, 0, sizeof(a.name));
	memset(b.name, 0, sizeof(b.name));
	cr_expect(a.profile && !b.profile);
	sv_profile_free(a.profile);
	a.profile = NULL;
	memset(a.profile_path, 0, sizeof(a.profile_path));
	b.disks_given = b.nets_given = b.foreign_given = b.sidecores_given = false;
	cr_expect_arr_eq(&a, &b, sizeof(a));
}

/* What profiles call defaults is what `run` has without any option. */
Test(run_profile, the_defaults_are_those_of_run)
{
	static struct run_options a, b;
	const struct sv_profile_value *v;
	char name[32];
	bool inverted;
	size_t n;

	put("kernel: k\nname: n\n");
	cr_assert_eq(parse(&a, 1, path), -1);
	cr_assert_eq(parse(&b, 4, "--kernel", "/tmp/k", "--name", "n"), -1);
	v = sv_profile_values(a.profile, &n);
	for (size_t i = 0; i < n; i++) {
		struct sv_error err = {""};
		char text[64];

		if (v[i].file || !is_option(run_profile_option(v[i].key, &inverted, name)))
			continue;
		snprintf(text, sizeof(text), "%s",
			!inverted ? v[i].text : strcmp(v[i].text, "true") ? "true" : "false");
		cr_assert_eq(run_options_set(&a, name, text, &err), 0, "%s: %s", name, err.text);
	}
	sv_profile_free(a.profile);
	a.profile = NULL;
	a.vm.kernel = b.vm.kernel = a.vm.name = b.vm.name = NULL;
	cr_expect_str_eq(a.name, b.name);
	memset(a.name, 0, sizeof(a.name));
	memset(b.name, 0, sizeof(b.name));
	memset(a.profile_path, 0, sizeof(a.profile_path));
	memset(&a.said, 0, sizeof(a.said));
	if (a.vm.ring_entries == 64) /* 0 says the same */
		a.vm.ring_entries = b.vm.ring_entries;
	cr_expect_arr_eq(&a, &b, sizeof(a));
}

Test(run_profile, a_node_profile_configures_serve)
{
	static struct sv_blk_export_config disk[SV_PROFILE_NODE_DISKS];
	struct sv_node_config c = {.control_cpu = -1};
	struct sv_profile_node_policy node;
	struct sv_plan_policy policy;
	struct sv_profile *p = NULL;
	struct sv_error err = {""};
	unsigned disks;

	put("kind: node\ncpus: 3,5-6\ncontrol_cpu: 1\nsocket: s\nidle: never\nallow_bench: on\n"
	    "policy: spread\nexclude: 9-10\nhousekeeping: 2\n"
	    "isolate: require\nshare_cores: on\ndisks:\n- path: a,b\n  socket: /d\n  readonly: on\n"
	    "  direct: on\n  discard: on\n  writethrough: on\n  queues: 3\n  serial: x\n  weight: 7\n");
	cr_assert_eq(serve_profile_apply(path, &c, disk, &disks, &p, &err), 0, "%s", err.text);
	unlink(path);
	cr_expect(c.sidecores == 3 && c.cpu[0] == 3 && c.cpu[2] == 6 && c.control_cpu == 1);
	cr_expect(c.allow_bench && c.idle_spin_us == UINT64_MAX && disks == 1);
	cr_expect_str_eq(c.socket, "/tmp/s");
	cr_expect_str_eq(disk[0].image, "/tmp/a,b");
	cr_expect_str_eq(disk[0].socket, "/d");
	cr_expect_str_eq(disk[0].serial, "x");
	cr_expect_eq(disk[0].queues, 3);
	cr_expect_eq(disk[0].qos.weight, 7);
	cr_expect_eq(disk[0].flags, SV_DEVICE_F_READONLY | SV_DEVICE_F_DIRECT | SV_DEVICE_F_DISCARD |
					    SV_DEVICE_F_WRITETHROUGH);
	cr_assert_eq(sv_profile_node_policy(p, &node), 0);
	serve_profile_policy(p, &node, &policy);
	cr_expect(policy.sidecores == 1 && policy.kind == SV_PLAN_SPREAD);
	cr_expect(policy.exclude_cpus == 2 && policy.exclude_cpu[1] == 10 && policy.sidecore_cpus == 3);
	cr_expect(policy.housekeeping_cpus == 0 && policy.housekeeping == 2 && !policy.near);
	sv_profile_node_policy_free(&node);
	cr_expect_str_eq(serve_profile_text(p, "isolate"), "require");
	cr_expect_str_eq(serve_profile_text(p, "share_cores"), "true");
	sv_profile_free(p);
}

Test(run_profile, a_node_profile_has_uplinks)
{
	static struct sv_blk_export_config disk[SV_PROFILE_NODE_DISKS];
	struct sv_uplink_config u[SV_PROFILE_NODE_UPLINKS];
	struct sv_node_config c = {.control_cpu = -1};
	struct sv_profile *p = NULL;
	struct sv_error err = {""};
	unsigned disks, n;

	put("kind: node\nuplinks:\n- type: tap\n  switch: lan\n  dev: tap0\n  queues: 2\n  vlan: 7\n"
	    "  filter: pcap:not stp\n- type: slirp\n  switch: wan\n  net: 10.1.0.0/16\n  restrict: on\n"
	    "  host_loopback: on\n  forward: tcp:2222:22 udp:127.0.0.1:53:10.1.0.9:5353\n");
	cr_assert_eq(serve_profile_apply(path, &c, disk, &disks, &p, &err), 0, "%s", err.text);
	cr_assert_eq(serve_profile_uplinks(p, u, &n, &err), 0, "%s", err.text);
	unlink(path);
	cr_assert_eq(n, 2);
	cr_expect(u[0].type == SV_UPLINK_TAP && u[0].queues == 2 && u[0].vlan == 7);
	cr_expect_str_eq(u[0].sw, "lan");
	cr_expect_str_eq(u[0].dev, "tap0");
	cr_expect_str_eq(u[0].filter, "pcap:not stp");
	cr_expect(u[1].type == SV_UPLINK_SLIRP && u[1].restricted && u[1].host_loopback && u[1].forwards == 2);
	cr_expect(u[1].net == 0x0a010000 && u[1].mask == 0xffff0000);
	cr_expect(u[1].forward[0].host_port == 2222 && u[1].forward[0].guest_port == 22);
	cr_expect(u[1].forward[1].udp && u[1].forward[1].host == 0x7f000001 && u[1].forward[1].guest == 0x0a010009);
	sv_profile_free(p);
}

#define MANY_NETS 20u /* all of them were more values than a file may have */
Test(run_profile, a_full_node_profile_is_read)
{
	static const char qos[] = "  weight: 1\n  priority: 1\n  min_bandwidth: 1M\n  max_bandwidth: 1M\n"
				  "  min_iops: 1\n  max_iops: 1\n  burst: 1\n  depth: 1\n";
	static char text[1 << 17];
	struct sv_profile *p = NULL;
	struct sv_error err = {""};
	char buf[PROFILE_PATH];
	int at = sprintf(text, "kind: node\ndisks:\n");
	size_t n;

	for (unsigned i = 0; i < SV_PROFILE_NODE_DISKS; i++)
		at += sprintf(text + at, "- path: d%u\n  socket: /d%u\n  readonly: on\n  direct: on\n  discard: on\n"
			"  writethrough: on\n  queues: 1\n  serial: s\n  format: raw\n  deadline: 1\n%s", i, i, qos);
	at += sprintf(text + at, "nets:\n");
	for (unsigned i = 0; i < MANY_NETS; i++)
		at += sprintf(text + at, "- switch: lan\n  socket: /n%u\n  mac: 52:54:00:00:00:01\n  vlan: 1\n  mtu: 1500\n"
			"  spoof: on\n  trunk: on\n  filter: 'count:'\n  queues: 1\n%s", i, qos);
	at += sprintf(text + at, "uplinks:\n");
	for (unsigned i = 0; i < SV_PROFILE_NODE_UPLINKS; i++)
		at += sprintf(text + at, "- type: slirp\n  switch: s\n  dev: d\n  queues: 1\n  vlan: 1\n  filter: 'count:'\n"
			"  net: 10.0.0.0/24\n  restrict: on\n  host_loopback: on\n  forward: tcp:1:1\n");
	put(text);
	cr_assert_eq(profile_load_one(path, SV_PROFILE_NODE_KIND, buf, &p, &err), 0, "%s", err.text);
	unlink(path);
	sv_profile_values(p, &n);
	cr_expect_gt(n, (SV_PROFILE_NODE_DISKS * 18 + MANY_NETS * 17 + SV_PROFILE_NODE_UPLINKS * 10));
	sv_profile_free(p);
}

Test(run_profile, options_override)
{
	static char disk_x[] = "path=/x", disk_y[] = "path=/y";
	static struct run_options o;

	put(full);
	cr_assert_eq(parse(&o, 9, "--memory", "2G", path, "--quiet=off", "--no-populate=off",
			     "--disk", disk_x, "--disk", disk_y),
		-1);
	cr_expect_eq(o.vm.memory_bytes, 2ull << 30);
	cr_expect(!o.quiet && !o.vm.no_populate && o.json);
	cr_expect_eq(o.vm.ndisks, 2);
	cr_expect_str_eq(o.vm.disk[0].path, "/x");
	cr_expect(!o.vm.disk[0].readonly && !o.vm.disk[0].serial);
	cr_expect_eq(o.sidecores, 2);
	sv_profile_free(o.profile);
	put(full);
	cr_assert_eq(parse(&o, 3, path, "--sidecore", "3"), -1);
	cr_expect(o.sidecores == 1 && o.sidecore[0] == 3 && o.vm.vcpu_sidecore_cpu[0] == -1);
	cr_expect_eq(o.vm.ndisks, 2);
	sv_profile_free(o.profile);
}

Test(run_profile, the_vm_is_named_like_its_file)
{
	static struct run_options o;

	put("kernel: k\n");
	cr_assert_eq(parse(&o, 1, path), -1);
	cr_expect(!strncmp(o.name, "sv-run-", 7) && strlen(o.name) == 13, "%s", o.name);
	cr_expect_str_eq(o.vm.kernel, "/tmp/k");
	sv_profile_free(o.profile);
}

Test(run_profile, a_problem_is_one_sentence_with_the_number_of_the_others)
{
	static struct run_options o;
	char said[512] = "", want[256];

	put("memory: x\nvcpu: 1\nnuma: 0\n");
	snprintf(want, sizeof(want),
		"sidevisor: %s:1:9: memory: 'x' is not a size such as 512M or 4G (and 2 "
		"more: see `sidevisor profile check`)\n",
		path);
	cr_redirect_stderr();
	cr_assert_eq(parse(&o, 1, path), EXIT_FAILED);
	fflush(stderr);
	said[fread(said, 1, sizeof(said) - 1, cr_get_redirected_stderr())] = '\0';
	cr_expect_str_eq(said, want);
}

Test(run_profile, a_second_memory_source_replaces_the_first)
{
	static struct run_options o;

	cr_assert_eq(parse(&o, 6, "--kernel", "/k", "--memory-source",
			     "file=/a,hot=/h,prefetch=off,timeout=3", "--memory-source", "unix=/b"),
		-1);
	cr_expect_str_eq(o.vm.source.path, "/b");
	cr_expect_eq(o.vm.source.kind, SV_SOURCE_UNIX);
	cr_expect(!o.vm.source.hot && !o.vm.source.no_prefetch);
	cr_expect_eq(o.vm.source.timeout_s, RUN_SOURCE_TIMEOUT_S);
	free(o.source_text);
	/* What options of their own said stays, wherever they stand. */
	cr_assert_eq(parse(&o, 10, "--kernel", "/k", "--memory-hot", "/own", "--memory-source",
			     "file=/a,timeout=3", "--memory-timeout", "4", "--memory-source", "/b"),
		-1);
	cr_expect_str_eq(o.vm.source.path, "/b");
	cr_expect_str_eq(o.vm.source.hot, "/own");
	cr_expect_eq(o.vm.source.timeout_s, 4);
	free(o.source_text);
}

/* `bench paging --advise` writes where `paging: auto` looks. */
Test(run_profile, the_record_of_a_profile_is_beside_it)
{
	static char longest[PROFILE_PATH + 1];
	struct sv_error err = {""};
	char record[PROFILE_PATH + 16], want[96];

	cr_assert_eq(paging_auto_record_path("/g/web.yaml", record, sizeof(record), &err), 0);
	cr_expect_str_eq(record, "/g/web.paging.json");
	cr_assert_eq(paging_auto_record_path("/g/web.yml", record, sizeof(record), &err), 0);
	cr_expect_str_eq(record, "/g/web.paging.json");
	cr_assert_eq(paging_auto_record_path("web", record, sizeof(record), &err), 0);
	cr_expect_str_eq(record, "web.paging.json");
	cr_expect_eq(paging_auto_record_path("/g/web.yaml", record, 12, &err), -ENAMETOOLONG);
	put("kernel: k\n");
	cr_assert_eq(paging_auto_record_of(path, record, sizeof(record), &err), 0);
	unlink(path);
	snprintf(want, sizeof(want), "%.*s.paging.json", (int)strlen(path) - 5, path);
	cr_expect_str_eq(record, want);
	cr_expect_eq(paging_auto_record_of("nobody-here", record, sizeof(record), &err), -ENOENT);
	cr_expect(strstr(err.text, "nobody-here"));
	memset(longest, 'x', PROFILE_PATH);
	cr_expect_eq(paging_auto_record_of(longest, record, sizeof(record), &err), -ENAMETOOLONG);
}
