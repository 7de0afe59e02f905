/* SPDX-License-Identifier: BSD-3-Clause */
/* sidevisor dial: what base/dial.c starts. Nobody types this. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <io/dial.h>

#include "cli.h"

int cli_dial(int argc, char **argv)
{
	struct sv_dial_spec spec = {0};
	struct sv_error err = {""};
	uint64_t fd;

	if (argc != 6 || cli_parse_number("dial", argv[1], 3, 1023, &fd, &err) < 0)
		return cli_usage_error("dial", "this verb is for sidevisor itself");
	prctl(PR_SET_NAME, "sidevisor-dial");
	signal(SIGPIPE, SIG_IGN);
	close_range((unsigned)fd + 1, ~0u, 0); /* it outlives nothing of who started it */
	fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	spec = (struct sv_dial_spec){.image = argv[2],
		.format = argv[3][0] ? argv[3] : NULL,
		.readonly = argv[4][0],
		.direct = argv[5][0]};
	return sv_dial_main(&spec, (int)fd) < 0 ? EXIT_FAILED : EXIT_DONE;
}
