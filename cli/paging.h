/* SPDX-License-Identifier: BSD-3-Clause */
/* Where paging/ meets the node and the VM process, neither of which knows it. */
#ifndef CLI_PAGING_H
#define CLI_PAGING_H

#include <channels/service_class.h>
#include <vmm/paging.h>

extern const struct sv_service_class cli_paging_class; /* for the node */
extern const struct sv_vmm_paging cli_paging_hooks;    /* for the VM process */

#endif
