/* SPDX-License-Identifier: BSD-3-Clause */
/* The MP table (Intel MultiProcessor Specification 1.4), for kernels that know no ACPI. */
#include "acpi_tables.h"

#include <errno.h>
#include <string.h>

#define EBDA_BYTES (0xa0000u - LAYOUT_MPTABLE)
#define BUS_PCI 0
#define BUS_ISA 1
#define APIC_VERSION 0x14
#define IOAPIC_VERSION 0x11
#define INT_VECTORED 0
#define INT_NMI 1
#define INT_EXTERNAL 3
#define ALL_APICS 0xff
#define ISA_IRQS 16u

struct floating {
	char signature[4];
	uint32_t table;
	uint8_t length, revision, checksum, features[5];
} __attribute__((packed));

struct config {
	char signature[4];
	uint16_t length;
	uint8_t revision, checksum;
	char oem[8], product[12];
	uint32_t oem_table;
	uint16_t oem_bytes, entries;
	uint32_t lapic;
	uint16_t ext_length;
	uint8_t ext_checksum, reserved;
} __attribute__((packed));

struct processor {
	uint8_t type, id, version, flags;
	uint32_t signature, features, reserved[2];
} __attribute__((packed));

struct bus {
	uint8_t type, id;
	char name[6];
} __attribute__((packed));

struct ioapic {
	uint8_t type, id, version, flags;
	uint32_t address;
} __attribute__((packed));

struct interrupt {
	uint8_t type, kind;
	uint16_t flags;
	uint8_t bus, irq, apic, pin;
} __attribute__((packed));

_Static_assert(sizeof(struct floating) == 16, "MP floating pointer");
_Static_assert(sizeof(struct config) == 44, "MP configuration table");
_Static_assert(sizeof(struct processor) == 20, "MP processor entry");

#define FEATURE_FPU (1u << 0)
#define FEATURE_APIC (1u << 9)

static unsigned put(struct sv_table_area *a, const void *entry, size_t n)
{
	sv_table_put(a, entry, n);
	return 1;
}

static unsigned put_processors(struct sv_table_area *a, const struct sv_vm *vm)
{
	unsigned n = 0;

	for (unsigned i = 0; i < vm->nvcpus; i++) {
		uint32_t id = sv_apic_id(&vm->config->topology, i);
		struct processor p = {0, (uint8_t)id, APIC_VERSION, (uint8_t)(i == 0 ? 3 : 1), 0x600,
			FEATURE_FPU | FEATURE_APIC, {0, 0}};

		if (id < 255)
			n += put(a, &p, sizeof(p));
	}
	return n;
}

static unsigned put_interrupts(struct sv_table_area *a, const struct sv_vm *vm)
{
	const struct interrupt external = {4, INT_EXTERNAL, 0, BUS_ISA, 0, ALL_APICS, 0};
	const struct interrupt nmi = {4, INT_NMI, 0, BUS_ISA, 0, ALL_APICS, 1};
	unsigned n = 0;

	for (uint8_t irq = 0; irq < ISA_IRQS; irq++) {
		struct interrupt i = {3, INT_VECTORED, 0, BUS_ISA, irq, sv_ioapic_id(vm), irq};

		if (irq != 2)
			n += put(a, &i, sizeof(i));
	}
	n += put(a, &external, sizeof(external));
	n += put(a, &nmi, sizeof(nmi));
	return n;
}

static void put_config(struct sv_table_area *a, const struct sv_vm *vm)
{
	const struct bus pci = {1, BUS_PCI, "PCI   "}, isa = {1, BUS_ISA, "ISA   "};
	const struct ioapic io = {2, sv_ioapic_id(vm), IOAPIC_VERSION, 1, (uint32_t)LAYOUT_IOAPIC};
	struct config c = {.revision = 4, .lapic = (uint32_t)LAYOUT_LAPIC};
	size_t at = a->used;
	unsigned n;

	memcpy(c.signature, "PCMP", 4);
	memcpy(c.oem, "SIDEVISR", 8);
	memcpy(c.product, "sidevisor   ", 12);
	sv_table_put(a, &c, sizeof(c));
	n = put_processors(a, vm);
	n += put(a, &pci, sizeof(pci));
	n += put(a, &isa, sizeof(isa));
	n += put(a, &io, sizeof(io));
	n += put_interrupts(a, vm);
	if (a->full)
		return;
	c.entries = (uint16_t)n;
	c.length = (uint16_t)(a->used - at);
	memcpy(a->base + at, &c, sizeof(c));
	c.checksum = sv_table_checksum(a->base + at, c.length);
	memcpy(a->base + at, &c, sizeof(c));
}

int sv_mptable_build(struct sv_vm *vm, struct sv_table_area *bios, struct sv_error *err)
{
	struct sv_table_area ebda = {.gpa = LAYOUT_MPTABLE, .capacity = EBDA_BYTES};
	struct floating f = {.length = 1, .revision = 4};

	ebda.base = sv_vm_ptr(vm, LAYOUT_MPTABLE, EBDA_BYTES);
	SV_BUG_ON(!ebda.base);
	sv_table_put(&ebda, &f, sizeof(f));
	f.table = (uint32_t)(ebda.gpa + ebda.used);
	put_config(&ebda, vm);
	if (ebda.full) { /* many vCPUs: behind the ACPI tables */
		bios->used = (bios->used + 15) & ~(size_t)15;
		f.table = (uint32_t)(bios->gpa + bios->used);
		put_config(bios, vm);
	}
	if (bios->full)
		return sv_fail(err, ENOSPC, "the MP table of %u vCPUs does not fit; use fewer vCPUs",
			vm->nvcpus);
	memcpy(f.signature, "_MP_", 4);
	f.checksum = sv_table_checksum(&f, sizeof(f));
	memcpy(ebda.base, &f, sizeof(f));
	return 0;
}
