/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening disk images: what is refused, and the lock. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <base/disk.h>

static char dir[] = "/tmp/sidevisor-disk-XXXXXX", path[64];
static struct sv_error err;
static uint64_t bytes;
static int fd;

static void up(void)
{
	cr_assert(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/image", dir);
}

static void down(void)
{
	unlink(path);
	rmdir(path);
	rmdir(dir);
}

TestSuite(disk, .init = up, .fini = down);

static void make(off_t size, mode_t mode)
{
	int f = open(path, O_RDWR | O_CREAT | O_CLOEXEC, mode);

	cr_assert(f >= 0 && ftruncate(f, size) == 0);
	close(f);
}

static void expect_refused(int errnum, const char *words)
{
	fd = -7;
	bytes = 1234;
	cr_assert_eq(sv_disk_open(path, false, false, &fd, &bytes, &err), -errnum, "%s", err.text);
	cr_assert(strstr(err.text, path), "%s", err.text);
	cr_assert(strstr(err.text, words), "%s", err.text);
	cr_assert_eq(fd, -7, "outputs are untouched");
	cr_assert_eq(bytes, 1234);
}

Test(disk, image_is_opened_with_its_size)
{
	make(1 << 20, 0600);
	cr_assert_eq(sv_disk_open(path, false, false, &fd, &bytes, &err), 0, "%s", err.text);
	cr_assert_eq(bytes, 1 << 20);
	cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
	close(fd);
}

Test(disk, missing)
{
	expect_refused(ENOENT, "no such file");
}

Test(disk, empty)
{
	make(0, 0600);
	expect_refused(EINVAL, "empty");
}

Test(disk, size_that_is_no_whole_number_of_sectors)
{
	make(1000, 0600);
	expect_refused(EINVAL, "512");
}

Test(disk, directory)
{
	cr_assert_eq(mkdir(path, 0700), 0);
	expect_refused(EISDIR, "a directory");
	cr_assert_eq(sv_disk_open(path, true, false, &fd, &bytes, &err), -EISDIR);
}

Test(disk, fifo_does_not_hang)
{
	cr_assert_eq(mkfifo(path, 0600), 0);
	expect_refused(EINVAL, "neither a file nor a block device");
}

Test(disk, no_permission_to_write)
{
	make(4096, 0400);
	if (geteuid() == 0) {
		cr_assert_eq(seteuid(65534), 0);
		expect_refused(EACCES, "Permission denied");
		cr_assert_eq(seteuid(0), 0);
	} else {
		expect_refused(EACCES, "Permission denied");
	}
}

Test(disk, writer_excludes_everybody_and_readers_share)
{
	int second;

	make(4096, 0600);
	cr_assert_eq(sv_disk_open(path, false, false, &fd, &bytes, &err), 0);
	cr_assert_eq(sv_disk_open(path, false, false, &second, &bytes, &err), -EBUSY);
	cr_assert(strstr(err.text, "in use by another VM"));
	cr_assert_eq(sv_disk_open(path, true, false, &second, &bytes, &err), -EBUSY);
	close(fd);
	cr_assert_eq(sv_disk_open(path, true, false, &fd, &bytes, &err), 0);
	cr_assert_eq(sv_disk_open(path, true, false, &second, &bytes, &err), 0);
	close(second);
	cr_assert_eq(sv_disk_open(path, false, false, &second, &bytes, &err), -EBUSY);
	close(fd);
}

Test(disk, lock_lives_in_every_copy_of_the_descriptor)
{
	int copy, second;

	make(4096, 0600);
	cr_assert_eq(sv_disk_open(path, false, false, &fd, &bytes, &err), 0);
	copy = dup(fd);
	close(fd);
	cr_assert_eq(sv_disk_open(path, false, false, &second, &bytes, &err), -EBUSY);
	close(copy);
	cr_assert_eq(sv_disk_open(path, false, false, &second, &bytes, &err), 0);
	close(second);
}

/* Whatever has no device, or one that the kernel does not describe, is not refused here. */
Test(disk, only_storage_that_says_so_has_no_completions_to_poll_for)
{
	struct sv_disk disk = {.fd = -1};
	struct stat st;
	char file[64], said = '1';
	int f;

	make(4096, 0600);
	cr_assert_not(sv_disk_unpolled(&disk, "none"));
	disk.fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert(disk.fd >= 0 && fstat(disk.fd, &st) == 0);
	snprintf(file, sizeof(file), "/sys/dev/block/%u:%u/queue/io_poll", major(st.st_dev),
		minor(st.st_dev));
	f = open(file, O_RDONLY | O_CLOEXEC);
	if (f >= 0) {
		cr_assert_eq(read(f, &said, 1), 1);
		close(f);
		cr_assert_eq(sv_disk_unpolled(&disk, "of a file system"), said == '0');
	}
	disk.remote = true;
	cr_assert_not(sv_disk_unpolled(&disk, "remote"));
	disk.remote = false;
	close(disk.fd);
	disk.fd = memfd_create("no device", MFD_CLOEXEC);
	cr_assert_not(sv_disk_unpolled(&disk, "memory"));
	close(disk.fd);
}
