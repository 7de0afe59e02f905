/* SPDX-License-Identifier: BSD-3-Clause */
/* The ports and pages that a sidevisor guest may use (sidevisor/platform.h). */
#include "platform.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <sidevisor/platform.h>

#include "irq.h"

#define PORTS (SV_PORT_YIELD + 4 - SV_PORT_EXIT)
#define PAGE_BYTES 4096u
#define KICK_BYTES 4u

struct sv_platform {
	struct sv_vm *vm;
	struct sv_output *out;
	int kick; /* nobody waits for it */
};

static void none_read(void *dev, uint64_t off, void *data, unsigned len)
{
	(void)dev;
	(void)off;
	memset(data, 0, len);
}

static void none_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	(void)dev;
	(void)off;
	(void)data;
	(void)len;
}

static void ports_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct sv_platform *p = dev;
	uint32_t v = 0;

	memcpy(&v, data, len < sizeof(v) ? len : sizeof(v));
	switch (SV_PORT_EXIT + off) {
	case SV_PORT_EXIT:
		sv_vm_end(p->vm, SV_END_EXIT, (int)v, NULL);
		break;
	case SV_PORT_CRASH:
		sv_vm_end(p->vm, SV_END_CRASH, (int)v, NULL);
		break;
	case SV_PORT_EARLY:
		sv_output_wait(p->out);
		sv_output_put(p->out, data, 1);
		break;
	case SV_PORT_BENCH:
		if (p->vm->bench_hook)
			p->vm->bench_hook(p->vm, v);
		break;
	case SV_PORT_YIELD:
		sched_yield();
		break;
	default: /* SV_PORT_NOP and what lies between */
		break;
	}
}

static const struct sv_bus_ops ports_ops = {none_read, ports_write};
static const struct sv_bus_ops none_ops = {none_read, none_write};

static int add_ranges(struct sv_platform *p)
{
	struct sv_vm *vm = p->vm;
	int rc = sv_bus_add(&vm->pio, SV_PORT_EXIT, PORTS, &ports_ops, p);

	if (rc == 0)
		rc = sv_bus_add(&vm->mmio, SV_MMIO_NOP_GPA, PAGE_BYTES, &none_ops, p);
	if (rc == 0)
		rc = sv_bus_add(&vm->mmio, SV_MMIO_KICK_GPA, PAGE_BYTES, &none_ops, p);
	return rc;
}

struct sv_platform *sv_platform_create(struct sv_vm *vm, struct sv_output *out,
	struct sv_error *err)
{
	struct sv_platform *p = calloc(1, sizeof(*p));
	int rc;

	if (!p) {
		sv_fail(err, ENOMEM, "out of memory");
		return NULL;
	}
	*p = (struct sv_platform){.vm = vm, .out = out};
	p->kick = -1;
	rc = add_ranges(p);
	/* Only measurements kick it, and KVM takes milliseconds to register an ioeventfd. */
	if (rc == 0 && vm->bench_hook) {
		p->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		rc = p->kick < 0 ? -errno : 0;
	}
	if (rc == 0 && p->kick >= 0)
		rc = sv_irq_ioeventfd(vm, SV_MMIO_KICK_GPA, KICK_BYTES, p->kick, true);
	if (rc < 0) {
		sv_fail(err, -rc, "the ports and pages of a sidevisor guest: %s", strerror(-rc));
		if (p->kick >= 0)
			close(p->kick);
		free(p);
		return NULL;
	}
	return p;
}

void sv_platform_destroy(struct sv_platform *p)
{
	if (p->kick >= 0) {
		sv_irq_ioeventfd(p->vm, SV_MMIO_KICK_GPA, KICK_BYTES, p->kick, false);
		close(p->kick);
	}
	free(p);
}
