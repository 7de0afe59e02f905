/* SPDX-License-Identifier: BSD-3-Clause */
/* Every kind of problem, with the sentence that a user gets. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <profiles/profile.h>

struct said {
	unsigned n;
	char text[64][512];
};

static void hear(void *ctx, const char *sentence)
{
	struct said *s = ctx;

	if (s->n < 64)
		snprintf(s->text[s->n], sizeof(s->text[0]), "%s", sentence);
	s->n++;
}

static struct said said;

static int parse_bytes(const char *text, size_t bytes)
{
	struct sv_profile_report r = {.problem = hear, .ctx = &said};
	struct sv_profile *p = NULL;
	int rc;

	memset(&said, 0, sizeof(said));
	rc = sv_profile_parse(text, bytes, "g.yaml", -1, &p, &r);
	sv_profile_free(p);
	cr_assert_eq(r.problems, said.n);
	return rc;
}

/* That sentence, and no other. */
static void refuse(const char *text, const char *sentence)
{
	cr_expect_eq(parse_bytes(text, strlen(text)), -EINVAL, "%s", text);
	cr_expect_eq(said.n, 1, "%u problems of: %s", said.n, text);
	cr_expect_str_eq(said.text[0], sentence);
}

Test(profile_errors, unknown_keys_with_a_suggestion)
{
	refuse("vcpu: 3\n", "g.yaml:1:1: unknown key 'vcpu'; did you mean 'vcpus'?");
	refuse("\n  ring-entries: 64\n",
		"g.yaml:2:3: unknown key 'ring-entries'; did you mean 'ring_entries'?");
	refuse("Memroy: 1G\n", "g.yaml:1:1: unknown key 'Memroy'; did you mean 'memory'?");
	refuse("frobnicate: 3\n", "g.yaml:1:1: unknown key 'frobnicate'; `sidevisor profile keys` "
				  "lists those there are");
	refuse("disks:\n- path: a\n  quues: 3\n",
		"g.yaml:3:3: unknown key 'disks[0].quues'; did you mean 'queues'?");
	refuse("housekeeping: 2\n", "g.yaml:1:1: 'housekeeping' is a key of node profiles, and "
				    "this is a guest profile");
	refuse("\"a\\0b\": 2\n",
		"g.yaml:1:1: unknown key 'a?b'; `sidevisor profile keys` lists those there are");
}

Test(profile_errors, wrong_types)
{
	refuse("vcpus: [1]\n",
		"g.yaml:1:8: vcpus: a list where a single value is expected; write a "
		"whole number from 1 to 1024");
	refuse("vcpus: {a: 1}\n",
		"g.yaml:1:8: vcpus: a group of keys where a single value is expected; "
		"write a whole number from 1 to 1024");
	refuse("disks: a.img\n", "g.yaml:1:8: disks: a single value where a list is expected; "
				 "write a list of at most 16 disks");
	refuse("disks: [a.img]\n",
		"g.yaml:1:9: disks[0]: write an entry with keys, such as `- path: disk.img`");
	refuse("[a]: 1\n", "g.yaml:1:1: a key must be a word");
}

Test(profile_errors, numbers_are_decimal_and_whole)
{
	static const char *const bad[] = {
		"010", "0x10", "4.5", "-1", "+3", "0", "1025", "99999999999", "1e3", "four"};
	char text[64], want[128];

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), "vcpus: %s\n", bad[i]);
		snprintf(want, sizeof(want),
			"g.yaml:1:8: vcpus: '%s' is not a whole number from 1 to 1024", bad[i]);
		refuse(text, want);
	}
	refuse("ring_entries: 48\n",
		"g.yaml:1:15: ring_entries: '48' is not a power of two from 2 to 4096");
}

