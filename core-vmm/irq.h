/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupt routing, between irq.c, ioapic.c and the devices: what is asked of KVM goes through
 * sv_irq_ops, so that tests need no KVM.
 */
#ifndef CORE_VMM_IRQ_H
#define CORE_VMM_IRQ_H

#include <linux/kvm.h>
#include <pthread.h>

#include "devices.h"
#include "layout.h"

/* All return 0 or -errno. Context: any thread; they do not block. */
struct sv_irq_ops {
	int (*create)(struct sv_vm *vm, struct sv_error *err); /* with a sentence */
	int (*set_routing)(struct sv_vm *vm, const struct kvm_irq_routing *table);
	int (*irqfd)(struct sv_vm *vm, unsigned gsi, int fd, bool bind);
	int (*signal_msi)(struct sv_vm *vm, const struct kvm_msi *msi);
	int (*line)(struct sv_vm *vm, unsigned gsi, bool level);
	/* @len 0: a write of any length. */
	int (*ioeventfd)(struct sv_vm *vm, uint64_t gpa, unsigned len, int fd, bool bind);
};

extern const struct sv_irq_ops sv_irq_kvm;

/* A redirection entry is kept as the guest wrote it; delivery status and remote IRR are ours. */
struct sv_ioapic {
	uint32_t select, id;
	uint64_t entry[GSI_IOAPIC_PINS];
	bool level[GSI_IOAPIC_PINS]; /* the wire */
};

#define IRQ_MSI_ROUTES 1024u

struct sv_irq {
	struct sv_vm *vm;
	const struct sv_irq_ops *ops;
	bool split;
	pthread_mutex_t lock; /* all below */
	struct sv_ioapic ioapic;
	struct {
		bool used, valid;
		uint32_t data;
		uint64_t address;
	} msi[IRQ_MSI_ROUTES]; /* GSI_MSI_FIRST + index */
	unsigned msi_end;      /* routes from here on were never used */
	struct kvm_irq_routing *table;
};

/* sv_irq_create() with ops of the caller's. */
int sv_irq_create_with(struct sv_vm *vm, const struct sv_irq_ops *ops, struct sv_error *err);

/* An ioeventfd at an MMIO address. @len 0: any length. Return: 0 or -errno. */
int sv_irq_ioeventfd(struct sv_vm *vm, uint64_t gpa, unsigned len, int fd, bool bind);

/* For ioapic.c, with irq->lock held. */
int sv_irq_update_locked(struct sv_irq *irq);
void sv_irq_deliver_locked(struct sv_irq *irq, uint64_t address, uint32_t data);

/* --- ioapic.c -------------------------------------------------------------------------------- */

extern const struct sv_bus_ops sv_ioapic_ops; /* device: struct sv_irq */

void sv_ioapic_reset(struct sv_ioapic *io, uint8_t id);
/* The message that pin @pin sends. Return: false while it sends none. */
bool sv_ioapic_message(const struct sv_ioapic *io, unsigned pin, uint64_t *address,
	uint32_t *data);
void sv_ioapic_line_locked(struct sv_irq *irq, unsigned pin, bool level);
void sv_ioapic_eoi_locked(struct sv_irq *irq, uint8_t vector);

#endif
