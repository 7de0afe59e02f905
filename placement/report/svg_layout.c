/* SPDX-License-Identifier: BSD-3-Clause */
/* Machine > packages > memory nodes > domains > cores, and devices at their places. */
#include <errno.h>
#include <hwloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "svg.h"

#define GAP 6.0
#define ASPECT 1.6
#define DEVICES_AT_A_PLACE 24u

double svg_text_width(const char *text, double size)
{
	return (double)strlen(text) * size * 0.62;
}

unsigned svg_thread_columns(unsigned threads)
{
	return threads <= 2 ? threads : threads <= 4 ? 2 : 4;
}

void svg_free(struct svg_box *box)
{
	for (unsigned i = 0; i < box->children; i++)
		svg_free(&box->child[i]);
	free(box->child);
}

static struct svg_box *add(struct svg_box *parent, enum svg_kind kind)
{
	if (parent->children == parent->room) {
		unsigned room = parent->room ? 2 * parent->room : 4;
		struct svg_box *child = realloc(parent->child, room * sizeof(*child));

		if (!child)
			return NULL;
		parent->child = child;
		parent->room = room;
	}
	parent->child[parent->children] = (struct svg_box){.kind = kind, .core = -1};
	return &parent->child[parent->children++];
}

/* --- what there is -----------------------------------------------------------------------------
 */

static void name_bytes(uint64_t bytes, char *text, size_t room)
{
	if (bytes >= 1ull << 30)
		snprintf(text, room, "%.0f GiB", (double)bytes / (1ull << 30));
	else if (bytes)
		snprintf(text, room, "%.0f MiB", (double)bytes / (1ull << 20));
	else
		*text = 0;
}

static void name_node(const struct sv_mem_node *n, const char *what, char *text, size_t room)
{
	char bytes[24];

	name_bytes(n->bytes, bytes, sizeof(bytes));
	snprintf(text, room, "%s %d%s%s%s%s", what, n->os, *n->kind ? " " : "", n->kind,
		*bytes ? ", " : "", bytes);
}

static int add_domain(struct svg_box *parent, const struct sv_machine *m, unsigned d)
{
	struct svg_box *box = add(parent, SVG_DOMAIN), *core;

	if (!box)
		return -ENOMEM;
	snprintf(box->label, sizeof(box->label), "%s", m->domain[d].name);
	for (unsigned i = 0; i < m->domain[d].cores; i++) {
		core = add(box, SVG_CORE);
		if (!core)
			return -ENOMEM;
		core->core = (int)m->domain[d].core[i];
	}
	return 0;
}

/* The domains [from, to) of one package: by memory node, where it has several. */
static int add_package(struct svg_box *machine, const struct sv_machine *m, unsigned from,
	unsigned to, const unsigned *index)
{
	struct svg_box *package = add(machine, SVG_PACKAGE), *node;
	int first = m->domain[from].node, rc = 0;
	bool several = false;

	if (!package)
		return -ENOMEM;
	view_name_packages(m, index + from, to - from, package->label, sizeof(package->label));
	for (unsigned d = from; d < to; d++)
		several |= m->domain[d].node != first;
	if (!several && first >= 0) {
		name_node(&m->node[first], "node", package->sub, sizeof(package->sub));
	}
	for (unsigned d = from, end; d < to && rc == 0; d = end) {
		for (end = d + 1;
			end < to && (!several || m->domain[end].node == m->domain[d].node); end++)
			;
		node = package;
		if (several) {
			node = add(package, SVG_NODE);
			if (!node)
				return -ENOMEM;
			if (m->domain[d].node >= 0)
				name_node(&m->node[m->domain[d].node], "NUMA node", node->label,
					sizeof(node->label));
			else
				snprintf(node->label, sizeof(node->label), "no memory");
		}
		for (unsigned k = d; k < end && rc == 0; k++)
			rc = add_domain(node, m, k);
	}
	return rc;
}

