/* SPDX-License-Identifier: BSD-3-Clause */
#include "uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEVICE "/dev/userfaultfd"

/* The system call asks for CAP_SYS_PTRACE or the sysctl, the device file for its permissions. */
static int open_any(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), dev, e;

	if (fd >= 0 || errno == ENOSYS)
		return fd >= 0 ? fd : -errno;
	e = errno;
	dev = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return errno == ENOENT ? -e : -errno;
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	e = errno;
	close(dev);
	return fd >= 0 ? fd : -e;
}

static int refused(const char *what, int e, struct sv_error *err)
{
	if (e == ENOSYS)
		return sv_fail(err, e, "%s: this kernel was built without userfaultfd", what);
	if (e == EPERM || e == EACCES)
		return sv_fail(err, e, "%s: this user may not handle page faults of KVM: %s; be root, have "
			"CAP_SYS_PTRACE, get read and write access to " DEVICE ", or set "
			"vm.unprivileged_userfaultfd=1 with sysctl", what, strerror(e));
	return sv_fail(err, e, "%s: userfaultfd: %s", what, strerror(e));
}

int sv_uffd_open(uint64_t features, const char *what, struct sv_error *err)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	int fd = open_any(), rc;

	if (fd < 0)
		return refused(what, -fd, err);
	if (ioctl(fd, UFFDIO_API, &api) == 0)
		return fd;
	rc = sv_fail(err, errno, "%s: this kernel's userfaultfd cannot do what is needed for shared memory "
		"(features %#llx): %s", what, (unsigned long long)features, strerror(errno));
	close(fd);
	return rc;
}
