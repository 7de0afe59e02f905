/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which device answers a port or an MMIO address.
 *
 * A sorted table, filled before the first vCPU runs and constant afterwards, so that the exit path
 * takes no lock to look up. A device locks for itself.
 */
#ifndef CORE_VMM_BUS_H
#define CORE_VMM_BUS_H

#include <stdbool.h>
#include <stdint.h>

struct sv_bus_ops {
	/*
	 * @off: from the base of the range; @len: 1, 2, 4 or 8, never past the end of the range.
	 * Context: vCPU threads, several at once. read() fills all of @data.
	 */
	void (*read)(void *dev, uint64_t off, void *data, unsigned len);
	void (*write)(void *dev, uint64_t off, const void *data, unsigned len);
};

struct sv_bus_range {
	uint64_t base, len;
	const struct sv_bus_ops *ops;
	void *dev;
};

#define SV_BUS_RANGES 64u

struct sv_bus {
	unsigned n;
	struct sv_bus_range range[SV_BUS_RANGES];
	uint64_t unassigned; /* accesses that no range claimed (relaxed counter) */
};

/* Add a range. Context: set-up. Return: 0, -EEXIST when it overlaps one, -ENOSPC. */
int sv_bus_add(struct sv_bus *bus, uint64_t base, uint64_t len, const struct sv_bus_ops *ops,
	void *dev);

/*
 * Deliver an access of the guest. Unassigned reads give all ones, writes vanish; both are counted.
 * Context: vCPU threads. Return: true when a range claimed it.
 */
bool sv_bus_access(struct sv_bus *bus, uint64_t addr, void *data, unsigned len, bool write);

#endif
