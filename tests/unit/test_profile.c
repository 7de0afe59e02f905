/* SPDX-License-Identifier: BSD-3-Clause */
/* What good profiles say, inheritance, origins, and what the planner gets. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <profiles/profile.h>

static char dir[64];

static void set_up(void)
{
	strcpy(dir, "/tmp/sv-profile-XXXXXX");
	cr_assert(mkdtemp(dir));
}

static void tear_down(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert_eq(system(command), 0);
}

static const char *path_of(const char *name)
{
	static char path[2][128];
	static unsigned turn;

	turn ^= 1;
	snprintf(path[turn], sizeof(path[0]), "%s/%s", dir, name);
	return path[turn];
}

static void put(const char *name, const char *text)
{
	FILE *f = fopen(path_of(name), "w");

	cr_assert(f);
	fputs(text, f);
	fclose(f);
}

static struct sv_profile_report report;

static struct sv_profile *load(const char *name)
{
	struct sv_profile *p = NULL;

	memset(&report, 0, sizeof(report));
	cr_assert_eq(sv_profile_load(path_of(name), -1, &p, &report), 0, "%s", report.first.text);
	return p;
}

static void refuse(const char *name, int errnum, const char *sentence)
{
	struct sv_profile *p = NULL;

	memset(&report, 0, sizeof(report));
	cr_expect_eq(sv_profile_load(path_of(name), -1, &p, &report), -errnum);
	cr_expect_null(p);
	cr_expect(strstr(report.first.text, sentence), "not in it: %s\nbut: %s", sentence,
		report.first.text);
}

static void expect_value(const struct sv_profile *p, const char *key, const char *text,
	const char *file, unsigned line)
{
	const struct sv_profile_value *v = sv_profile_find(p, key);

	cr_assert(v, "%s", key);
	cr_expect_str_eq(v->text, text);
	if (file)
		cr_expect_str_eq(v->file, path_of(file));
	else
		cr_expect_null(v->file);
	cr_expect(!file || v->line == line, "%s: line %u", key, v->line);
}

TestSuite(profile, .init = set_up, .fini = tear_down);

Test(profile, types_and_defaults)
{
	const struct sv_profile_guest *g;
	struct sv_profile *p;

	put("g.yaml",
		"\xef\xbb\xbfkernel: k\nvcpus: 4\nsmt: yes\nconsole: serial\npopulate: \"no\"\n"
		"disks:\n- path: a,b\n  readonly: on\n  queues: 3\n- {path: /c}\n");
	p = load("g.yaml");
	g = sv_profile_guest(p);
	cr_assert(g && !sv_profile_node(p));
	cr_expect_str_eq(g->kernel, path_of("k"));
	cr_expect(*g->vcpus == 4 && *g->smt && *g->console == SV_PROFILE_SERIAL && !*g->populate);
	cr_expect_eq(g->disks_count, 2);
	cr_expect_str_eq(g->disks[0].path, path_of("a,b"));
	cr_expect(*g->disks[0].readonly && *g->disks[0].queues == 3 && !g->disks[0].direct);
	cr_expect_str_eq(g->disks[1].path, "/c");
	cr_expect_str_eq(g->memory, "256M");
	cr_expect_null(g->initrd);
	expect_value(p, "memory", "256M", NULL, 0);
	expect_value(p, "smt", "true", "g.yaml", 3);
	expect_value(p, "populate", "false", "g.yaml", 5);
	cr_expect_str_eq(sv_profile_find(p, "kernel")->given, "k");
	cr_expect(sv_profile_find(p, "disks")->is_list && sv_profile_find(p, "disks")->line == 6);
	cr_expect_null(sv_profile_find(p, "path"));
	sv_profile_free(p);
}

Test(profile, a_child_overrides_and_lists_replace)
{
	struct sv_profile *p;

	put("base.yaml",
		"name: base\ndescription: d\nkernel: k\nmemory: 1G\nvcpus: 2\ndisks:\n- path: a\n"
		"- path: b\n");
	cr_assert_eq(mkdir(path_of("sub"), 0700), 0);
	put("mid.yaml", "inherits: base\nvcpus: 8\ninitrd: i\n");
	put("sub/g.yaml", "inherits: ../mid.yaml\nmemory: 2G\ndisks:\n- path: c\n");
	p = load("sub/g.yaml");
	expect_value(p, "memory", "2G", "sub/g.yaml", 2);
	expect_value(p, "inherits", "../mid.yaml", "sub/g.yaml", 1);
	cr_expect_eq(*sv_profile_guest(p)->vcpus, 8);
	cr_expect(strstr(sv_profile_find(p, "vcpus")->file, "/sub/../mid.yaml"));
	cr_expect(strstr(sv_profile_find(p, "kernel")->file, "/sub/../base.yaml"));
	/* A path is relative to the file that has it. */
	cr_expect(strstr(sv_profile_guest(p)->initrd, "/sub/../i"));
	cr_expect_eq(sv_profile_guest(p)->disks_count, 1);
	cr_expect_str_eq(sv_profile_guest(p)->disks[0].path, path_of("sub/c"));
	/* Who it is, is nobody else's to say. */
	cr_expect_null(sv_profile_guest(p)->name);
	cr_expect_null(sv_profile_guest(p)->description);
	sv_profile_free(p);
	put("none.yaml", "inherits: base\ndisks: []\n");
	p = load("none.yaml");
	cr_expect_eq(sv_profile_guest(p)->disks_count, 0);
	sv_profile_free(p);
}

