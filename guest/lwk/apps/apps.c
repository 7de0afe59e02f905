/* SPDX-License-Identifier: BSD-3-Clause */
/* app=NAME on the command line chooses the application; with `stay` it does not end when it is done. */
#include "apps.h"

#include <lwk/lwk.h>

static const struct {
	const char *name;
	int (*main)(void);
} apps[] = {
	{"hello", app_hello},
	{"idle", app_idle},
	{"stress", app_stress},
	{"threads", app_threads},
	{"crash", app_crash},
	{"hostile", app_hostile},
	{"timer", app_timer},
	{"wake", app_wake},
	{"memory", app_memory},
	{"arrive", app_arrive},
	{"paging", app_paging},
	{"pagingbench", app_paging_bench},
	{"bench", app_bench},
	{"touch", app_touch},
	{"walk", app_walk},
	{"dirty", app_dirty},
};

int lwk_app_main(void);

int lwk_app_main(void)
{
	for (unsigned i = 0; i < sizeof(apps) / sizeof(apps[0]); i++)
		if (lwk_arg_is("app", apps[i].name)) {
			int status = apps[i].main();

			return status == 0 && lwk_arg_word("stay") ? app_idle() : status;
		}
	if (!lwk_arg_has("app"))
		return app_hello();
	lwk_printf("no application of that name\n");
	return 2;
}
