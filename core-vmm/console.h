/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The console relay of the control thread: descriptors 0 and 1 on one side, the sidecore's console
 * (a socket pair) or the serial port on the other. Never blocks, bounded both ways. On a terminal:
 * raw mode, restored at the end; Ctrl-A x stops the VM, Ctrl-A Ctrl-A sends Ctrl-A.
 */
#ifndef CORE_VMM_CONSOLE_H
#define CORE_VMM_CONSOLE_H

#include <poll.h>
#include <termios.h>

#include "vm.h"

#define CONSOLE_BUFFER 4096u

struct sv_console_relay {
	struct sv_vm *vm;
	int far;	/* our end of the socket pair; -1: the serial port takes the input */
	int far_remote; /* the end that is sent to the sidecore, closed after that */
	bool in_open, out_open, escape, raw;
	struct termios saved;
	unsigned in_len, out_len;
	char in[CONSOLE_BUFFER], out[CONSOLE_BUFFER];
};

/* Return: 0, or -errno with a sentence. */
int sv_console_open(struct sv_console_relay *c, struct sv_vm *vm, struct sv_error *err);
void sv_console_close(struct sv_console_relay *c);
/* Fill up to 3 pollfds; returns how many. Then hand the results back. Context: control thread. */
unsigned sv_console_poll_fds(struct sv_console_relay *c, struct pollfd *p);
void sv_console_polled(struct sv_console_relay *c, const struct pollfd *p, unsigned n);
/* Write out what is left, for at most @ms milliseconds: at the end of the VM. */
void sv_console_drain(struct sv_console_relay *c, int ms);

#endif