Test(profile, chains)
{
	char name[32], text[64];

	put("a.yaml", "inherits: b\n");
	put("b.yaml", "inherits: c.yaml\n");
	put("c.yaml", "vcpus: 1\ninherits: a\n");
	refuse("a.yaml", ELOOP,
		"c.yaml:2:11: inherits: a cycle: a.yaml -> b.yaml -> c.yaml -> a.yaml");
	put("self.yaml", "inherits: self\n");
	refuse("self.yaml", ELOOP, "inherits: a cycle: self.yaml -> self.yaml");
	put("lost.yaml", "inherits: nowhere\n");
	refuse("lost.yaml", ENOENT,
		"lost.yaml:1:11: inherits: 'nowhere': No such file or directory; there is neither "
		"that "
		"file nor one with .yaml in");
	for (unsigned i = 0; i < 9; i++) {
		snprintf(name, sizeof(name), "n%u.yaml", i);
		snprintf(text, sizeof(text), i < 8 ? "inherits: n%u\n" : "vcpus: %u\n", i + 1);
		put(name, text);
	}
	sv_profile_free(load("n1.yaml"));
	refuse("n0.yaml", ELOOP, "a chain of more than 8 files: n0.yaml -> n1.yaml -> ");
	/* A problem of a parent is the parent's. */
	put("bad.yaml", "vcpus: x\n");
	put("child.yaml", "inherits: bad\n");
	refuse("child.yaml", EINVAL, "bad.yaml:1:8: vcpus: 'x' is not");
	put("node.yaml", "sidecores: 2\n");
	put("mixed.yaml", "inherits: k\n");
	put("k.yaml", "kind: node\n");
	refuse("mixed.yaml", EINVAL,
		"k.yaml:1:7: it is a node profile where a guest profile is expected");
}

Test(profile, files)
{
	char big[128];

	refuse("none.yaml", ENOENT, "none.yaml: No such file or directory");
	cr_assert_eq(mkdir(path_of("d.yaml"), 0700), 0);
	refuse("d.yaml", EISDIR, "d.yaml: it is a directory; name a file");
	cr_assert_eq(mkfifo(path_of("fifo.yaml"), 0600), 0);
	refuse("fifo.yaml", EINVAL, "fifo.yaml: it is not a regular file; name one");
	put("big.yaml", "");
	snprintf(big, sizeof(big), "%s", path_of("big.yaml"));
	cr_assert_eq(truncate(big, 100 << 20), 0);
	refuse("big.yaml", EFBIG, "it has 104857600 bytes; at most 1048576 are read");
}