Test(profile_errors, forms)
{
	refuse("memory: 12Q\n", "g.yaml:1:9: memory: '12Q' is not a size such as 512M or 4G");
	refuse("memory: 0\n", "g.yaml:1:9: memory: '0' is not a size such as 512M or 4G");
	refuse("memory: 99999999999T\n",
		"g.yaml:1:9: memory: '99999999999T' is not a size such as 512M or 4G");
	refuse("smt: maybe\n",
		"g.yaml:1:6: smt: 'maybe' is not on or off (also yes, no, true, false)");
	refuse("console: seral\n",
		"g.yaml:1:10: console: 'seral' is not stdio, serial or none; did you "
		"mean 'serial'?");
	refuse("console: 1\n", "g.yaml:1:10: console: '1' is not stdio, serial or none");
	refuse("cpus: 3-2\n", "g.yaml:1:7: cpus: '3-2' is not a list of host CPUs such as 2,3,6-9");
	refuse("name: a/b\n",
		"g.yaml:1:7: name: 'a/b' is not 1 to 31 letters, digits, '.', '_' or '-'");
	refuse("near: 00:41:00.0\n", "g.yaml:1:7: near: '00:41:00.0' is not a PCI address such as "
				     "0000:41:00.0 or a network interface");
	refuse("idle: soon\n", "g.yaml:1:7: idle: 'soon' is not microseconds, or never");
	refuse("topology: 1:1\n",
		"g.yaml:1:11: topology: '1:1' is not sockets:dies:cores:threads, such as 2:1:8:2");
	refuse("sidecore: 1:2:3\n",
		"g.yaml:1:11: sidecore: '1:2:3' is not CPUs such as 7 or 7,15, or "
		"VCPU:CPU such as 0-6:7,7-13:15");
	refuse("kind: host\n", "g.yaml:1:7: kind: 'host' is not guest or node");
}

Test(profile_errors, no_value)
{
	refuse("kernel:\nvcpus: 1\n",
		"g.yaml:1:8: kernel has no value; write the path of a file, or leave the key out");
	refuse("kernel: ~\n",
		"g.yaml:1:9: kernel has no value; write the path of a file, or leave the key out");
	refuse("disks:\n- readonly: on\n", "g.yaml:2:3: disks[0].path is missing; write the path "
					   "of an image or block device, or an nbd:// address");
}

Test(profile_errors, text)
{
	refuse("cmdline: >\n  a\n  b\n",
		"g.yaml:1:10: cmdline: it has a line break; write one line, or "
		"`>-` to fold several");
	refuse("cmdline: \"a\\e[31m\"\n",
		"g.yaml:1:10: cmdline: it has a control character (U+001B); write "
		"printable text");
	refuse("kernel: \"a\\0b\"\n",
		"g.yaml:1:9: kernel: it has a control character (U+0000); write "
		"printable text");
	/* What terminals take for controls in UTF-8 too, and what YAML takes for line breaks. */
	refuse("name: \"\\x9b31m\"\n",
		"g.yaml:1:7: name: it has a control character (U+009B); write printable text");
	refuse("cmdline: \"a\\Lb\"\n",
		"g.yaml:1:10: cmdline: it has a control character (U+2028); write printable text");
	refuse("\"\\x9b31m\": a\n",
		"g.yaml:1:1: unknown key '?31m'; `sidevisor profile keys` lists those there are");
	refuse("disks:\n- path: a\n  serial: aaaaaaaaaaaaaaaaaaaaa\n",
		"g.yaml:3:11: disks[0].serial: 21 bytes are too long; write at most 20");
}

Test(profile_errors, keys_given_twice)
{
	refuse("vcpus: 1\nmemory: 1G\nvcpus: 2\n",
		"g.yaml:3:1: 'vcpus' is given twice; the first is on line 1");
	refuse("disks:\n- path: a\n  path: b\n",
		"g.yaml:3:3: 'disks[0].path' is given twice; the first is on line 2");
}

Test(profile_errors, keys_that_disagree)
{
	refuse("vcpus: 3\ntopology: 2:1:1:1\n",
		"g.yaml:2:11: topology: 2:1:1:1 makes 2 vCPUs, and vcpus "
		"is 3 (g.yaml:1); make them agree");
	refuse("numa: 2\n", "g.yaml:1:7: numa: 2 nodes are more than the vCPUs, 1");
	refuse("vcpus: 3\ncpus: 4-5\n",
		"g.yaml:2:7: cpus: 4-5 names 2 CPUs, and vcpus is 3; name one for "
		"each vCPU, or say overcommit");
}

#define NO_ALIASES                                                                                 \
	"anchors and aliases are not read: write the value, or put what profiles share into a "    \
	"file "                                                                                    \
	"and name it with `inherits`"

