/* SPDX-License-Identifier: BSD-3-Clause */
#include <base/pin.h>

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#define CPUS_MAX 8192u
#define BITS (8 * sizeof(long))

int sv_pin_self(int join_fd, int cpu)
{
	unsigned long set[CPUS_MAX / BITS] = {0}; /* a cpu_set_t ends at 1,024 */

	if (join_fd > 0 && write(join_fd, "0", 1) != 1)
		return -errno;
	if (cpu < 0 || cpu >= (int)CPUS_MAX)
		return cpu < 0 ? 0 : -EINVAL;
	set[(unsigned)cpu / BITS] = 1ul << (unsigned)cpu % BITS;
	return sched_setaffinity(0, sizeof(set), (cpu_set_t *)(void *)set) < 0 ? -errno : 0;
}
