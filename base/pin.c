/* SPDX-License-Identifier: BSD-3-Clause */
#include <base/pin.h>

#include <errno.h>
#include <sched.h>
#include <unistd.h>

int sv_pin_self(int join_fd, int cpu)
{
	cpu_set_t set;

	if (join_fd > 0 && write(join_fd, "0", 1) != 1)
		return -errno;
	if (cpu < 0 || cpu >= CPU_SETSIZE)
		return cpu < 0 ? 0 : -EINVAL;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}
