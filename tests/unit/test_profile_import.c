/* SPDX-License-Identifier: BSD-3-Clause */
/* V3M's XML as a guest profile: what is carried over, what is said, what is refused. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <profiles/profile.h>

#define HEAD "<?xml version=\"1.0\"?>\n<!DOCTYPE profile PUBLIC \"\" \"v3m_profile.dtd\">\n"

static char said[32][512];
static unsigned sentences;

static void hear(void *ctx, const char *sentence)
{
	(void)ctx;
	if (sentences < 32)
		snprintf(said[sentences], sizeof(said[0]), "%s", sentence);
	sentences++;
}

static int import(const char *xml, char **yaml, struct sv_error *err)
{
	struct sv_profile_report left_out = {.problem = hear};

	sentences = 0;
	return sv_profile_import_v3m_text(xml, strlen(xml), "p.xml", yaml, &left_out, err);
}

static void refuse(const char *xml, const char *sentence)
{
	struct sv_error err = {""};
	char *yaml = NULL;

	cr_expect_eq(import(xml, &yaml, &err), -EINVAL, "%s", xml);
	cr_expect_str_eq(err.text, sentence);
}

Test(profile_import, the_example)
{
	struct sv_profile_report r = {0};
	struct sv_profile *p = NULL;
	struct sv_error err = {""};
	char *yaml;

	cr_assert_eq(
		import(HEAD "<profile>\n  <name>test</name>\n  <type>Xen</type>\n"
			    "  <image size=\"50\">/home/user/v2m/test_xen.img</image>\n  <nic1>\n"
			    "    <type>TUN/TAP</type>\n    <mac>00:02:03:04:05:06</mac>\n  "
			    "</nic1>\n</profile>\n",
			&yaml, &err),
		0, "%s", err.text);
	cr_expect_eq(sentences, 3);
	cr_expect_str_eq(said[0],
		"p.xml:5:1: the type Xen is left out: this is a guest of sidevisor; a "
		"kernel for Xen needs a PVH note or must be replaced");
	cr_expect_str_eq(said[1],
		"p.xml:6:1: <image size=\"50\"> is left out: a disk is as large as its file");
	cr_expect_str_eq(said[2], "p.xml:7:1: the network card <nic1> of type TUN/TAP with MAC "
				  "00:02:03:04:05:06 is left out: name a switch in `nets` instead");
	cr_assert_eq(sv_profile_parse(yaml, strlen(yaml), "out.yaml", -1, &p, &r), 0, "%s",
		r.first.text);
	cr_expect_str_eq(sv_profile_guest(p)->name, "test");
	cr_expect_eq(sv_profile_guest(p)->disks_count, 1);
	cr_expect_str_eq(sv_profile_guest(p)->disks[0].path, "/home/user/v2m/test_xen.img");
	sv_profile_free(p);
	free(yaml);
}

Test(profile_import, what_is_not_known_is_named_with_its_line)
{
	struct sv_error err;
	char *yaml;

	cr_assert_eq(import("<profile>\n<name>a b/c</name>\n<cdrom>x</cdrom>\n<image><x/></image>\n"
			    "<nic2><speed>9</speed></nic2>\n<name>second</name>\n<image "
			    "colour='r'>/a: b</image></profile>",
			     &yaml, &err),
		0);
	cr_expect_eq(sentences, 7);
	cr_expect_str_eq(said[0],
		"p.xml:2:1: the name 'a b/c' becomes 'a-b-c': names have at most 31 "
		"letters, digits, '.', '_' or '-'");
	cr_expect_str_eq(said[1], "p.xml:3:1: <cdrom> is left out: its meaning is not known");
	cr_expect_str_eq(
		said[2], "p.xml:4:1: <image> is left out: it has no text, or elements within");
	cr_expect_str_eq(said[3], "p.xml:5:1: <speed> of <nic2> is left out");
	cr_expect_str_eq(said[5], "p.xml:6:1: a second <name>, 'second', is left out");
	cr_expect_str_eq(said[6], "p.xml:7:1: the attribute colour of <image> is left out");
	cr_expect(strstr(yaml, "name: a-b-c\n") && strstr(yaml, "- path: \"/a: b\"\n"), "%s", yaml);
	free(yaml);
}

Test(profile_import, text_that_no_profile_can_have)
{
	struct sv_error err;
	char *yaml;

	cr_assert_eq(import("<profile>\n<name>\u00e9\xc2\x9b</name>\n<image>/a\xc2\x9b</image>\n"
		"<image>/a&#10;b</image>\n<\xc3\xa9/>\n</profile>", &yaml, &err), 0);
	cr_expect_eq(sentences, 4);
	cr_expect_str_eq(
		said[1], "p.xml:3:1: <image> is left out: its path is too long or not printable");
	cr_expect_str_eq(
		said[2], "p.xml:4:1: <image> is left out: its path is too long or not printable");
	cr_expect(strstr(yaml, "name: \"----\"\n"), "%s", yaml);
	free(yaml);
}

#define NO_ENTITIES ": it has an entity; write the text itself, entities are not followed"

Test(profile_import, entity_bombs)
{
	refuse("<!DOCTYPE profile [\n<!ENTITY a \"aaaa\">\n<!ENTITY b \"&a;&a;&a;\">\n]>\n"
	       "<profile><name>&b;</name></profile>", "p.xml:2" NO_ENTITIES);
	refuse("<!DOCTYPE profile [<!ENTITY % a \"<!ENTITY b 'x'>\"> %a;]><profile/>",
		"p.xml:1" NO_ENTITIES);
}

Test(profile_import, external_entities)
{
	refuse("<!DOCTYPE profile [\n<!ENTITY a SYSTEM \"file:///etc/passwd\">]>\n"
	       "<profile><name>&a;</name></profile>", "p.xml:2" NO_ENTITIES);
	refuse("<!DOCTYPE profile [<!ENTITY % a SYSTEM \"file:///etc/passwd\"> %a;]>\n<profile/>",
		"p.xml:1" NO_ENTITIES);
	refuse(HEAD "<profile><name>&undefined;</name></profile>", "p.xml:3" NO_ENTITIES);
}

Test(profile_import, not_a_profile)
{
	refuse("", "p.xml:1: not XML: Document is empty");
	refuse("kernel: a\n", "p.xml:1: not XML: Start tag expected, '<' not found");
	refuse("<profile><name></profile>",
		"p.xml:1: not XML: Opening and ending tag mismatch: name line 1 and profile");
	refuse("<domain type='kvm'/>", "p.xml: its root is <domain>; a V3M profile's is <profile>");
}

Test(profile_import, bounds)
{
	size_t bytes = SV_PROFILE_XML_BYTES + 1, n = 0;
	char *xml = calloc(1, bytes), *yaml = NULL;
	struct sv_error err;

	cr_assert(xml);
	cr_expect_eq(sv_profile_import_v3m_text(xml, bytes, "p.xml", &yaml, NULL, &err), -EFBIG);
	cr_expect_str_eq(err.text, "p.xml: it has more than 65536 bytes");
	for (unsigned i = 0; i < 20000; i++)
		n += (size_t)sprintf(xml + n, "<a>");
	cr_expect_eq(import(xml, &yaml, &err), -EINVAL);
	cr_expect(strstr(err.text, "not XML: Excessive depth"), "%s", err.text);
	/* Attributes are compared with each other: as many as fit. */
	n = (size_t)sprintf(xml, "<profile>\n<image");
	for (unsigned i = 0; i < 6000; i++)
		n += (size_t)sprintf(xml + n, " a%u=''", i);
	sprintf(xml + n, ">/a</image></profile>");
	cr_expect_eq(import(xml, &yaml, &err), 0, "%s", err.text);
	cr_expect_eq(sentences, 101);
	cr_expect_str_eq(said[31], "p.xml:2:1: the attribute a31 of <image> is left out");
	free(yaml);
	n = (size_t)sprintf(xml, "<profile>");
	for (unsigned i = 0; i < 1000; i++)
		n += (size_t)sprintf(xml + n, "<x/><image>/a</image>");
	sprintf(xml + n, "</profile>");
	cr_expect_eq(import(xml, &yaml, &err), 0);
	cr_expect_eq(sentences, 101);
	free(yaml);
	free(xml);
}
