/* SPDX-License-Identifier: BSD-3-Clause */
/* The ACPI tables (specification 6.3) but for the DSDT's body and HMAT's. */
#include "acpi_tables.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

uint8_t sv_ioapic_id(const struct sv_vm *vm)
{
	uint32_t max = sv_max_apic_id(&vm->config->topology, vm->nvcpus);

	return max < 254 ? (uint8_t)(max + 1) : 0;
}

/* --- tables ---------------------------------------------------------------------------------- */

struct address { /* generic address structure */
	uint8_t space, width, offset, access;
	uint64_t address;
} __attribute__((packed));

#define SPACE_IO 1
#define ACCESS_BYTE 1
#define IO_BYTE(port) {SPACE_IO, 8, 0, ACCESS_BYTE, port}

struct fadt {
	uint32_t facs, dsdt;
	uint8_t reserved0, profile;
	uint16_t sci;
	uint32_t smi_command;
	uint8_t acpi_enable, acpi_disable, s4bios, pstate;
	uint32_t pm_blocks[8];
	uint8_t pm_lengths[6], gpe1_base, cst;
	uint16_t c2_latency, c3_latency, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
	uint16_t boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct address reset;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor;
	uint64_t x_facs, x_dsdt;
	struct address x_blocks[8], sleep_control, sleep_status;
	uint64_t hypervisor;
} __attribute__((packed));

_Static_assert(sizeof(struct fadt) + ACPI_HEADER_BYTES == 276, "FADT of ACPI 6.3");

#define FADT_WBINVD (1u << 0)
#define FADT_PROC_C1 (1u << 2)
#define FADT_NO_POWER_BUTTON (1u << 4)
#define FADT_NO_SLEEP_BUTTON (1u << 5)
#define FADT_RTC_NOT_FIXED (1u << 6)
#define FADT_RESET_REGISTER (1u << 10)
#define FADT_HARDWARE_REDUCED (1u << 20)
#define BOOT_NO_VGA (1u << 2)
#define BOOT_NO_ASPM (1u << 4)
#define BOOT_NO_RTC (1u << 5)
#define CMOS_CENTURY 0x32

/* No fixed hardware in either mode: power and reset by the registers of layout.h. */
static uint64_t fadt(struct sv_table_area *a, const struct sv_vm *vm, uint64_t dsdt)
{
	uint64_t at = sv_table_begin(a, "FACP", 6);
	struct fadt f = {
		.dsdt = (uint32_t)dsdt,
		.x_dsdt = dsdt,
		.c2_latency = 0xffff,
		.c3_latency = 0xffff,
		.century = vm->config->rtc ? CMOS_CENTURY : 0,
		.boot_arch = BOOT_NO_VGA | BOOT_NO_ASPM | (vm->config->rtc ? 0 : BOOT_NO_RTC),
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_NO_POWER_BUTTON | FADT_NO_SLEEP_BUTTON |
			 FADT_RTC_NOT_FIXED | FADT_RESET_REGISTER | FADT_HARDWARE_REDUCED,
		.reset = IO_BYTE(PORT_RESET),
		.reset_value = 1,
		.minor = 3,
		.sleep_control = IO_BYTE(PORT_SLEEP),
		.sleep_status = IO_BYTE(PORT_SLEEP + 1),
	};

	memcpy(&f.hypervisor, "KVMKVMKV", sizeof(f.hypervisor));
	sv_table_put(a, &f, sizeof(f));
	sv_table_end(a, at);
	return at;
}

static uint64_t dsdt(struct sv_table_area *a, const struct sv_vm *vm)
{
	uint64_t at = sv_table_begin(a, "DSDT", 2);

	sv_acpi_dsdt(a, vm);
	sv_table_end(a, at);
	return at;
}

struct madt_lapic {
	uint8_t type, length, uid, apic_id;
	uint32_t flags;
} __attribute__((packed));

struct madt_x2apic {
	uint8_t type, length;
	uint16_t reserved;
	uint32_t x2apic_id, flags, uid;
} __attribute__((packed));