Test(profile, no_permission)
{
	put("secret.yaml", "vcpus: 1\n");
	cr_assert_eq(chmod(path_of("secret.yaml"), 0), 0);
	cr_assert_eq(chmod(dir, 0755), 0);
	if (geteuid() == 0)
		cr_assert_eq(seteuid(65534), 0);
	refuse("secret.yaml", EACCES, "secret.yaml: Permission denied");
	if (getuid() == 0)
		cr_assert_eq(seteuid(0), 0);
}

Test(profile, the_planner_gets_numbers)
{
	struct sv_profile_placement g;
	struct sv_profile_node_policy n;
	struct sv_profile *p;

	put("g.yaml", "name: a\nvcpus: 16\nmemory: 4G\nsmt: on\nnear: 41:00.0\nshare_cores: on\n"
		      "untrusted: on\nsidecores: 3\nsidecore_policy: smt-sibling\n");
	p = load("g.yaml");
	sv_profile_placement(p, &g);
	cr_expect(g.vcpus == 16 && g.memory_bytes == 4ull << 30 && g.smt && g.share_cores &&
		  g.untrusted);
	cr_expect(g.sidecores == 3 && g.policy_given && g.policy == SV_PROFILE_SMT_SIBLING);
	cr_expect_str_eq(g.near, "41:00.0");
	cr_expect_str_eq(g.name, "a");
	sv_profile_free(p);
	put("node.yaml",
		"guest_cores_per_sidecore: 7\npolicy: spread\nhousekeeping: 0,2-3\nexclude: 9\n");
	p = load("node.yaml");
	cr_expect_eq(sv_profile_kind(p), SV_PROFILE_NODE_KIND);
	cr_assert_eq(sv_profile_node_policy(p, &n), 0);
	cr_expect(n.sidecores == SV_PROFILE_AUTO && n.guest_cores_per_sidecore == 7);
	cr_expect(n.policy == SV_PROFILE_SPREAD && n.housekeeping == SV_PROFILE_AUTO);
	cr_expect(n.housekeeping_cpus == 3 && n.housekeeping_cpu[2] == 3);
	cr_expect(n.exclude_cpus == 1 && n.exclude_cpu[0] == 9 && n.sidecore_cpus == 0);
	sv_profile_node_policy_free(&n);
	sv_profile_free(p);
	put("other.yaml", "kind: node\nhousekeeping: 2\nsidecores: 4\n");
	p = load("other.yaml");
	cr_assert_eq(sv_profile_node_policy(p, &n), 0);
	cr_expect(n.housekeeping == 2 && n.housekeeping_cpus == 0 && n.sidecores == 4);
	sv_profile_node_policy_free(&n);
	sv_profile_free(p);
}

Test(profile, text_is_quoted_where_yaml_would_read_something_else)
{
	static const char *const text[] = {"a", "yes", "No", "1", "", "a: b", "# c", "\"q\\",
		"null", "0000:41:00.0", "- x", "*a", "tilde~", "é", "/dev/vda", "a #b", "4G", "~",
		" blank "};
	char *yaml, want[64];
	size_t bytes;

	for (unsigned i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
		FILE *f = open_memstream(&yaml, &bytes);
		struct sv_profile *p = NULL;

		memset(&report, 0, sizeof(report));
		fputs("cmdline: ", f);
		sv_profile_put_text(f, text[i]);
		fclose(f);
		cr_assert_eq(sv_profile_parse(yaml, bytes, "t", 0, &p, &report), 0, "%s: %s", yaml,
			report.first.text);
		snprintf(want, sizeof(want), "%s", text[i]);
		cr_expect_str_eq(sv_profile_guest(p)->cmdline, want);
		sv_profile_free(p);
		free(yaml);
	}
}
