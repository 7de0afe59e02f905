/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Preloaded under User-mode Linux: its buffer for a process's extended state is smaller than what
 * CPUs with AMX have, and the kernel takes the state back only whole. What UML does not know of is
 * left as it is in the process.
 */
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

typedef long ptrace_fn(enum __ptrace_request req, ...);

long ptrace(enum __ptrace_request req, ...)
{
	static char state[65536] __attribute__((aligned(64)));
	struct iovec all = {.iov_base = state, .iov_len = sizeof(state)}, *asked;
	ptrace_fn *real;
	void *addr, *data;
	va_list ap;
	size_t n;
	int pid;

	*(void **)&real = dlsym(RTLD_NEXT, "ptrace");
	va_start(ap, req);
	pid = va_arg(ap, int);
	addr = va_arg(ap, void *);
	data = va_arg(ap, void *);
	va_end(ap);
	if ((req != PTRACE_GETREGSET && req != PTRACE_SETREGSET) || (long)addr != NT_X86_XSTATE)
		return real(req, pid, addr, data);
	if (real(PTRACE_GETREGSET, pid, addr, &all) < 0)
		return -1;
	asked = data;
	n = asked->iov_len < all.iov_len ? asked->iov_len : all.iov_len;
	if (req == PTRACE_GETREGSET) {
		memcpy(asked->iov_base, state, n);
		asked->iov_len = n;
		return 0;
	}
	memcpy(state, asked->iov_base, n);
	return real(PTRACE_SETREGSET, pid, addr, &all);
}
