/* SPDX-License-Identifier: BSD-3-Clause */
#include "msix.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices.h"

enum { WORD_LOW, WORD_HIGH, WORD_DATA, WORD_CONTROL };

#define CONTROL_MASKED 1u

static uint16_t message_control(const struct sv_msix *m)
{
	return sv_get16(m->f->config + m->capability + PCI_MSIX_FLAGS);
}

static bool wants(const struct sv_msix *m, const struct sv_msix_vector *v)
{
	uint16_t flags = message_control(m);

	return (flags & PCI_MSIX_FLAGS_ENABLE) && !(flags & PCI_MSIX_FLAGS_MASKALL) &&
	       !(v->word[WORD_CONTROL] & CONTROL_MASKED) && sv_pci_bus_master(m->f);
}

static void update_vector(struct sv_msix *m, struct sv_msix_vector *v)
{
	bool bind = wants(m, v);

	/* The message may be changed while the vector is masked; this is when it takes effect. */
	if (bind && sv_irq_msi_route(m->vm, v->gsi,
			    v->word[WORD_LOW] | (uint64_t)v->word[WORD_HIGH] << 32,
			    v->word[WORD_DATA]) < 0)
		bind = false;
	if (bind == v->bound)
		return;
	if (sv_irq_bind(m->vm, v->gsi, v->fd, bind) == 0 || !bind)
		v->bound = bind;
}

void sv_msix_update(struct sv_msix *m)
{
	for (unsigned i = 0; i < m->n; i++)
		update_vector(m, &m->vector[i]);
}

int sv_msix_fd(const struct sv_msix *m, unsigned vector)
{
	return vector < m->n ? m->vector[vector].fd : -1;
}

/* --- the guest's accesses ------------------------------------------------------------------------ */

static bool in_table(const struct sv_msix *m, uint64_t off, unsigned len)
{
	return (len == 4 || len == 8) && off % len == 0 && off / MSIX_ENTRY_BYTES < m->n;
}

void sv_msix_table_read(const struct sv_msix *m, uint64_t off, void *data, unsigned len)
{
	memset(data, 0, len);
	if (in_table(m, off, len))
		memcpy(data, &m->vector[off / MSIX_ENTRY_BYTES].word[off % MSIX_ENTRY_BYTES / 4],
			len);
}

void sv_msix_table_write(struct sv_msix *m, uint64_t off, const void *data, unsigned len)
{
	struct sv_msix_vector *v;

	if (!in_table(m, off, len))
		return;
	v = &m->vector[off / MSIX_ENTRY_BYTES];
	memcpy(&v->word[off % MSIX_ENTRY_BYTES / 4], data, len);
	v->word[WORD_LOW] &= ~3u;
	v->word[WORD_CONTROL] &= CONTROL_MASKED;
	update_vector(m, v);
}

static bool pending(const struct sv_msix_vector *v)
{
	struct pollfd p = {.fd = v->fd, .events = POLLIN};

	return !v->bound && poll(&p, 1, 0) == 1;
}

void sv_msix_pba_read(const struct sv_msix *m, uint64_t off, void *data, unsigned len)
{
	uint64_t bits = 0;

	_Static_assert(MSIX_VECTORS <= 64, "one word of pending bits");
	for (unsigned i = 0; i < m->n; i++)
		bits |= (uint64_t)pending(&m->vector[i]) << i;
	memset(data, 0, len);
	if (off < sizeof(bits) && len <= sizeof(bits) - off)
		memcpy(data, (const uint8_t *)&bits + off, len);
}

/* --- life ---------------------------------------------------------------------------------------- */

static int open_vector(struct sv_msix *m, struct sv_msix_vector *v)
{
	*v = (struct sv_msix_vector){.fd = -1, .word[WORD_CONTROL] = CONTROL_MASKED};
	v->gsi = sv_irq_msi_alloc(m->vm);
	if (v->gsi < 0)
		return v->gsi;
	v->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->fd < 0) {
		int rc = -errno;

		sv_irq_msi_free(m->vm, v->gsi);
		return rc;
	}
	return 0;
}

int sv_msix_create(struct sv_msix *m, struct sv_vm *vm, struct sv_pci_function *f, unsigned n,
	unsigned bar, uint32_t table, uint32_t pba, struct sv_error *err)
{
	uint8_t *cap;
	int rc;

	SV_BUG_ON(n == 0 || n > MSIX_VECTORS);
	*m = (struct sv_msix){.vm = vm, .f = f};
	for (; m->n < n; m->n++) {
		rc = open_vector(m, &m->vector[m->n]);
		if (rc < 0) {
			sv_fail(err, -rc, "interrupt vector %u: %s", m->n, strerror(-rc));
			sv_msix_destroy(m);
			return rc;
		}
	}
	m->capability = sv_pci_add_capability(f, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
	cap = f->config + m->capability;
	sv_put16(cap + PCI_MSIX_FLAGS, (uint16_t)(n - 1));
	sv_put32(cap + PCI_MSIX_TABLE, table | bar);
	sv_put32(cap + PCI_MSIX_PBA, pba | bar);
	sv_put16(f->writable + m->capability + PCI_MSIX_FLAGS,
		PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	return 0;
}

void sv_msix_destroy(struct sv_msix *m)
{
	for (unsigned i = 0; i < m->n; i++) {
		struct sv_msix_vector *v = &m->vector[i];

		if (v->bound)
			sv_irq_bind(m->vm, v->gsi, v->fd, false);
		sv_irq_msi_free(m->vm, v->gsi);
		close(v->fd);
	}
	m->n = 0;
}
