/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One PCI bus of plain functions behind a host bridge: configuration by ECAM and by 0xcf8/0xcfc,
 * memory BARs, which the guest may move within the two windows of layout.h.
 *
 * The list of functions is constant once the guest runs. A function's lock covers its
 * configuration space and its device; the place of a BAR is also published for the lookup, which
 * takes no lock.
 */
#ifndef CORE_VMM_PCI_H
#define CORE_VMM_PCI_H

#include <pthread.h>

#include "vm.h"

#define PCI_CONFIG_BYTES 256u
#define PCI_FUNCTIONS 256u /* devfn */
#define PCI_BARS 6u

struct sv_pci_function;

/* All called with the function's lock held, on vCPU threads. Any may be NULL. */
struct sv_pci_ops {
	void (*bar_read)(struct sv_pci_function *f, unsigned bar, uint64_t off, void *data,
		unsigned len);
	void (*bar_write)(struct sv_pci_function *f, unsigned bar, uint64_t off, const void *data,
		unsigned len);
	/* The BAR now answers at @gpa, and no longer at @old. 0: nowhere. */
	void (*bar_moved)(struct sv_pci_function *f, unsigned bar, uint64_t old, uint64_t gpa);
	/* Before configuration bytes are read; after they were written (read-only bits kept). */
	void (*config_read)(struct sv_pci_function *f, unsigned off, unsigned len);
	void (*config_written)(struct sv_pci_function *f, unsigned off, unsigned len);
};

struct sv_pci_function {
	const struct sv_pci_ops *ops;
	struct sv_pci *host;
	pthread_mutex_t lock;
	uint8_t config[PCI_CONFIG_BYTES];
	uint8_t writable[PCI_CONFIG_BYTES]; /* bits the guest may write */
	unsigned capability_end;	    /* where the next capability goes */
	struct {
		uint64_t bytes; /* power of two, 0: none */
		uint64_t gpa;	/* where it answers, 0: nowhere (relaxed; written under the lock) */
	} bar[PCI_BARS];
};

struct sv_pci {
	struct sv_vm *vm;
	struct sv_pci_function bridge;
	struct sv_pci_function *function[PCI_FUNCTIONS];
	unsigned slots;	  /* devfn / 8 from here on are free */
	uint64_t next_32; /* where the next BAR goes */
	uint32_t address; /* of 0xcf8 (relaxed) */
};

/* Add the bus and its ranges to the VM. Return: 0, or -errno with a sentence. */
int sv_pci_create(struct sv_pci *pci, struct sv_vm *vm, struct sv_error *err);
void sv_pci_destroy(struct sv_pci *pci);

/* Begin a function: header type 0, no BAR. The caller then adds BARs and capabilities. */
struct sv_pci_id {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint8_t revision;
	uint32_t class_code; /* 24 bits */
};
void sv_pci_function_init(struct sv_pci_function *f, const struct sv_pci_id *id,
	const struct sv_pci_ops *ops);
/*
 * Room for a capability, read-only until the caller says otherwise; chained to the others.
 * Return: its offset. Running out of room is a bug of ours.
 */
unsigned sv_pci_add_capability(struct sv_pci_function *f, uint8_t id, unsigned bytes);
/* A 32-bit memory BAR; its address is given by sv_pci_plug(). @bytes: power of two. */
void sv_pci_add_bar(struct sv_pci_function *f, unsigned bar, uint64_t bytes);
/* Put it into the next free slot. Return: 0, -ENOSPC. */
int sv_pci_plug(struct sv_pci *pci, struct sv_pci_function *f);
/* End of sv_pci_function_init() and sv_pci_plug(). */
void sv_pci_unplug(struct sv_pci *pci, struct sv_pci_function *f);

bool sv_pci_bus_master(const struct sv_pci_function *f);

static inline uint16_t sv_get16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t sv_get32(const uint8_t *p)
{
	return sv_get16(p) | (uint32_t)sv_get16(p + 2) << 16;
}

static inline void sv_put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static inline void sv_put32(uint8_t *p, uint32_t v)
{
	sv_put16(p, (uint16_t)v);
	sv_put16(p + 2, (uint16_t)(v >> 16));
}

static inline uint64_t sv_get64(const uint8_t *p)
{
	return sv_get32(p) | (uint64_t)sv_get32(p + 4) << 32;
}

#endif