/* --- devices -----------------------------------------------------------------------------------
 */

static unsigned local_cores(
	const struct svg_box *box, const struct sv_machine *m, hwloc_const_cpuset_t cpus)
{
	unsigned n = 0;

	if (box->kind == SVG_CORE)
		return hwloc_bitmap_isset(cpus, (unsigned)m->core[box->core].cpu[0]) != 0;
	for (unsigned i = 0; i < box->children; i++)
		n += local_cores(&box->child[i], m, cpus);
	return n;
}

/* The smallest package or node box with all the cores of @cpus; else the machine. */
static struct svg_box *place_of(
	struct svg_box *box, const struct sv_machine *m, hwloc_const_cpuset_t cpus, unsigned all)
{
	for (unsigned i = 0; all && i < box->children; i++) {
		struct svg_box *c = &box->child[i];

		if ((c->kind == SVG_PACKAGE || c->kind == SVG_NODE) &&
			local_cores(c, m, cpus) == all)
			return place_of(c, m, cpus, all);
	}
	return box;
}

/* Nameless functions of one kind are one box. */
static bool alike(const struct svg_box *box, const char *label)
{
	const char *old = box->like > 1 ? strstr(box->label, " x ") + 3 : box->label;

	return !strncmp(label, "PCI ", 4) && !strcmp(old, label);
}

static int add_device(struct svg_box *machine, const struct sv_machine *m, enum svg_kind kind,
	hwloc_obj_t o, const char *label, const char *sub)
{
	hwloc_obj_t at = kind == SVG_MEMORY ? o : hwloc_get_non_io_ancestor_obj(m->topo, o);
	unsigned all = local_cores(machine, m, at->cpuset), there = 0;
	struct svg_box *place = place_of(machine, m, at->cpuset, all), *box;

	for (unsigned i = 0; i < place->children; i++)
		there += place->child[i].kind == SVG_DEVICE;
	box = place->children ? &place->child[place->children - 1] : NULL;
	if (box && box->like && alike(box, label)) {
		snprintf(box->label, sizeof(box->label), "%u x %.24s", ++box->like, label);
		return 0;
	}
	if (there > DEVICES_AT_A_PLACE)
		return 0;
	box = add(place, kind);
	if (!box)
		return -ENOMEM;
	if (there == DEVICES_AT_A_PLACE) {
		snprintf(box->label, sizeof(box->label), "and more");
		return 0;
	}
	box->like = 1;
	snprintf(box->label, sizeof(box->label), "%.24s", label);
	snprintf(box->sub, sizeof(box->sub), "%.24s", sub);
	return 0;
}

static bool is_drawn(hwloc_obj_t o)
{
	hwloc_obj_osdev_type_t type = o->attr->osdev.type;

	/* One graphics card has several names. */
	if (!o->name || !strncmp(o->name, "controlD", 8) || !strncmp(o->name, "renderD", 7))
		return false;
	return type == HWLOC_OBJ_OSDEV_NETWORK || type == HWLOC_OBJ_OSDEV_BLOCK ||
	       type == HWLOC_OBJ_OSDEV_OPENFABRICS || type == HWLOC_OBJ_OSDEV_GPU ||
	       type == HWLOC_OBJ_OSDEV_COPROC;
}

