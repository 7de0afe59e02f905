/* SPDX-License-Identifier: BSD-3-Clause */
#include "slirp_confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY 65534u
#define NAME_SERVERS "/etc/resolv.conf"
#define ALL_OF_LANDLOCK_1 ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)

static const char *const allowed[] = {
	"brk",
	"munmap",
	"mremap",
	"madvise",
	"futex",
	"exit",
	"exit_group",
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"restart_syscall",
	"getpid",
	"gettid",
	"sched_yield",
	"rseq",
	"set_robust_list",
	"getrandom",
	"clock_gettime",
	"gettimeofday",
	"time",
	"clock_nanosleep",
	"read",
	"write",
	"readv",
	"writev",
	"close",
	"fcntl",
	"fstat",
	"newfstatat",
	"lseek",
	"ioctl",
	"poll",
	"ppoll",
	"dup",
	"bind",
	"connect",
	"listen",
	"accept",
	"accept4",
	"sendto",
	"recvfrom",
	"sendmsg",
	"recvmsg",
	"shutdown",
	"getsockopt",
	"setsockopt",
	"getsockname",
	"getpeername",
};

static int fill(scmp_filter_ctx f)
{
	int rc = 0;

	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]) && rc == 0; i++) {
		int nr = seccomp_syscall_resolve_name(allowed[i]);

		if (nr != __NR_SCMP_ERROR)
			rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, nr, 0);
	}
	if (rc == 0)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
			SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (rc == 0)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
			SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	/* NAME_SERVERS, again and again: read only. */
	if (rc == 0)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
			SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY));
	if (rc == 0)
		rc = seccomp_rule_add(
			f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, AF_INET, 0));
	return rc;
}

/* Files of the directory that @file is in, which may be replaced, can be read. */
static int allow_reading(int ruleset, const char *file)
{
	struct landlock_path_beneath_attr rule = {.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE};
	char dir[PATH_MAX];
	int rc = 0;

	strcpy(dir, file);
	*strrchr(dir, '/') = 0;
	rule.parent_fd = open(*dir ? dir : "/", O_PATH | O_CLOEXEC);
	if (rule.parent_fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		rc = -errno;
	close(rule.parent_fd);
	return rc;
}

/* All files but those where the name servers are said. A kernel without Landlock leaves them. */
static int give_up_files(void)
{
	struct landlock_ruleset_attr all = {.handled_access_fs = ALL_OF_LANDLOCK_1};
	int ruleset = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
	char target[PATH_MAX];
	int rc;

	if (ruleset < 0)
		return errno == ENOSYS || errno == EOPNOTSUPP ? 0 : -errno;
	rc = allow_reading(ruleset, NAME_SERVERS);
	if (rc == 0 && realpath(NAME_SERVERS, target))
		rc = allow_reading(ruleset, target);
	if (rc == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		rc = -errno;
	close(ruleset);
	return rc;
}

static int give_up_root(void)
{
	if (geteuid() != 0)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
		setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return -errno;
	return 0;
}

int slirp_confine(void)
{
	scmp_filter_ctx f;
	int rc;

	if (getenv("SIDEVISOR_NO_SECCOMP"))
		return 0;
	rc = give_up_root();
	if (rc < 0)
		return rc;
	prctl(PR_SET_DUMPABLE, 0);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	rc = give_up_files();
	if (rc < 0)
		return rc;
	f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (!f)
		return -ENOMEM;
	rc = fill(f);
	if (rc == 0)
		rc = seccomp_load(f);
	seccomp_release(f);
	return rc;
}
