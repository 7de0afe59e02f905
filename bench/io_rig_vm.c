/* SPDX-License-Identifier: BSD-3-Clause */
#include "io.h"
#include <errno.h>
int io_rig_vm(struct io_run *r, struct sv_error *err)
{
	(void)r;
	return sv_fail(err, ENOSYS, "not here");
}
