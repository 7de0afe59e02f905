/* SPDX-License-Identifier: BSD-3-Clause */
/* HMAT (ACPI 6.3, revision 2): latency and bandwidth of each node's memory for its own CPUs. */
#include "acpi_tables.h"

#define STRUCTURE_PROXIMITY 0
#define STRUCTURE_FIGURES 1
#define INITIATOR_VALID 1
#define PICOSECONDS_PER_NS 1000
#define ENTRY_MAX 0xfffeu /* above it: cannot be reached */

struct proximity {
	uint16_t type, reserved0;
	uint32_t length;
	uint16_t flags, reserved1;
	uint32_t initiator, memory, reserved2;
	uint64_t reserved3[2];
} __attribute__((packed));

struct figures {
	uint16_t type, reserved0;
	uint32_t length;
	uint8_t flags, data_type;
	uint16_t reserved1;
	uint32_t initiators, targets, reserved2;
	uint64_t base_unit;
} __attribute__((packed));

_Static_assert(sizeof(struct proximity) == 40, "HMAT memory proximity domain attributes");
_Static_assert(sizeof(struct figures) == 32, "HMAT latency and bandwidth information");

enum data_type { READ_LATENCY = 1, WRITE_LATENCY = 2, READ_BANDWIDTH = 4, WRITE_BANDWIDTH = 5 };

static uint32_t figure(const struct sv_node_figures *f, enum data_type type)
{
	switch (type) {
	case READ_LATENCY:
		return f->read_latency_ns;
	case WRITE_LATENCY:
		return f->write_latency_ns;
	case READ_BANDWIDTH:
		return f->read_mb_s;
	default:
		return f->write_mb_s;
	}
}

static uint32_t highest(const struct sv_vm *vm, enum data_type type)
{
	uint32_t max = 0;

	for (unsigned i = 0; i < sv_nodes(vm); i++) {
		uint32_t v = figure(&vm->config->topology.figures[i], type);

		max = v > max ? v : max;
	}
	return max;
}

bool sv_acpi_has_hmat(const struct sv_vm *vm)
{
	return highest(vm, READ_LATENCY) || highest(vm, WRITE_LATENCY) ||
	       highest(vm, READ_BANDWIDTH) || highest(vm, WRITE_BANDWIDTH);
}

/* One table of figures; only those of a node with itself are known, the others are 0: not said. */
static void put_figures(struct sv_table_area *a, const struct sv_vm *vm, enum data_type type)
{
	uint32_t n = sv_nodes(vm), max = highest(vm, type);
	uint64_t unit = 1 + max / (ENTRY_MAX + 1);
	struct figures f = {.type = STRUCTURE_FIGURES,
		.length = (uint32_t)sizeof(f) + 8 * n + 2 * n * n,
		.data_type = (uint8_t)type,
		.initiators = n,
		.targets = n,
		.base_unit = type <= WRITE_LATENCY ? unit * PICOSECONDS_PER_NS : unit};

	if (!max)
		return;
	sv_table_put(a, &f, sizeof(f));
	for (uint32_t i = 0; i < 2 * n; i++) {
		uint32_t node = i % n;

		sv_table_put(a, &node, sizeof(node));
	}
	for (uint32_t i = 0; i < n * n; i++) {
		const struct sv_node_figures *of = &vm->config->topology.figures[i % n];
		uint16_t entry = i / n == i % n ? (uint16_t)(figure(of, type) / unit) : 0;

		sv_table_put(a, &entry, sizeof(entry));
	}
}

uint64_t sv_acpi_hmat(struct sv_table_area *a, const struct sv_vm *vm)
{
	uint64_t at = sv_table_begin(a, "HMAT", 2);
	const uint32_t reserved = 0;

	sv_table_put(a, &reserved, sizeof(reserved));
	for (uint32_t i = 0; i < sv_nodes(vm); i++) {
		const struct proximity p = {.type = STRUCTURE_PROXIMITY,
			.length = sizeof(p),
			.flags = INITIATOR_VALID,
			.initiator = i,
			.memory = i};

		sv_table_put(a, &p, sizeof(p));
	}
	put_figures(a, vm, READ_LATENCY);
	put_figures(a, vm, WRITE_LATENCY);
	put_figures(a, vm, READ_BANDWIDTH);
	put_figures(a, vm, WRITE_BANDWIDTH);
	sv_table_end(a, at);
	return at;
}
