/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pager: guest memory that comes from a file or another process while the guest runs.
 *
 * The VM process registers its mapping of RAM for missing pages and passes the userfaultfd; a poller
 * of the sidecore reads the faults, asks the source, and inserts what arrives with UFFDIO_COPY: a
 * page appears in the memfd whole or not at all, and every other mapping of the memfd has it, too.
 * Before it has arrived another mapping would show zeroes; who has one asks struct sv_residency
 * first. docs/pager.md argues why it is so.
 */
#ifndef PAGER_PAGER_H
#define PAGER_PAGER_H

#include <channels/pager_class.h>

extern const struct sv_pager_class sv_pager_class;

#endif