struct madt_ioapic {
	uint8_t type, length, id, reserved;
	uint32_t address, gsi_base;
} __attribute__((packed));

struct madt_nmi {
	uint8_t type, length, uid;
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));

struct madt_x2nmi {
	uint8_t type, length;
	uint16_t flags;
	uint32_t uid;
	uint8_t lint, reserved[3];
} __attribute__((packed));

static void madt_processor(struct sv_table_area *a, uint32_t vcpu, uint32_t id)
{
	if (id < 255) {
		struct madt_lapic l = {0, sizeof(l), (uint8_t)vcpu, (uint8_t)id, 1};

		sv_table_put(a, &l, sizeof(l));
	} else {
		struct madt_x2apic x = {9, sizeof(x), 0, id, 1, vcpu};

		sv_table_put(a, &x, sizeof(x));
	}
}

static uint64_t madt(struct sv_table_area *a, const struct sv_vm *vm)
{
	uint64_t at = sv_table_begin(a, "APIC", 4);
	const uint32_t head[2] = {(uint32_t)LAYOUT_LAPIC, vm->config->irqchip == SV_IRQCHIP_FULL};
	const struct madt_ioapic io = {1, sizeof(io), sv_ioapic_id(vm), 0,
		(uint32_t)LAYOUT_IOAPIC, 0};
	const struct madt_nmi nmi = {4, sizeof(nmi), 0xff, 0, 1};
	const struct madt_x2nmi x2nmi = {0xa, sizeof(x2nmi), 0, 0xffffffff, 1, {0}};

	sv_table_put(a, head, sizeof(head));
	for (unsigned i = 0; i < vm->nvcpus; i++)
		madt_processor(a, i, sv_apic_id(&vm->config->topology, i));
	sv_table_put(a, &io, sizeof(io));
	sv_table_put(a, &nmi, sizeof(nmi));
	if (sv_max_apic_id(&vm->config->topology, vm->nvcpus) >= 255)
		sv_table_put(a, &x2nmi, sizeof(x2nmi));
	sv_table_end(a, at);
	return at;
}

struct mcfg {
	uint64_t reserved0, base;
	uint16_t segment;
	uint8_t first_bus, last_bus;
	uint32_t reserved1;
} __attribute__((packed));

static uint64_t mcfg(struct sv_table_area *a)
{
	uint64_t at = sv_table_begin(a, "MCFG", 1);
	const struct mcfg m = {0, LAYOUT_ECAM, 0, 0, (uint8_t)(LAYOUT_ECAM_BYTES / 0x100000 - 1), 0};

	sv_table_put(a, &m, sizeof(m));
	sv_table_end(a, at);
	return at;
}

struct srat_x2apic {
	uint8_t type, length;
	uint16_t reserved0;
	uint32_t domain, x2apic_id, flags, clock_domain, reserved1;
} __attribute__((packed));

struct srat_memory {
	uint8_t type, length;
	uint32_t domain;
	uint16_t reserved0;
	uint64_t base, bytes;
	uint32_t reserved1, flags;
	uint64_t reserved2;
} __attribute__((packed));

static uint64_t srat(struct sv_table_area *a, const struct sv_vm *vm)
{
	uint64_t at = sv_table_begin(a, "SRAT", 3), gpa, bytes;
	const struct {
		uint32_t one;
		uint64_t zero;
	} __attribute__((packed)) head = {1, 0};

	sv_table_put(a, &head, sizeof(head));
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		struct srat_x2apic x = {2, sizeof(x), 0, sv_node_of_vcpu(vm, i),
			sv_apic_id(&vm->config->topology, i), 1, 0, 0};

		sv_table_put(a, &x, sizeof(x));
	}
	for (unsigned i = 0; i < 2 * sv_nodes(vm); i++) {
		sv_node_memory_range(vm, i / 2, i % 2, &gpa, &bytes);
		struct srat_memory m = {1, sizeof(m), i / 2, 0, gpa, bytes, 0, 1, 0};

		if (bytes)
			sv_table_put(a, &m, sizeof(m));
	}
	sv_table_end(a, at);
	return at;
}

