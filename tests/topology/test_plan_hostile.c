/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Topologies that are broken, or made to do harm: an exact sentence for each, and never a crash.
 * Every one ends: the loader's child has 20 seconds and 4 GiB.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <placement/machine.h>

#define HWLOC_2 "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE topology SYSTEM \"hwloc2.dtd\">\n"
#define NOT_HWLOC "hwloc cannot read it: not an hwloc XML file of version 1 or 2"

static char folder[] = "/tmp/sv_hostile_XXXXXX";
static char path[64];
static struct sv_error err;

static void init(void)
{
	cr_assert(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/machine.xml", folder);
}

static void fini(void)
{
	unlink(path);
	rmdir(path);
	rmdir(folder);
}

TestSuite(plan_hostile, .init = init, .fini = fini);

/* Loading @what fails with -@e and a sentence that has @sentence in it. */
static void refused(const char *what, int e, const char *sentence)
{
	struct sv_machine *m = NULL;
	int rc;

	memset(&err, 0, sizeof(err));
	rc = sv_machine_load(what, &m, &err);
	cr_expect_eq(rc, -e, "%.60s: %d %s", what, rc, err.text);
	cr_expect(strstr(err.text, sentence), "%.60s\n  expected %s\n  got      %s", what, sentence,
		err.text);
	cr_expect(!m, "%.60s", what);
	if (rc == 0)
		sv_machine_free(m);
}

static void write_file(const char *data, size_t bytes)
{
	FILE *f = fopen(path, "w");

	cr_assert(f);
	cr_assert_eq(fwrite(data, 1, bytes, f), bytes);
	cr_assert_eq(fclose(f), 0);
}

static void file_refused(const char *text, const char *sentence)
{
	write_file(text, strlen(text));
	refused(path, EINVAL, sentence);
}

Test(plan_hostile, not_a_file)
{
	refused("/nowhere/machine.xml", ENOENT, "/nowhere/machine.xml: No such file or directory");
	refused(folder, EINVAL, "not a regular file");
	cr_assert_eq(mkfifo(path, 0600), 0);
	refused(path, EINVAL, "not a regular file");
	refused("/dev/zero", EINVAL, "not a regular file");
}

Test(plan_hostile, no_permission)
{
	write_file("<topology/>", 11);
	chmod(path, 0);
	chmod(folder, 0755);
	if (geteuid() == 0) /* it reads every file */
		cr_assert_eq(seteuid(65534), 0);
	refused(path, EACCES, "Permission denied");
	cr_assert_eq(seteuid(getuid()), 0);
}

Test(plan_hostile, sizes)
{
	write_file("", 0);
	refused(path, EINVAL, "the file is empty");
	cr_assert_eq(truncate(path, 100 << 20), 0);
	refused(path, EINVAL, "104857600 bytes; no machine's description is larger than 32 MiB");
	cr_assert_eq(truncate(path, 1 << 20), 0);
	refused(path, EINVAL, "it has a zero byte at 0: not a UTF-8 XML file");
	write_file("<topology>\0</topology>", 22);
	refused(path, EINVAL, "it has a zero byte at 10");
}

Test(plan_hostile, not_a_topology)
{
	file_refused("cores: 4\n", "it does not begin with <: not a UTF-8 XML file");
	file_refused("<", NOT_HWLOC);
	file_refused("<html><body>404</body></html>", NOT_HWLOC);
	file_refused(HWLOC_2 "<topology version=\"2.0\">\n", NOT_HWLOC);
	file_refused(HWLOC_2 "<topology version=\"2.0\"></topology>", NOT_HWLOC);
	file_refused(HWLOC_2 "<topology version=\"2.0\"><object type=\"Machine\" os_index=\"0\" "
		"cpuset=\"0x1\" complete_cpuset=\"0x1\" allowed_cpuset=\"0x1\"/></topology>", NOT_HWLOC);
}

/* What hwloc 3 writes. */
Test(plan_hostile, later_version)
{
	file_refused("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<topology version=\"3.0\">"
		"<object type=\"Machine\" os_index=\"0\" cpuset=\"0x1\" complete_cpuset=\"0x1\"/></topology>",
		NOT_HWLOC);
}

Test(plan_hostile, entities)
{
	file_refused("<?xml version=\"1.0\"?>\n<!DOCTYPE topology [\n<!ENTITY a \"aaaaaaaaaa\">\n"
		"<!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">\n]>\n<topology>&b;</topology>",
		"it declares an XML entity; a topology needs none, remove it");
	file_refused("<!DOCTYPE topology [<!ENTITY file SYSTEM \"file:///etc/passwd\">]>"
		"<topology version=\"2.0\">&file;</topology>",
		"it declares an XML entity; a topology needs none, remove it");
	file_refused("<!DOCTYPE topology [<!ELEMENT topology ANY>]><topology version=\"2.0\"/>",
		"its DOCTYPE has declarations of its own; remove them");
	file_refused("<!DOCTYPE topology", "its DOCTYPE has declarations of its own; remove them");
	/* Not in the text, but in another file. */
	file_refused("<!DOCTYPE topology SYSTEM \"/dev/zero\"><topology version=\"2.0\">&file;</topology>",
		NOT_HWLOC);
}

