/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VM process's command socket: an abstract Unix socket, so that nothing is left behind however
 * the process ends. Only its own user and root are answered.
 */
#ifndef CORE_VMM_ASK_H
#define CORE_VMM_ASK_H

#include "vm.h"

/* Listen. Return: the socket, or -errno with a sentence (the name is taken: -EADDRINUSE). */
int sv_ask_listen(const char *name, struct sv_error *err);
/* One connection is waiting: take one command, answer, close. Context: control thread; 1 s at most. */
void sv_ask_serve(int listener, struct sv_vm *vm);

#endif