/* Network interfaces, disks, accelerators by name; PCI functions that have none by address. */
static int add_devices(struct svg_box *machine, const struct sv_machine *m)
{
	char address[24], label[32];
	hwloc_obj_t o = NULL, pci;
	int rc = 0;

	while (rc == 0 && (o = hwloc_get_next_osdev(m->topo, o))) {
		if (!is_drawn(o))
			continue;
		for (pci = o->parent; pci && pci->type != HWLOC_OBJ_PCI_DEVICE; pci = pci->parent)
			;
		*address = 0;
		if (pci)
			snprintf(address, sizeof(address), "%04x:%02x:%02x.%01x",
				pci->attr->pcidev.domain, pci->attr->pcidev.bus,
				pci->attr->pcidev.dev, pci->attr->pcidev.func);
		rc = add_device(machine, m, SVG_DEVICE, o, o->name, address);
	}
	o = NULL;
	while (rc == 0 && (o = hwloc_get_next_pcidev(m->topo, o))) {
		if (o->io_arity)
			continue;
		snprintf(address, sizeof(address), "%04x:%02x:%02x.%01x", o->attr->pcidev.domain,
			o->attr->pcidev.bus, o->attr->pcidev.dev, o->attr->pcidev.func);
		snprintf(label, sizeof(label), "PCI %04x:%04x", o->attr->pcidev.vendor_id,
			o->attr->pcidev.device_id);
		rc = add_device(machine, m, SVG_DEVICE, o, label, address);
	}
	return rc;
}

/* Nodes with memory only: HBM, CXL. */
static int add_memory(struct svg_box *machine, const struct sv_machine *m)
{
	hwloc_obj_t o = NULL;
	char bytes[24], label[48];
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < m->nodes; i++) {
		o = hwloc_get_next_obj_by_type(m->topo, HWLOC_OBJ_NUMANODE, o);
		if (!o || m->node[i].cores)
			continue;
		name_bytes(m->node[i].bytes, bytes, sizeof(bytes));
		snprintf(label, sizeof(label), "node %d %s", m->node[i].os, m->node[i].kind);
		rc = add_device(machine, m, SVG_MEMORY, o, label, bytes);
	}
	return rc;
}

int svg_build(struct svg_box *machine, const struct view *v)
{
	const struct sv_machine *m = v->m;
	unsigned *index = malloc((m->domains + 1) * sizeof(*index));
	int rc = index ? 0 : -ENOMEM;

	*machine = (struct svg_box){.kind = SVG_MACHINE, .core = -1};
	for (unsigned d = 0; index && d < m->domains; d++)
		index[d] = d;
	for (unsigned from = 0, to; from < m->domains && rc == 0; from = to) {
		for (to = from + 1;
			to < m->domains && m->domain[to].package == m->domain[from].package; to++)
			;
		rc = add_package(machine, m, from, to, index);
	}
	free(index);
	if (rc == 0)
		rc = add_memory(machine, m);
	if (rc == 0)
		rc = add_devices(machine, m);
	return rc;
}

/* --- sizes and positions -----------------------------------------------------------------------
 */

static bool is_strip(const struct svg_box *b)
{
	return b->kind == SVG_DEVICE || b->kind == SVG_MEMORY;
}

/* Children of one sort in rows no wider than @limit, from (0, @y) of the parent. Sets *w; returns
 * h. */
static double shelve(struct svg_box *b, bool strip, double limit, double y, double *w)
{
	double x = 0, row = 0, top = y;

	*w = 0;
	for (unsigned i = 0; i < b->children; i++) {
		struct svg_box *c = &b->child[i];

		if (is_strip(c) != strip)
			continue;
		if (x > 0 && x + c->w > limit + 0.5) {
			y += row + GAP;
			x = row = 0;
		}
		c->x = x;
		c->y = y;
		x += c->w + GAP;
		row = c->h > row ? c->h : row;
		*w = x - GAP > *w ? x - GAP : *w;
	}
	return row > 0 ? y + row - top : 0;
}

/* How far @columns of these children are from a pleasant shape; gaps in the last row count. */
static double ugliness(struct svg_box *b, unsigned n, unsigned columns, double limit)
{
	unsigned rows = (n + columns - 1) / columns;
	double w, h = shelve(b, false, limit, 0, &w);

	if (h <= 0)
		return 0;
	return fabs(log(w / h / ASPECT)) + 8.0 * (rows * columns - n) / ((double)rows * columns);
}

