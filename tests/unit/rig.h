/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM without KVM for tests of devices: RAM in a memfd, and interrupt operations that only take
 * notes. Accesses of the guest go through the buses, as those of a vCPU would.
 */
#ifndef TESTS_RIG_H
#define TESTS_RIG_H

#include "devices.h"
#include "irq.h"
#include "layout.h"

#define RIG_RAM (8ull << 20)
#define RIG_NOTES 256u

struct rig {
	struct sv_vm_config config;
	struct sv_vm vm;
	int ram_fd;

	/* What was asked of KVM, and is in force now. */
	struct {
		unsigned gsi;
		int fd;
	} irqfd[RIG_NOTES];
	unsigned nirqfd;
	struct {
		uint64_t gpa;
		unsigned len;
		int fd;
	} kick[RIG_NOTES];
	unsigned nkick;
	struct kvm_irq_routing_entry route[RIG_NOTES];
	unsigned nroute, route_changes;
	struct kvm_msi msi[RIG_NOTES]; /* in the order they were sent */
	unsigned nmsi;
	int refuse; /* -errno that every operation gives; 0: none */
};

/* A VM with an I/O APIC and no device. Only one at a time. */
struct rig *rig_new(void);
void rig_free(struct rig *r);

uint64_t rig_in(struct rig *r, uint16_t port, unsigned len);
void rig_out(struct rig *r, uint16_t port, uint64_t value, unsigned len);
uint64_t rig_read(struct rig *r, uint64_t gpa, unsigned len);
void rig_write(struct rig *r, uint64_t gpa, uint64_t value, unsigned len);
void *rig_ptr(struct rig *r, uint64_t gpa);

/* Configuration space of slot @slot. */
uint32_t rig_config(struct rig *r, unsigned slot, unsigned off, unsigned len);
void rig_config_write(struct rig *r, unsigned slot, unsigned off, uint32_t value, unsigned len);

/* The route of a GSI; NULL: none. The eventfd bound to it; -1: none. */
const struct kvm_irq_routing_entry *rig_route(const struct rig *r, unsigned gsi);
int rig_irqfd(const struct rig *r, unsigned gsi);
/* The eventfd of an address; -1: none. */
int rig_kick(const struct rig *r, uint64_t gpa);

/* Descriptors and mappings that this process has now. */
unsigned rig_count_fds(void);
unsigned rig_count_maps(void);

/* Redirect descriptor 1 into a pipe whose other end is returned; -1 gives the old one back. */
int rig_capture_stdout(bool on);

#endif
