/* SPDX-License-Identifier: BSD-3-Clause */
/* The initrd: opened and placed by rules of the boot protocol, loaded last. */
#include "loader_image.h"

#include <errno.h>

int sv_initrd_open(struct sv_initrd *rd, const struct sv_vm *vm, bool for_linux,
	struct sv_error *err)
{
	const char *path = vm->config->initrd;
	int rc;

	*rd = (struct sv_initrd){.img.fd = -1};
	if (!path)
		return 0;
	rc = sv_image_open(&rd->img, "initrd", path, err);
	if (rc == 0 && for_linux)
		rc = sv_initrd_check(&rd->img, err);
	if (rc < 0)
		sv_image_close(&rd->img);
	else
		rd->present = true;
	return rc;
}

void sv_initrd_close(struct sv_initrd *rd)
{
	if (rd->present)
		sv_image_close(&rd->img);
	rd->present = false;
}

int sv_initrd_place_top(struct sv_initrd *rd, const struct sv_vm *vm, uint64_t low, uint64_t max,
	bool high, struct sv_error *err)
{
	uint64_t bytes = rd->img.size, end = vm->ram_low_bytes;

	if (!rd->present)
		return 0;
	low = align_up(low, PAGE);
	if (max < end - 1)
		end = max + 1;
	if (end > low && bytes <= end - low && align_down(end - bytes, PAGE) >= low) {
		rd->gpa = align_down(end - bytes, PAGE);
		return 0;
	}
	if (high && bytes <= vm->ram_high_bytes) {
		rd->gpa = align_down(LAYOUT_HIGH + vm->ram_high_bytes - bytes, PAGE);
		return 0;
	}
	return sv_image_too_large(&rd->img, vm, low, align_up(bytes, PAGE), err);
}

int sv_initrd_place_after(struct sv_initrd *rd, const struct sv_vm *vm, uint64_t low,
	struct sv_error *err)
{
	uint64_t at = align_up(low, PAGE), bytes = rd->img.size;

	if (!rd->present)
		return 0;
	if (at >= vm->ram_low_bytes || bytes > vm->ram_low_bytes - at)
		return sv_image_too_large(&rd->img, vm, at, bytes, err);
	rd->gpa = at;
	return 0;
}

int sv_initrd_load(const struct sv_initrd *rd, struct sv_vm *vm, struct sv_error *err)
{
	if (!rd->present)
		return 0;
	return sv_image_load(&rd->img, vm, 0, rd->gpa, rd->img.size, err);
}
