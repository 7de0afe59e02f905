/* SPDX-License-Identifier: BSD-3-Clause */
/* The balloon's virtqueues for the VM process: a thread that sleeps until the guest says something. */
#ifndef CLI_BALLOON_H
#define CLI_BALLOON_H

#include <vmm/balloon.h>

extern const struct sv_vmm_balloon cli_balloon_hooks;

#endif
