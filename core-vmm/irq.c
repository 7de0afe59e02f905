/* SPDX-License-Identifier: BSD-3-Clause */
/* GSI routing: the table KVM has, rewritten whole whenever a route changes. */
#include "irq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "acpi_tables.h"

#define IOAPIC_MMIO_BYTES 0x1000u
#define PIC_PINS 16u
#define TABLE_ENTRIES (PIC_PINS + GSI_IOAPIC_PINS + IRQ_MSI_ROUTES)

/* --- KVM --------------------------------------------------------------------------------------- */

static int vm_ioctl(const struct sv_vm *vm, unsigned long request, const void *arg)
{
	return ioctl(vm->vm_fd, request, arg) < 0 ? -errno : 0;
}

static int kvm_create_split(struct sv_vm *vm, struct sv_error *err)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {GSI_IOAPIC_PINS}};
	int rc;

	if (vm->config->pit)
		return sv_fail(err, EINVAL,
			"--pit: the timer needs the interrupt controllers in the kernel; add "
			"`--irqchip full`");
	rc = vm_ioctl(vm, KVM_ENABLE_CAP, &cap);
	return rc < 0 ? sv_fail(err, -rc, "KVM cannot split its interrupt controllers: %s",
				strerror(-rc))
		      : 0;
}

static int kvm_create(struct sv_vm *vm, struct sv_error *err)
{
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	int rc;

	if (vm->config->irqchip == SV_IRQCHIP_SPLIT)
		return kvm_create_split(vm, err);
	rc = vm_ioctl(vm, KVM_CREATE_IRQCHIP, NULL);
	if (rc < 0)
		return sv_fail(err, -rc,
			"--irqchip full: KVM cannot create the interrupt controllers: %s",
			strerror(-rc));
	if (vm->config->pit)
		rc = vm_ioctl(vm, KVM_CREATE_PIT2, &pit);
	return rc < 0 ? sv_fail(err, -rc, "--pit: KVM cannot create the timer: %s", strerror(-rc)) : 0;
}

static int kvm_set_routing(struct sv_vm *vm, const struct kvm_irq_routing *table)
{
	return vm_ioctl(vm, KVM_SET_GSI_ROUTING, table);
}

static int kvm_irqfd(struct sv_vm *vm, unsigned gsi, int fd, bool bind)
{
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)fd, .gsi = gsi, .flags = bind ? 0 : KVM_IRQFD_FLAG_DEASSIGN};

	return vm_ioctl(vm, KVM_IRQFD, &irqfd);
}

static int kvm_signal_msi(struct sv_vm *vm, const struct kvm_msi *msi)
{
	return vm_ioctl(vm, KVM_SIGNAL_MSI, msi);
}

static int kvm_line(struct sv_vm *vm, unsigned gsi, bool level)
{
	struct kvm_irq_level l = {.irq = gsi, .level = level};

	return vm_ioctl(vm, KVM_IRQ_LINE, &l);
}

static int kvm_ioeventfd(struct sv_vm *vm, uint64_t gpa, unsigned len, int fd, bool bind)
{
	struct kvm_ioeventfd io = {.addr = gpa,
		.len = len,
		.fd = fd,
		.flags = bind ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN};

	return vm_ioctl(vm, KVM_IOEVENTFD, &io);
}

const struct sv_irq_ops sv_irq_kvm = {
	.create = kvm_create,
	.set_routing = kvm_set_routing,
	.irqfd = kvm_irqfd,
	.signal_msi = kvm_signal_msi,
	.line = kvm_line,
	.ioeventfd = kvm_ioeventfd,
};

/* --- messages ---------------------------------------------------------------------------------- */

#define MSI_WINDOW 0xfeeu /* bits 63 to 20 of every address that is one */
#define MSI_EXT_SHIFT 5	  /* bits 11 to 5: bits 14 to 8 of the destination */
#define MSI_EXT_MASK 0x7full

static bool is_msi(uint64_t address)
{
	return address >> 20 == MSI_WINDOW;
}

