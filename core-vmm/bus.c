/* SPDX-License-Identifier: BSD-3-Clause */
#include "bus.h"

#include <errno.h>
#include <string.h>

int sv_bus_add(struct sv_bus *bus, uint64_t base, uint64_t len, const struct sv_bus_ops *ops,
	void *dev)
{
	unsigned at = 0;

	if (!len || base + (len - 1) < base)
		return -EINVAL;
	if (bus->n == SV_BUS_RANGES)
		return -ENOSPC;
	while (at < bus->n && bus->range[at].base < base)
		at++;
	if (at < bus->n && bus->range[at].base - base < len)
		return -EEXIST;
	if (at > 0 && base - bus->range[at - 1].base < bus->range[at - 1].len)
		return -EEXIST;
	memmove(&bus->range[at + 1], &bus->range[at], (bus->n - at) * sizeof(bus->range[0]));
	bus->range[at] = (struct sv_bus_range){.base = base, .len = len, .ops = ops, .dev = dev};
	bus->n++;
	return 0;
}

static const struct sv_bus_range *bus_find(const struct sv_bus *bus, uint64_t addr, unsigned len)
{
	unsigned lo = 0, hi = bus->n;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		const struct sv_bus_range *r = &bus->range[mid];

		if (addr < r->base)
			hi = mid;
		else if (addr - r->base >= r->len)
			lo = mid + 1;
		else
			return len <= r->len - (addr - r->base) ? r : NULL;
	}
	return NULL;
}

bool sv_bus_access(struct sv_bus *bus, uint64_t addr, void *data, unsigned len, bool write)
{
	const struct sv_bus_range *r = bus_find(bus, addr, len);

	if (!r) {
		__atomic_fetch_add(&bus->unassigned, 1, __ATOMIC_RELAXED);
		if (!write)
			memset(data, 0xff, len);
		return false;
	}
	if (write)
		r->ops->write(r->dev, addr - r->base, data, len);
	else
		r->ops->read(r->dev, addr - r->base, data, len);
	return true;
}
