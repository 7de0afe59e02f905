/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a device is: the cores that are local to it. */
#include <placement/machine.h>

#include <errno.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTED 8

static hwloc_obj_t find(hwloc_topology_t topo, const char *name)
{
	hwloc_obj_t o = hwloc_get_pcidev_by_busidstring(topo, name);

	if (o)
		return o;
	while ((o = hwloc_get_next_osdev(topo, o)))
		if (o->name && !strcmp(o->name, name))
			return o;
	return NULL;
}

static int none(const struct sv_machine *m, const char *name, struct sv_error *err)
{
	char list[256] = "";
	hwloc_obj_t o = NULL;
	unsigned n = 0;

	while ((o = hwloc_get_next_osdev(m->topo, o)))
		if (o->attr->osdev.type == HWLOC_OBJ_OSDEV_NETWORK && o->name && n++ < LISTED)
			snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%.20s",
				*list ? ", " : "", o->name);
	return sv_fail(err, ENOENT,
		"near %s: no such device in %s; give a PCI address such as 0000:41:00.0 or a network "
		"interface%s%s%s", name, m->name, *list ? ": " : " (there is none here)", list,
		n > LISTED ? ", …" : "");
}

int sv_machine_device(const struct sv_machine *m, const char *name, bool **local,
	struct sv_error *err)
{
	hwloc_obj_t dev = find(m->topo, name), place;

	if (!dev)
		return none(m, name, err);
	place = hwloc_get_non_io_ancestor_obj(m->topo, dev);
	*local = calloc(m->cores, sizeof(**local));
	if (!*local)
		return sv_fail(err, ENOMEM, "out of memory");
	for (unsigned i = 0; i < m->cores; i++)
		(*local)[i] = hwloc_bitmap_isset(place->cpuset, (unsigned)m->core[i].cpu[0]);
	return 0;
}