static uint64_t slit(struct sv_table_area *a, const struct sv_vm *vm)
{
	uint64_t at = sv_table_begin(a, "SLIT", 1), n = sv_nodes(vm);

	sv_table_put(a, &n, sizeof(n));
	for (unsigned i = 0; i < n * n; i++) {
		uint8_t d = vm->config->topology.distance[i / n][i % n];

		if (i / n == i % n)
			d = 10;
		else if (d == 0)
			d = 20;
		sv_table_put(a, &d, 1);
	}
	sv_table_end(a, at);
	return at;
}

static uint64_t root(struct sv_table_area *a, const char *signature, const uint64_t *tables,
	unsigned n, size_t pointer_bytes)
{
	uint64_t at = sv_table_begin(a, signature, 1);

	for (unsigned i = 0; i < n; i++)
		sv_table_put(a, &tables[i], pointer_bytes);
	sv_table_end(a, at);
	return at;
}

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt, length;
	uint64_t xsdt;
	uint8_t checksum_all, reserved[3];
} __attribute__((packed));

static void write_rsdp(struct rsdp *r, uint64_t rsdt, uint64_t xsdt)
{
	*r = (struct rsdp){.revision = 2, .rsdt = (uint32_t)rsdt, .length = sizeof(*r), .xsdt = xsdt};
	memcpy(r->signature, "RSD PTR ", 8);
	memcpy(r->oem, "SIDEVM", 6);
	r->checksum = sv_table_checksum(r, 20);
	r->checksum_all = sv_table_checksum(r, sizeof(*r));
}

/* What old kernels read from the BIOS data area: where the EBDA is, and how much lies below it. */
static void write_bios_data(struct sv_vm *vm)
{
	uint16_t *ebda = sv_vm_ptr(vm, 0x40e, 2), *kib = sv_vm_ptr(vm, 0x413, 2);
	const uint16_t segment = LAYOUT_EBDA >> 4, size = LAYOUT_EBDA / 1024;

	memcpy(ebda, &segment, 2);
	memcpy(kib, &size, 2);
}

int sv_acpi_build(struct sv_vm *vm, uint64_t *rsdp, struct sv_error *err)
{
	struct sv_table_area a = {.gpa = LAYOUT_BIOS, .capacity = LAYOUT_SMBIOS - LAYOUT_BIOS};
	uint64_t tables[6], xsdt, rsdt;
	unsigned n = 5;
	const struct rsdp none = {.length = 0};
	struct rsdp *r;
	int rc;

	a.base = sv_vm_ptr(vm, LAYOUT_BIOS, LAYOUT_BIOS_BYTES);
	if (!a.base)
		return sv_fail(err, EINVAL, "--memory: a guest needs at least 1 MiB for firmware tables");
	r = sv_table_put(&a, &none, sizeof(none));
	tables[0] = fadt(&a, vm, dsdt(&a, vm));
	tables[1] = madt(&a, vm);
	tables[2] = mcfg(&a);
	tables[3] = srat(&a, vm);
	tables[4] = slit(&a, vm);
	if (sv_acpi_has_hmat(vm))
		tables[n++] = sv_acpi_hmat(&a, vm);
	xsdt = root(&a, "XSDT", tables, n, 8);
	rsdt = root(&a, "RSDT", tables, n, 4);
	if (a.full)
		return sv_fail(err, ENOSPC,
			"the firmware tables of %u vCPUs do not fit; use fewer vCPUs", vm->nvcpus);
	write_rsdp(r, rsdt, xsdt);
	write_bios_data(vm);
	rc = sv_mptable_build(vm, &a, err);
	if (rc == 0)
		rc = sv_smbios_build(vm, err);
	if (rc == 0)
		*rsdp = LAYOUT_BIOS;
	return rc;
}
