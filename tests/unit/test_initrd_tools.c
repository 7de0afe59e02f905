/* SPDX-License-Identifier: BSD-3-Clause */
/* Initrds as the tools of this system make them: whole ones pass, no cut at 4 KiB does. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader_image.h"
#include "machine_by_hand.h"

static int check(const char *path, struct sv_error *err)
{
	struct sv_image img;
	int rc = sv_image_open(&img, "initrd", path, err);

	if (rc == 0)
		rc = sv_initrd_check(&img, err);
	sv_image_close(&img);
	return rc;
}

static bool run(const char *command)
{
	char line[512];

	snprintf(line, sizeof(line), "cd %s && (%s) >/dev/null 2>&1", by_hand_dir(), command);
	return system(line) == 0;
}

/* /usr/bin's smaller programs, as an archive of one MiB or so. */
static void make(const char *tool, const char *compress)
{
	char line[256];

	snprintf(line, sizeof(line), "command -v %s && command -v cpio", tool);
	if (!run(line)) {
		printf("SKIPPED BECAUSE %s or cpio is not installed\n", tool);
		cr_skip_test("no tool");
	}
	cr_assert(run("find /usr/bin -size -60k -size +20k -type f | head -40 | cpio -o -H newc >a"));
	snprintf(line, sizeof(line), "%s <a >b", compress);
	cr_assert(run(line), "%s", line);
}

static void check_cuts(void)
{
	struct sv_error err = {{0}};
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/b", by_hand_dir());
	cr_assert_eq(check(path, &err), 0, "%s", err.text);
	cr_assert(stat(path, &st) == 0 && st.st_size > 100000);
	for (off_t cut = (st.st_size - 1) & ~4095; cut > 0; cut -= 4096) {
		cr_assert_eq(truncate(path, cut), 0);
		cr_expect_lt(check(path, &err), 0, "%lld bytes were accepted", (long long)cut);
	}
}

Test(initrd_tools, cpio)
{
	make("cpio", "cat");
	check_cuts();
}

Test(initrd_tools, gzip)
{
	make("gzip", "gzip -9");
	check_cuts();
}

Test(initrd_tools, zstd)
{
	make("zstd", "zstd -q -19");
	check_cuts();
}

Test(initrd_tools, xz)
{
	make("xz", "xz --check=crc32");
	check_cuts();
}

Test(initrd_tools, lz4)
{
	make("lz4", "lz4 -l");
	check_cuts();
}

Test(initrd_tools, bzip2)
{
	make("bzip2", "bzip2");
	check_cuts();
}
