/* SPDX-License-Identifier: BSD-3-Clause */
/* SMBIOS 3.0: firmware, system and enclosure, so that a guest can say what it runs on. */
#include "acpi_tables.h"

#include <errno.h>
#include <string.h>

#define RELEASE_DATE "01/01/2026"
#define CHARACTERISTICS_UNKNOWN (1ull << 3)
#define EXT2_VIRTUAL_MACHINE 0x10
#define WAKE_POWER_SWITCH 6
#define CHASSIS_OTHER 1
#define STATE_SAFE 3

struct entry_point {
	char anchor[5];
	uint8_t checksum, length, major, minor, docrev, revision, reserved;
	uint32_t max_bytes;
	uint64_t table;
} __attribute__((packed));

struct header {
	uint8_t type, length;
	uint16_t handle;
} __attribute__((packed));

struct firmware { /* type 0 */
	struct header h;
	uint8_t vendor, version;
	uint16_t segment;
	uint8_t date, rom_size;
	uint64_t characteristics;
	uint8_t ext[2], major, minor, ec_major, ec_minor;
} __attribute__((packed));

struct system { /* type 1 */
	struct header h;
	uint8_t manufacturer, product, version, serial, uuid[16], wake, sku, family;
} __attribute__((packed));

struct chassis { /* type 3 */
	struct header h;
	uint8_t manufacturer, type, version, serial, asset, boot, power, thermal, security;
	uint32_t oem;
	uint8_t height, cords, elements, element_bytes, sku;
} __attribute__((packed));

_Static_assert(sizeof(struct entry_point) == 24, "SMBIOS 3 entry point");
_Static_assert(sizeof(struct firmware) == 0x18, "SMBIOS type 0");
_Static_assert(sizeof(struct system) == 0x1b, "SMBIOS type 1");
_Static_assert(sizeof(struct chassis) == 0x16, "SMBIOS type 3");

/* A structure and its strings, numbered from 1, ended by an empty one. */
static void put(struct sv_table_area *a, const void *structure, size_t n, const char *const *strings,
	unsigned count)
{
	sv_table_put(a, structure, n);
	for (unsigned i = 0; i < count; i++)
		sv_table_put(a, strings[i], strlen(strings[i]) + 1);
	sv_table_put(a, "\0", count ? 1 : 2);
}

static void put_all(struct sv_table_area *a, const struct sv_vm *vm)
{
	const struct firmware f = {{0, sizeof(f), 0}, 1, 2, 0, 3, 0, CHARACTERISTICS_UNKNOWN,
		{0, EXT2_VIRTUAL_MACHINE}, 0, 1, 0xff, 0xff};
	const struct system s = {{1, sizeof(s), 1}, 1, 2, 3, 4, {0}, WAKE_POWER_SWITCH, 0, 0};
	const struct chassis c = {{3, sizeof(c), 2}, 1, CHASSIS_OTHER, 0, 0, 0, STATE_SAFE,
		STATE_SAFE, STATE_SAFE, STATE_SAFE, 0, 0, 0, 0, 0, 0};
	const struct header end = {127, sizeof(end), 3};
	const char *const firmware_text[] = {"sidevisor", SV_VERSION, RELEASE_DATE};
	const char *const system_text[] = {"sidevisor", "virtual machine", SV_VERSION,
		vm->config->name && *vm->config->name ? vm->config->name : "none"};

	put(a, &f, sizeof(f), firmware_text, 3);
	put(a, &s, sizeof(s), system_text, 4);
	put(a, &c, sizeof(c), firmware_text, 1);
	put(a, &end, sizeof(end), NULL, 0);
}

int sv_smbios_build(struct sv_vm *vm, struct sv_error *err)
{
	struct sv_table_area a = {.gpa = LAYOUT_SMBIOS, .capacity = LAYOUT_HIMEM - LAYOUT_SMBIOS};
	struct entry_point e = {.length = sizeof(e), .major = 3, .revision = 1};

	a.base = sv_vm_ptr(vm, LAYOUT_SMBIOS, a.capacity);
	SV_BUG_ON(!a.base);
	sv_table_put(&a, &e, sizeof(e));
	e.table = a.gpa + a.used;
	put_all(&a, vm);
	if (a.full)
		return sv_fail(err, EINVAL, "--name: too long; shorten it");
	e.max_bytes = (uint32_t)(a.used - sizeof(e));
	memcpy(e.anchor, "_SM3_", sizeof(e.anchor));
	e.checksum = sv_table_checksum(&e, sizeof(e));
	memcpy(a.base, &e, sizeof(e));
	return 0;
}