/* As KVM takes it: the upper bits of a destination beyond 255 lie in the upper word. */
static void split_address(const struct sv_irq *irq, uint64_t address, uint32_t *lo, uint32_t *hi)
{
	uint64_t ext = address >> MSI_EXT_SHIFT & MSI_EXT_MASK;

	*lo = (uint32_t)address;
	*hi = 0;
	if (irq->vm->caps.x2apic_api) {
		*lo &= ~(uint32_t)(MSI_EXT_MASK << MSI_EXT_SHIFT);
		*hi = (uint32_t)ext << 8;
	}
}

void sv_irq_deliver_locked(struct sv_irq *irq, uint64_t address, uint32_t data)
{
	struct kvm_msi msi = {.data = data};

	split_address(irq, address, &msi.address_lo, &msi.address_hi);
	irq->ops->signal_msi(irq->vm, &msi);
}

/* --- the table --------------------------------------------------------------------------------- */

static void add_msi(struct sv_irq *irq, unsigned gsi, uint64_t address, uint32_t data)
{
	struct kvm_irq_routing_entry *e = &irq->table->entries[irq->table->nr++];

	*e = (struct kvm_irq_routing_entry){.gsi = gsi, .type = KVM_IRQ_ROUTING_MSI};
	split_address(irq, address, &e->u.msi.address_lo, &e->u.msi.address_hi);
	e->u.msi.data = data;
}

static void add_pin(struct sv_irq *irq, unsigned gsi, unsigned chip, unsigned pin)
{
	irq->table->entries[irq->table->nr++] = (struct kvm_irq_routing_entry){.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = {.irqchip = chip, .pin = pin}};
}

/* Pins of our I/O APIC are in the table so that KVM knows which vectors it reports the EOI of. */
static void add_lines(struct sv_irq *irq)
{
	uint64_t address;
	uint32_t data;

	for (unsigned pin = 0; pin < GSI_IOAPIC_PINS; pin++) {
		if (irq->split) {
			if (sv_ioapic_message(&irq->ioapic, pin, &address, &data))
				add_msi(irq, pin, address, data);
			continue;
		}
		if (pin < PIC_PINS)
			add_pin(irq, pin, pin < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
				pin % 8);
		add_pin(irq, pin, KVM_IRQCHIP_IOAPIC, pin);
	}
}

int sv_irq_update_locked(struct sv_irq *irq)
{
	irq->table->nr = 0;
	add_lines(irq);
	for (unsigned i = 0; i < irq->msi_end; i++)
		if (irq->msi[i].valid)
			add_msi(irq, GSI_MSI_FIRST + i, irq->msi[i].address, irq->msi[i].data);
	return irq->ops->set_routing(irq->vm, irq->table);
}

/* --- for devices ------------------------------------------------------------------------------- */

int sv_irq_msi_alloc(struct sv_vm *vm)
{
	struct sv_irq *irq = vm->irq;
	int gsi = -ENOSPC;

	pthread_mutex_lock(&irq->lock);
	for (unsigned i = 0; i < IRQ_MSI_ROUTES && gsi < 0; i++) {
		if (irq->msi[i].used)
			continue;
		irq->msi[i].used = true;
		if (i >= irq->msi_end)
			irq->msi_end = i + 1;
		gsi = (int)(GSI_MSI_FIRST + i);
	}
	pthread_mutex_unlock(&irq->lock);
	return gsi;
}

void sv_irq_msi_free(struct sv_vm *vm, int gsi)
{
	struct sv_irq *irq = vm->irq;
	unsigned i = (unsigned)gsi - GSI_MSI_FIRST;

	pthread_mutex_lock(&irq->lock);
	SV_BUG_ON(i >= IRQ_MSI_ROUTES || !irq->msi[i].used);
	irq->msi[i].used = false;
	if (irq->msi[i].valid) {
		irq->msi[i].valid = false;
		sv_irq_update_locked(irq);
	}
	pthread_mutex_unlock(&irq->lock);
}