static void pack(struct svg_box *b, double pad, double head)
{
	unsigned n = 0, first = 0, last, root;
	double limit = 0, best = 1e9, best_limit = 0, widest = 0, w, h, strip_w;
	double label, sub;

	for (unsigned i = 0; i < b->children; i++)
		if (!is_strip(&b->child[i])) {
			n++;
			widest = b->child[i].w > widest ? b->child[i].w : widest;
		}
	root = (unsigned)sqrt((double)n);
	first = n > 64 ? root / 3 : 1;
	last = n > 64 ? root * 3 : n;
	for (unsigned k = first; k <= last && k <= n; k++) {
		limit = k * (widest + GAP) - GAP;
		if (ugliness(b, n, k, limit) < best - 1e-9) {
			best = ugliness(b, n, k, limit);
			best_limit = limit;
		}
	}
	h = shelve(b, false, best_limit, head + pad, &w);
	label = svg_text_width(b->label, 12);
	sub = svg_text_width(b->sub, 10.5);
	if (*b->sub && label + sub + 14 > w) {
		/* The second label under the first. */
		b->two_lines = true;
		h = shelve(b, false, best_limit, head += 15 + pad, &w);
		head -= pad;
		b->w = label > sub ? label : sub;
	} else {
		b->w = *b->sub ? label + sub + 14 : label;
	}
	b->w = w > b->w ? w : b->w;
	b->h = head + pad + h;
	h = shelve(b, true, b->w > 160 ? b->w : 160, b->h + GAP, &strip_w);
	if (h > 0) {
		b->h += GAP + h;
		b->w = strip_w > b->w ? strip_w : b->w;
	}
	b->w += 2 * pad;
	b->h += pad;
	for (unsigned i = 0; i < b->children; i++)
		b->child[i].x += pad;
}

static void size(struct svg_box *b, const struct view *v)
{
	double label, sub;

	for (unsigned i = 0; i < b->children; i++)
		size(&b->child[i], v);
	switch (b->kind) {
	case SVG_CORE: {
		unsigned n = v->m->core[b->core].threads, columns = svg_thread_columns(n);
		unsigned rows = (n + columns - 1) / columns;

		b->w = columns * (SVG_THREAD_W + 2) - 2 + 2 * SVG_CORE_PAD;
		b->w = b->w < 44 ? 44 : b->w;
		b->h = SVG_CORE_HEAD + rows * (SVG_THREAD_H + 2) - 2 + 2 * SVG_CORE_PAD;
		break;
	}
	case SVG_DEVICE:
	case SVG_MEMORY:
		label = svg_text_width(b->label, 10);
		sub = svg_text_width(b->sub, 8);
		b->w = (label > sub ? label : sub) + 12;
		b->h = 28;
		break;
	case SVG_DOMAIN:
		pack(b, 5, 14);
		break;
	default:
		pack(b, 8, b->kind == SVG_MACHINE ? 0 : 18);
	}
}

static void move(struct svg_box *b, double x, double y)
{
	b->x += x;
	b->y += y;
	for (unsigned i = 0; i < b->children; i++)
		move(&b->child[i], b->x, b->y);
}

/* Boxes beside each other are of one height in their row, so that rows read as rows. */
static void align(struct svg_box *b)
{
	for (unsigned i = 0, k; i < b->children; i = k) {
		double h = 0;

		for (k = i; k < b->children && b->child[k].y >= b->child[i].y - 0.01 &&
			    b->child[k].y <= b->child[i].y + 0.01;
			k++)
			h = b->child[k].h > h ? b->child[k].h : h;
		for (unsigned j = i; j < k; j++)
			if (b->child[j].kind != SVG_CORE)
				b->child[j].h = h;
	}
	for (unsigned i = 0; i < b->children; i++)
		align(&b->child[i]);
}

void svg_lay_out(struct svg_box *machine, const struct view *v, double x, double y)
{
	size(machine, v);
	align(machine);
	move(machine, x, y);
}
