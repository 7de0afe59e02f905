/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the sidecore process may do once it serves. Everything else fails with EPERM, and what only an
 * intruder would try (another program, another process's memory) kills it.
 */
#include "node.h"

#include <errno.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const char *const allowed[] = {
	/* memory (mmap and mprotect: see below) and threads */
	"brk", "munmap", "mremap", "madvise", "futex", "clone", "clone3", "exit",
	"exit_group", "set_robust_list", "rseq", "sched_yield", "sched_setaffinity",
	"sched_getaffinity", "set_tid_address", "gettid", "getpid", "membarrier", "prctl",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall", "tgkill", "wait4",
	/* time */
	"clock_gettime", "clock_nanosleep", "nanosleep", "gettimeofday",
	/* descriptors */
	"read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2",
	"pwritev2", "close", "dup", "dup2", "dup3", "fcntl", "fstat", "newfstatat", "lseek", "ioctl",
	"eventfd2", "timerfd_create", "timerfd_settime", "epoll_create1", "epoll_ctl", "epoll_wait",
	"epoll_pwait", "epoll_pwait2", "poll", "ppoll", "pipe2", "fallocate", "fsync", "fdatasync",
	"ftruncate", "memfd_create", "sync_file_range", "unlink", "getrandom",
	"readlink", "readlinkat",
	/* sockets already open, and accept */
	"accept4", "recvmsg", "sendmsg", "recvfrom", "sendto", "shutdown", "getsockopt", "setsockopt",
	"getsockname", "getpeername", "socketpair",
	/* io_uring */
	"io_uring_setup", "io_uring_enter", "io_uring_register",
};

static const char *const deadly[] = {
	"execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "kexec_load",
	"init_module", "finit_module", "bpf", "mount",
};

/* Memory that can be executed is all there when the filter comes. */
static int allow_data_mappings(scmp_filter_ctx f)
{
	static const int calls[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect)};
	int rc = 0;

	for (size_t i = 0; i < 2 && rc == 0; i++)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 1,
			SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return rc;
}

int sv_node_confine(struct sv_error *err)
{
	scmp_filter_ctx f;
	int rc = 0;

	if (getenv("SIDEVISOR_NO_SECCOMP")) /* for debuggers and sanitizers */
		return 0;
	f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (!f)
		return sv_fail(err, ENOMEM, "seccomp: out of memory");
	seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]) && rc == 0; i++) {
		int nr = seccomp_syscall_resolve_name(allowed[i]);

		if (nr != __NR_SCMP_ERROR)
			rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, nr, 0);
	}
	for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]) && rc == 0; i++) {
		int nr = seccomp_syscall_resolve_name(deadly[i]);

		if (nr != __NR_SCMP_ERROR)
			rc = seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, nr, 0);
	}
	if (rc == 0)
		rc = allow_data_mappings(f);
	if (rc == 0)
		rc = seccomp_load(f);
	seccomp_release(f);
	if (rc < 0)
		return sv_fail(err, -rc, "seccomp: the kernel refuses the filter: %s", strerror(-rc));
	return 0;
}