/* An address that is no MSI has no route: the guest's write would go nowhere. */
int sv_irq_msi_route(struct sv_vm *vm, int gsi, uint64_t address, uint32_t data)
{
	struct sv_irq *irq = vm->irq;
	unsigned i = (unsigned)gsi - GSI_MSI_FIRST;
	bool valid = is_msi(address);
	int rc = 0;

	pthread_mutex_lock(&irq->lock);
	SV_BUG_ON(i >= IRQ_MSI_ROUTES || !irq->msi[i].used);
	if (valid != irq->msi[i].valid || address != irq->msi[i].address ||
		data != irq->msi[i].data) {
		irq->msi[i].valid = valid;
		irq->msi[i].address = address;
		irq->msi[i].data = data;
		rc = sv_irq_update_locked(irq);
	}
	pthread_mutex_unlock(&irq->lock);
	return rc;
}

int sv_irq_bind(struct sv_vm *vm, int gsi, int eventfd, bool bind)
{
	return vm->irq->ops->irqfd(vm, (unsigned)gsi, eventfd, bind);
}

int sv_irq_ioeventfd(struct sv_vm *vm, uint64_t gpa, unsigned len, int fd, bool bind)
{
	return vm->irq->ops->ioeventfd(vm, gpa, len, fd, bind);
}

void sv_irq_line(struct sv_vm *vm, unsigned gsi, bool level)
{
	struct sv_irq *irq = vm->irq;

	if (!irq->split) {
		irq->ops->line(vm, gsi, level);
		return;
	}
	pthread_mutex_lock(&irq->lock);
	sv_ioapic_line_locked(irq, gsi, level);
	pthread_mutex_unlock(&irq->lock);
}

void sv_irq_eoi(struct sv_vm *vm, uint8_t vector)
{
	struct sv_irq *irq = vm->irq;

	if (!irq->split)
		return;
	pthread_mutex_lock(&irq->lock);
	sv_ioapic_eoi_locked(irq, vector);
	pthread_mutex_unlock(&irq->lock);
}

/* --- life -------------------------------------------------------------------------------------- */

int sv_irq_create_with(struct sv_vm *vm, const struct sv_irq_ops *ops, struct sv_error *err)
{
	struct sv_irq *irq = calloc(1, sizeof(*irq));
	int rc;

	if (irq)
		irq->table = calloc(1, sizeof(*irq->table) +
					       TABLE_ENTRIES * sizeof(irq->table->entries[0]));
	if (!irq || !irq->table) {
		free(irq);
		return sv_fail(err, ENOMEM, "out of memory");
	}
	irq->vm = vm;
	irq->ops = ops;
	irq->split = vm->config->irqchip == SV_IRQCHIP_SPLIT;
	pthread_mutex_init(&irq->lock, NULL);
	sv_ioapic_reset(&irq->ioapic, sv_ioapic_id(vm));
	vm->irq = irq;
	rc = ops->create(vm, err);
	/* Split: every pin is masked, there is nothing to route, and telling KVM so takes milliseconds. */
	if (rc == 0 && !irq->split) {
		rc = sv_irq_update_locked(irq);
		if (rc < 0)
			sv_fail(err, -rc, "KVM refuses the interrupt routes: %s", strerror(-rc));
	}
	if (rc == 0 && irq->split) {
		rc = sv_bus_add(&vm->mmio, LAYOUT_IOAPIC, IOAPIC_MMIO_BYTES, &sv_ioapic_ops, irq);
		if (rc < 0)
			sv_fail(err, -rc, "the address of the I/O APIC is taken");
	}
	if (rc < 0)
		sv_irq_destroy(vm);
	return rc;
}

int sv_irq_create(struct sv_vm *vm, struct sv_error *err)
{
	return sv_irq_create_with(vm, &sv_irq_kvm, err);
}

void sv_irq_destroy(struct sv_vm *vm)
{
	if (!vm->irq)
		return;
	pthread_mutex_destroy(&vm->irq->lock);
	free(vm->irq->table);
	free(vm->irq);
	vm->irq = NULL;
}