/* An encoding would hide what is looked for. */
Test(plan_hostile, encodings)
{
	static const char wide[] = "\xff\xfe<\0t\0/\0>\0";

	write_file(wide, sizeof(wide) - 1);
	refused(path, EINVAL, "it has a zero byte at 3: not a UTF-8 XML file");
	file_refused("<?xml version=\"1.0\" encoding=\"UTF-7\"?><topology/>", "convert it to UTF-8 first");
	file_refused("<?xml version='1.0' encoding = 'UTF-7'?>+ADwAIQ-ENTITY a 'b'+AD4-<topology/>",
		"convert it to UTF-8 first");
	file_refused("<?xml version=\"1.0\" encoding=", "convert it to UTF-8 first");
	/* The letters of EBCDIC. */
	file_refused("\x4c\x6f\xa7\x94\x93\x40", "it does not begin with <: not a UTF-8 XML file");
	file_refused("\xef\xbb\xbf <?xml version='1.0' encoding='utf-8'?><topology/>", NOT_HWLOC);
}

static void machine_with(const char *cpuset, const char *os_index)
{
	char text[2048];

	snprintf(text, sizeof(text), HWLOC_2 "<topology version=\"2.0\"><object type=\"Machine\" "
		"os_index=\"0\" cpuset=\"%s\" complete_cpuset=\"%s\" allowed_cpuset=\"%s\" nodeset=\"0x1\" "
		"complete_nodeset=\"0x1\" allowed_nodeset=\"0x1\"><object type=\"NUMANode\" os_index=\"0\" "
		"cpuset=\"%s\" complete_cpuset=\"%s\" nodeset=\"0x1\" complete_nodeset=\"0x1\" "
		"local_memory=\"1\"/><object type=\"PU\" os_index=\"%s\" cpuset=\"%s\" complete_cpuset=\"%s\" "
		"nodeset=\"0x1\" complete_nodeset=\"0x1\"/></object></topology>", cpuset, cpuset, cpuset,
		cpuset, cpuset, os_index, cpuset, cpuset);
	write_file(text, strlen(text));
}

/* Such a file ends somehow: as a machine of one CPU, or with a sentence. */
static void ends(const char *what)
{
	struct sv_machine *m = NULL;
	int rc = sv_machine_load(what, &m, &err);

	if (rc == 0) {
		cr_expect_geq(m->cores, 1);
		sv_machine_free(m);
	} else {
		cr_expect_eq(rc, -EINVAL, "%.60s: %d %s", what, rc, err.text);
		cr_expect_gt(strlen(err.text), 20);
	}
}

Test(plan_hostile, numbers)
{
	static const char *const index[] = {"0", "-1", "4294967295", "99999999999999999999", "x", ""};
	static const char *const set[] = {"0x1", "", "0x0", "0xf...f", "zzz", "0xffffffffffffffffffffff",
		"0x1,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,0x1"};
	char many[512];

	for (size_t i = 0; i < sizeof(index) / sizeof(index[0]); i++) {
		machine_with("0x1", index[i]);
		ends(path);
	}
	for (size_t i = 0; i < sizeof(set) / sizeof(set[0]); i++) {
		machine_with(set[i], "0");
		ends(path);
	}
	memset(many, ',', sizeof(many) - 1);
	memcpy(many, "0x1", 3);
	many[sizeof(many) - 1] = 0;
	machine_with(many, "0");
	ends(path);
	/* A CPU of a far number would make every set of CPUs large. */
	machine_with("0x80000000,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,", "1439");
	ends(path);
	machine_with("0x1", "0");
	cr_expect_eq(sv_machine_load("/dev/null/x", &(struct sv_machine *){NULL}, &err), -ENOTDIR);
}

/* Objects in objects, far more than any machine has levels. */
Test(plan_hostile, deep)
{
	static const char open_one[] = "<object type=\"Group\" cpuset=\"0x1\" complete_cpuset=\"0x1\" "
				       "nodeset=\"0x1\" complete_nodeset=\"0x1\">";
	size_t levels = 100000, bytes = levels * (sizeof(open_one) - 1) + 400;
	char *text = malloc(bytes), *end;

	cr_assert(text);
	end = text + sprintf(text, "%s<topology version=\"2.0\"><object type=\"Machine\" cpuset=\"0x1\" "
		"complete_cpuset=\"0x1\" nodeset=\"0x1\" complete_nodeset=\"0x1\">", HWLOC_2);
	for (size_t i = 0; i < levels; i++) {
		memcpy(end, open_one, sizeof(open_one) - 1);
		end += sizeof(open_one) - 1;
	}
	write_file(text, (size_t)(end - text));
	free(text);
	/* It recurses, and runs out of stack in the child. */
	refused(path, EINVAL, "machine.xml: hwloc ");
}

Test(plan_hostile, synthetic)
{
	refused("nonsense", ENOENT, "nonsense: No such file or directory");
	refused("pack:2 nonsense:2", EINVAL, "no such file, and not a synthetic description such as");
	refused("pack:0", EINVAL, "no such file, and not a synthetic description such as");
	refused("pack:-1 pu:1", EINVAL, "no such file, and not a synthetic description such as");
	refused("pack:1000000 core:1000000 pu:1", EINVAL, "core:1000000 pu:1: more than 1048576 CPUs");
	refused("pack:1000000000000000000000 pu:1", EINVAL, "pu:1: more than 1048576 CPUs");
	refused("pack:1e30 pu:1", EINVAL, "pu:1: more than 1048576 CPUs");
	refused("pu:1048577", EINVAL, "pu:1048577: more than 1048576 CPUs");
}

/* Small machines are machines. */
Test(plan_hostile, little_is_enough)
{
	static const char *const text[] = {"pu:1", "core:1 pu:1", "numa:1 pu:1", "pack:1 pu:2"};

	for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
		struct sv_machine *m = NULL;

		cr_assert_eq(sv_machine_load(text[i], &m, &err), 0, "%s: %s", text[i], err.text);
		cr_expect_geq(m->cores, 1);
		cr_expect_eq(m->domains, 1);
		sv_machine_free(m);
	}
}
