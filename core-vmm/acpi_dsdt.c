/* SPDX-License-Identifier: BSD-3-Clause */
/* The DSDT: one PCI host bridge, the serial port, the RTC, pvpanic, and power off. */
#include "aml.h"

#define ECAM_BYTES_32 ((uint32_t)LAYOUT_ECAM_BYTES)
#define SLEEP_TYPE_S5 5u

/*
 * _OSC of the host bridge: the operating system may have the PCI Express capability structures,
 * and nothing else, as there is nothing else here. In ASL:
 *
 *	Method (_OSC, 4, Serialized) {
 *		CreateDWordField (Arg3, 0, CDW1)
 *		If (LEqual (Arg0, ToUUID ("33db4d5b-1ff7-401c-9657-7441c03dd766"))) {
 *			CreateDWordField (Arg3, 8, CDW3)
 *			And (CDW3, 0x10, CDW3)
 *		} Else {
 *			Or (CDW1, 4, CDW1)
 *		}
 *		Return (Arg3)
 *	}
 */
static void osc(struct sv_table_area *a)
{
	static const uint8_t uuid[] = {0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40, 0x96, 0x57,
		0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66};
	aml_mark method = aml_method_open(a, "_OSC", 4), branch;

	aml_dword_field(a, AML_ARG(3), 0, "CDW1");
	branch = aml_if_open(a);
	aml_equal(a, AML_ARG(0));
	aml_buffer(a, uuid, sizeof(uuid));
	aml_dword_field(a, AML_ARG(3), 8, "CDW3");
	aml_update(a, AML_AND, "CDW3", 0x10);
	aml_close(a, branch);
	branch = aml_else_open(a);
	aml_update(a, AML_OR, "CDW1", 4);
	aml_close(a, branch);
	aml_return(a, AML_ARG(3));
	aml_close(a, method);
}

static aml_mark device(struct sv_table_area *a, const char name[4], const char *eisa, unsigned uid)
{
	aml_mark m = aml_device_open(a, name);

	aml_name(a, "_HID");
	aml_eisa(a, eisa);
	aml_name(a, "_UID");
	aml_integer(a, uid);
	return m;
}

/* There is no _PRT: no device has a pin interrupt, MSI-X only. */
static void pci(struct sv_table_area *a, const struct sv_vm *vm)
{
	struct aml_resources r = {.n = 0};
	aml_mark m = device(a, "PCI0", "PNP0A08", 0);

	aml_name(a, "_CID");
	aml_eisa(a, "PNP0A03");
	aml_name(a, "_SEG");
	aml_integer(a, 0);
	aml_name(a, "_BBN");
	aml_integer(a, 0);
	/* Devices are near the first node; without a word of it Linux complains on NUMA machines. */
	if (vm->config->topology.nodes > 1) {
		aml_name(a, "_PXM");
		aml_integer(a, 0);
	}
	aml_bus_window(&r, 0, 0);
	aml_io(&r, PORT_PCI_ADDRESS, 8);
	aml_io_window(&r, 0, PORT_PCI_ADDRESS - 1);
	aml_io_window(&r, PORT_PCI_ADDRESS + 8, 0xffff);
	aml_memory_window(&r, LAYOUT_PCI32, LAYOUT_PCI32 + LAYOUT_PCI32_BYTES - 1);
	if (vm->pci64_gpa)
		aml_memory_window(&r, vm->pci64_gpa, vm->pci64_gpa + LAYOUT_PCI64_BYTES - 1);
	aml_crs(a, &r);
	osc(a);
	aml_close(a, m);
}

/* What is neither RAM nor a device of the bridge. */
static void reserved(struct sv_table_area *a)
{
	struct aml_resources r = {.n = 0};
	aml_mark m = device(a, "RSVD", "PNP0C02", 0);

	aml_memory32(&r, (uint32_t)LAYOUT_ECAM, ECAM_BYTES_32);
	aml_io(&r, PORT_SLEEP, 8);
	aml_crs(a, &r);
	aml_close(a, m);
}

static void serial(struct sv_table_area *a)
{
	struct aml_resources r = {.n = 0};
	aml_mark m = device(a, "COM1", "PNP0501", 0);

	aml_io(&r, PORT_SERIAL, 8);
	aml_irq(&r, GSI_SERIAL);
	aml_crs(a, &r);
	aml_close(a, m);
}

static void rtc(struct sv_table_area *a)
{
	struct aml_resources r = {.n = 0};
	aml_mark m = device(a, "RTC0", "PNP0B00", 0);

	aml_io(&r, PORT_RTC, 2);
	aml_irq(&r, GSI_RTC);
	aml_crs(a, &r);
	aml_close(a, m);
}

static void panic_event(struct sv_table_area *a)
{
	struct aml_resources r = {.n = 0};
	aml_mark m = aml_device_open(a, "PEVT");

	aml_name(a, "_HID");
	aml_string(a, "QEMU0001");
	aml_io(&r, PORT_PVPANIC, 1);
	aml_crs(a, &r);
	aml_close(a, m);
}

void sv_acpi_dsdt(struct sv_table_area *a, const struct sv_vm *vm)
{
	aml_mark m = aml_scope_open(a, "\\_SB_");

	pci(a, vm);
	reserved(a);
	serial(a);
	if (vm->config->rtc)
		rtc(a);
	panic_event(a);
	aml_close(a, m);

	aml_name(a, "_S5_");
	m = aml_package_open(a, 4);
	aml_integer(a, SLEEP_TYPE_S5);
	for (unsigned i = 0; i < 3; i++)
		aml_integer(a, 0);
	aml_close(a, m);
}