Test(profile_errors, alias_bombs)
{
	refuse("a: &a [x]\n", "g.yaml:1:4: " NO_ALIASES);
	refuse("name: *a\n", "g.yaml:1:7: " NO_ALIASES);
	refuse("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n", "g.yaml:1:4: " NO_ALIASES);
	refuse("&a name: b\n", "g.yaml:1:1: " NO_ALIASES);
	refuse("name: !!str b\n", "g.yaml:1:7: tags (`!`) are not read: write the value alone");
}

Test(profile_errors, documents)
{
	refuse("",
		"g.yaml: it is empty; a guest profile begins with keys such as `kernel: vmlinuz`");
	refuse("# a comment\n",
		"g.yaml: it is empty; a guest profile begins with keys such as `kernel: vmlinuz`");
	refuse("text\n", "g.yaml:1:1: it has no keys; write lines such as `kernel: vmlinuz`");
	refuse("- a\n", "g.yaml:1:1: it has no keys; write lines such as `kernel: vmlinuz`");
	refuse("name: a\n---\nname: b\n",
		"g.yaml:2:1: a second document begins here: a profile is one document");
	refuse("[[[[[[[[[[[[[[[[[[[[", "g.yaml:1:9: nested too deeply: a profile has three levels");
	refuse("name: \"a\n",
		"g.yaml:2:1: not YAML: found unexpected end of stream (while scanning a "
		"quoted scalar that began on line 1)");
	refuse("name: a\n\tvcpus: 1\n",
		"g.yaml:2:1: not YAML: found a tab character that violates "
		"indentation (while scanning a plain scalar that began on line 1)");
	refuse("inherits: base\n",
		"g.yaml:1:11: inherits: this text is no file, and has no directory to look in");
}

Test(profile_errors, not_utf8)
{
	refuse("name: a\nkernel: \xff\xfe\n",
		"g.yaml:2:9: not UTF-8 (a byte 0xff): a profile is text in UTF-8");
	refuse("name: \xc0\xaf\n",
		"g.yaml:1:7: not UTF-8 (a byte 0xc0): a profile is text in UTF-8");
	refuse("name: \xed\xa0\x80\n",
		"g.yaml:1:7: not UTF-8 (a byte 0xed): a profile is text in UTF-8");
	cr_expect_eq(parse_bytes("name: a\0b\n", 10), -EINVAL);
	cr_expect_str_eq(said.text[0], "g.yaml:1:8: a NUL byte: a profile is text in UTF-8");
}

Test(profile_errors, bounds)
{
	char *text = malloc(SV_PROFILE_BYTES + 1);
	size_t n = 0;

	cr_assert(text);
	memset(text, ' ', SV_PROFILE_BYTES + 1);
	cr_expect_eq(parse_bytes(text, SV_PROFILE_BYTES + 1), -EFBIG);
	cr_expect_str_eq(said.text[0], "g.yaml: it has more than 1048576 bytes");
	n += (size_t)sprintf(text, "disks:\n");
	for (unsigned i = 0; i < 17; i++)
		n += (size_t)sprintf(text + n, "- path: d%u\n", i);
	refuse(text, "g.yaml:2:1: disks: 17 entries; write a list of at most 16 disks");
	n = (size_t)sprintf(text, "disks: [");
	for (unsigned i = 0; i < 5000; i++)
		n += (size_t)sprintf(text + n, "a,");
	refuse(text, "g.yaml:1:8195: too many values: a profile has a few dozen");
	/* Whatever is quoted of it is short. */
	memset(text, 'a', SV_PROFILE_BYTES);
	memcpy(text, "cpus: ", 6);
	text[4000] = '\0';
	cr_expect_eq(parse_bytes(text, 4000), -EINVAL);
	cr_expect(strlen(said.text[0]) < 250);
	free(text);
}

Test(profile_errors, all_problems_are_said_at_once)
{
	static const char text[] = "vcpu: 1\nmemory: x\nsmt: perhaps\ndisks:\n- pth: a\nnuma: 0\n";

	cr_expect_eq(parse_bytes(text, strlen(text)), -EINVAL);
	cr_expect_eq(said.n, 6);
}
