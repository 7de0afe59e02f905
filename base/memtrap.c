/* SPDX-License-Identifier: BSD-3-Clause */
#include <base/memtrap.h>

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

struct range {
	uintptr_t base; /* 0: free; written last */
	size_t bytes;
	int lost;
};

/* Written by one thread, read by the signal handler of any. */
static struct range ranges[SV_MEMTRAP_RANGES];
static int used; /* no range at or above it */
static int notify = -1;

static struct range *find(uintptr_t at)
{
	int n = __atomic_load_n(&used, __ATOMIC_ACQUIRE);

	for (int i = 0; i < n; i++) {
		struct range *r = &ranges[i];
		uintptr_t base = __atomic_load_n(&r->base, __ATOMIC_ACQUIRE);

		if (base && at - base < __atomic_load_n(&r->bytes, __ATOMIC_RELAXED))
			return r;
	}
	return NULL;
}

static void on_sigbus(int sig, siginfo_t *si, void *context)
{
	struct range *r = find((uintptr_t)si->si_addr);
	int saved = errno;
	uint64_t one = 1;

	(void)context;
	if (!r || mmap((void *)r->base, r->bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
			  0) == MAP_FAILED) {
		signal(sig, SIG_DFL); /* a bug of ours: the access is repeated and ends the process */
		return;
	}
	__atomic_store_n(&r->lost, 1, __ATOMIC_RELEASE);
	if (notify >= 0 && write(notify, &one, sizeof(one)) < 0)
		errno = saved; /* the counter is full: it was written already */
	errno = saved;
}

int sv_memtrap_start(int notify_fd)
{
	struct sigaction sa = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};

	sigemptyset(&sa.sa_mask);
	notify = notify_fd;
	return sigaction(SIGBUS, &sa, NULL) < 0 ? -errno : 0;
}

int sv_memtrap_add(void *base, size_t bytes)
{
	for (int i = 0; i < (int)SV_MEMTRAP_RANGES; i++) {
		struct range *r = &ranges[i];

		if (__atomic_load_n(&r->base, __ATOMIC_RELAXED))
			continue;
		__atomic_store_n(&r->lost, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&r->bytes, bytes, __ATOMIC_RELAXED);
		__atomic_store_n(&r->base, (uintptr_t)base, __ATOMIC_RELEASE);
		if (i >= used)
			__atomic_store_n(&used, i + 1, __ATOMIC_RELEASE);
		return i;
	}
	return -ENOSPC;
}

bool sv_memtrap_lost(int slot)
{
	return slot >= 0 && __atomic_load_n(&ranges[slot].lost, __ATOMIC_ACQUIRE);
}

void sv_memtrap_remove(int slot)
{
	if (slot >= 0)
		__atomic_store_n(&ranges[slot].base, 0, __ATOMIC_RELEASE);
}
