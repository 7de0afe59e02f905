/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The I/O APIC of a split irqchip: 24 pins whose redirection entries become messages. A level
 * interrupt is in service (remote IRR) until KVM reports the EOI of its vector.
 */
#include "irq.h"

#include <string.h>

#define REG_SELECT 0x00u
#define REG_WINDOW 0x10u
#define REG_EOI 0x40u

#define IDX_ID 0x00u
#define IDX_VERSION 0x01u
#define IDX_ARBITRATION 0x02u
#define IDX_ENTRIES 0x10u
#define VERSION_WITH_EOI 0x20u

#define RTE_VECTOR 0xffull
#define RTE_DELIVERY(e) ((e) >> 8 & 7)
#define RTE_LOGICAL (1ull << 11)
#define RTE_STATUS (1ull << 12)
#define RTE_REMOTE_IRR (1ull << 14)
#define RTE_LEVEL (1ull << 15)
#define RTE_MASKED (1ull << 16)
#define RTE_READ_ONLY (RTE_STATUS | RTE_REMOTE_IRR)
#define RTE_DESTINATION(e) ((e) >> 56)
#define RTE_DESTINATION_EXT(e) ((e) >> 49 & 0x7f) /* bits 14 to 8 of the destination */

#define DELIVERY_LOWEST 1u
#define DELIVERY_EXTINT 7u
#define FIRST_VECTOR 16u

#define MSI_BASE 0xfee00000ull
#define MSI_LOGICAL (1ull << 2)
#define MSI_REDIRECTION (1ull << 3)
#define MSI_ASSERT (1u << 14)
#define MSI_LEVEL (1u << 15)

void sv_ioapic_reset(struct sv_ioapic *io, uint8_t id)
{
	memset(io, 0, sizeof(*io));
	io->id = (uint32_t)id << 24;
	for (unsigned pin = 0; pin < GSI_IOAPIC_PINS; pin++)
		io->entry[pin] = RTE_MASKED;
}

bool sv_ioapic_message(const struct sv_ioapic *io, unsigned pin, uint64_t *address,
	uint32_t *data)
{
	uint64_t e = io->entry[pin];
	unsigned delivery = RTE_DELIVERY(e);

	if ((e & RTE_MASKED) || delivery == DELIVERY_EXTINT || (e & RTE_VECTOR) < FIRST_VECTOR)
		return false;
	*address = MSI_BASE | RTE_DESTINATION(e) << 12 | RTE_DESTINATION_EXT(e) << 5;
	if (e & RTE_LOGICAL)
		*address |= MSI_LOGICAL;
	if (delivery == DELIVERY_LOWEST)
		*address |= MSI_REDIRECTION;
	*data = (uint32_t)(e & RTE_VECTOR) | delivery << 8 | MSI_ASSERT;
	if (e & RTE_LEVEL)
		*data |= MSI_LEVEL;
	return true;
}

static void deliver(struct sv_irq *irq, unsigned pin)
{
	uint64_t address;
	uint32_t data;

	if (!sv_ioapic_message(&irq->ioapic, pin, &address, &data))
		return;
	if (irq->ioapic.entry[pin] & RTE_LEVEL)
		irq->ioapic.entry[pin] |= RTE_REMOTE_IRR;
	sv_irq_deliver_locked(irq, address, data);
}

/* A level pin that is asserted and not in service interrupts now. */
static void service_level(struct sv_irq *irq, unsigned pin)
{
	uint64_t e = irq->ioapic.entry[pin];

	if (irq->ioapic.level[pin] && (e & RTE_LEVEL) && !(e & RTE_REMOTE_IRR))
		deliver(irq, pin);
}

/* An edge that arrives while the pin is masked is lost, as in the chip. */
void sv_ioapic_line_locked(struct sv_irq *irq, unsigned pin, bool level)
{
	bool rises;

	if (pin >= GSI_IOAPIC_PINS)
		return;
	rises = level && !irq->ioapic.level[pin];
	irq->ioapic.level[pin] = level;
	if (irq->ioapic.entry[pin] & RTE_LEVEL)
		service_level(irq, pin);
	else if (rises)
		deliver(irq, pin);
}

void sv_ioapic_eoi_locked(struct sv_irq *irq, uint8_t vector)
{
	for (unsigned pin = 0; pin < GSI_IOAPIC_PINS; pin++) {
		uint64_t *e = &irq->ioapic.entry[pin];

		if (!(*e & RTE_LEVEL) || !(*e & RTE_REMOTE_IRR) || (*e & RTE_VECTOR) != vector)
			continue;
		*e &= ~RTE_REMOTE_IRR;
		service_level(irq, pin);
	}
}

static uint32_t read_index(const struct sv_ioapic *io)
{
	unsigned i = io->select - IDX_ENTRIES;

	if (io->select == IDX_ID || io->select == IDX_ARBITRATION)
		return io->id;
	if (io->select == IDX_VERSION)
		return VERSION_WITH_EOI | (GSI_IOAPIC_PINS - 1) << 16;
	if (io->select >= IDX_ENTRIES && i < 2 * GSI_IOAPIC_PINS)
		return (uint32_t)(io->entry[i / 2] >> (i % 2 * 32));
	return 0;
}

static void write_entry(struct sv_irq *irq, unsigned pin, unsigned half, uint32_t value)
{
	uint64_t *e = &irq->ioapic.entry[pin], old = *e;

	if (half)
		*e = (old & 0xffffffffull) | (uint64_t)value << 32;
	else
		*e = (old & ~0xffffffffull & ~RTE_READ_ONLY) | (value & ~RTE_READ_ONLY) |
		     (old & RTE_READ_ONLY);
	if (!(*e & RTE_LEVEL))
		*e &= ~RTE_REMOTE_IRR;
	if (*e == old)
		return;
	/* A masked entry that stays masked has no route: half-written ones cost nothing. */
	if (!(*e & old & RTE_MASKED))
		sv_irq_update_locked(irq);
	service_level(irq, pin);
}

static void write_index(struct sv_irq *irq, uint32_t value)
{
	struct sv_ioapic *io = &irq->ioapic;
	unsigned i = io->select - IDX_ENTRIES;

	if (io->select == IDX_ID)
		io->id = value & 0xff000000u;
	else if (io->select >= IDX_ENTRIES && i < 2 * GSI_IOAPIC_PINS)
		write_entry(irq, i / 2, i % 2, value);
}

static void ioapic_read(void *dev, uint64_t off, void *data, unsigned len)
{
	struct sv_irq *irq = dev;
	uint32_t v = 0;

	pthread_mutex_lock(&irq->lock);
	if (off == REG_SELECT)
		v = irq->ioapic.select;
	else if (off == REG_WINDOW)
		v = read_index(&irq->ioapic);
	pthread_mutex_unlock(&irq->lock);
	memset(data, 0, len);
	memcpy(data, &v, len < sizeof(v) ? len : sizeof(v));
}

static void ioapic_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct sv_irq *irq = dev;
	uint32_t v = 0;

	memcpy(&v, data, len < sizeof(v) ? len : sizeof(v));
	pthread_mutex_lock(&irq->lock);
	if (off == REG_SELECT)
		irq->ioapic.select = v & 0xff;
	else if (off == REG_WINDOW && len == sizeof(v))
		write_index(irq, v);
	else if (off == REG_EOI)
		sv_ioapic_eoi_locked(irq, (uint8_t)v);
	pthread_mutex_unlock(&irq->lock);
}

const struct sv_bus_ops sv_ioapic_ops = {ioapic_read, ioapic_write};
