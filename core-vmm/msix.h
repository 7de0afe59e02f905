/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MSI-X of a PCI function: every vector has an eventfd, which whoever wants to interrupt signals,
 * and a GSI. A vector that is enabled and unmasked has its eventfd bound to the GSI in KVM; one
 * that is not keeps what arrives in the eventfd, which is its pending bit, and KVM delivers it
 * when the eventfd is bound again.
 *
 * Context: all but create and destroy under the function's lock.
 */
#ifndef CORE_VMM_MSIX_H
#define CORE_VMM_MSIX_H

#include "pci.h"

#define MSIX_VECTORS 64u
#define MSIX_ENTRY_BYTES 16u

struct sv_msix_vector {
	int fd, gsi;
	bool bound;
	uint32_t word[4]; /* address low and high, data, control */
};

struct sv_msix {
	struct sv_vm *vm;
	struct sv_pci_function *f;
	unsigned capability, n;
	struct sv_msix_vector vector[MSIX_VECTORS];
};

/*
 * Add the capability and make @n eventfds; table and pending bits lie in @bar at @table and @pba.
 * Return: 0, or -errno with a sentence.
 */
int sv_msix_create(struct sv_msix *m, struct sv_vm *vm, struct sv_pci_function *f, unsigned n,
	unsigned bar, uint32_t table, uint32_t pba, struct sv_error *err);
void sv_msix_destroy(struct sv_msix *m);

/* Accesses of the guest; @off from the start of the table or the pending bits. */
void sv_msix_table_read(const struct sv_msix *m, uint64_t off, void *data, unsigned len);
void sv_msix_table_write(struct sv_msix *m, uint64_t off, const void *data, unsigned len);
void sv_msix_pba_read(const struct sv_msix *m, uint64_t off, void *data, unsigned len);
/* Command or message control may have changed. */
void sv_msix_update(struct sv_msix *m);

/* The eventfd of a vector; -1: there is no such vector. */
int sv_msix_fd(const struct sv_msix *m, unsigned vector);

#endif
