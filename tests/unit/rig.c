/* SPDX-License-Identifier: BSD-3-Clause */
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <criterion/criterion.h>

static struct rig *rig;
static pthread_mutex_t notes_lock = PTHREAD_MUTEX_INITIALIZER; /* vCPU threads take notes together */

/* --- what KVM would be asked --------------------------------------------------------------------- */

static int note_create(struct sv_vm *vm, struct sv_error *err)
{
	(void)vm;
	return rig->refuse ? sv_fail(err, -rig->refuse, "refused on request") : 0;
}

static int note_routing(struct sv_vm *vm, const struct kvm_irq_routing *table)
{
	(void)vm;
	cr_assert(table->nr <= RIG_NOTES);
	if (rig->refuse)
		return rig->refuse;
	rig->nroute = table->nr;
	memcpy(rig->route, table->entries, table->nr * sizeof(table->entries[0]));
	rig->route_changes++;
	return 0;
}

static int irqfd_locked(unsigned gsi, int fd, bool bind)
{
	if (bind && rig->refuse)
		return rig->refuse;
	if (bind) {
		cr_assert(rig->nirqfd < RIG_NOTES);
		cr_assert_eq(rig_irqfd(rig, gsi), -1);
		rig->irqfd[rig->nirqfd].gsi = gsi;
		rig->irqfd[rig->nirqfd++].fd = fd;
		return 0;
	}
	for (unsigned i = 0; i < rig->nirqfd; i++)
		if (rig->irqfd[i].gsi == gsi && rig->irqfd[i].fd == fd) {
			rig->irqfd[i] = rig->irqfd[--rig->nirqfd];
			return 0;
		}
	return -ENOENT;
}

static int note_irqfd(struct sv_vm *vm, unsigned gsi, int fd, bool bind)
{
	int rc;

	(void)vm;
	pthread_mutex_lock(&notes_lock);
	rc = irqfd_locked(gsi, fd, bind);
	pthread_mutex_unlock(&notes_lock);
	return rc;
}

static int note_msi(struct sv_vm *vm, const struct kvm_msi *msi)
{
	(void)vm;
	if (rig->nmsi < RIG_NOTES)
		rig->msi[rig->nmsi++] = *msi;
	return 0;
}

static int note_line(struct sv_vm *vm, unsigned gsi, bool level)
{
	(void)vm;
	(void)gsi;
	(void)level;
	return 0;
}

static int ioeventfd_locked(uint64_t gpa, unsigned len, int fd, bool bind)
{
	if (bind && rig->refuse)
		return rig->refuse;
	if (bind && rig_kick(rig, gpa) >= 0)
		return -EEXIST;
	if (bind) {
		cr_assert(rig->nkick < RIG_NOTES);
		rig->kick[rig->nkick].gpa = gpa;
		rig->kick[rig->nkick].len = len;
		rig->kick[rig->nkick++].fd = fd;
		return 0;
	}
	for (unsigned i = 0; i < rig->nkick; i++)
		if (rig->kick[i].gpa == gpa && rig->kick[i].fd == fd) {
			rig->kick[i] = rig->kick[--rig->nkick];
			return 0;
		}
	return -ENOENT;
}

static int note_ioeventfd(struct sv_vm *vm, uint64_t gpa, unsigned len, int fd, bool bind)
{
	int rc;

	(void)vm;
	pthread_mutex_lock(&notes_lock);
	rc = ioeventfd_locked(gpa, len, fd, bind);
	pthread_mutex_unlock(&notes_lock);
	return rc;
}

static const struct sv_irq_ops notes = {
	note_create, note_routing, note_irqfd, note_msi, note_line, note_ioeventfd};

/* --- life ------------------------------------------------------------------------------------------ */

static void set_ram(struct rig *r)
{
	uint8_t *p;

	r->ram_fd = memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	cr_assert(r->ram_fd >= 0);
	cr_assert_eq(ftruncate(r->ram_fd, RIG_RAM), 0);
	fcntl(r->ram_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
	p = mmap(NULL, RIG_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, r->ram_fd, 0);
	cr_assert(p != MAP_FAILED);
	r->vm.gmem.n = 1;
	r->vm.gmem.region[0] = (struct sv_gmem_region){.gpa = 0,
		.size = RIG_RAM,
		.host = p,
		.fd = r->ram_fd,
		.user_addr = (uintptr_t)p};
	r->vm.ram_low_bytes = RIG_RAM;
}

struct rig *rig_new(void)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct sv_error err;

	cr_assert(r && !rig);
	rig = r;
	r->config.vcpus = 2;
	r->config.topology = (struct sv_topology){.sockets = 1, .dies = 1, .cores = 2, .threads = 1};
	r->config.console = SV_CONSOLE_SERIAL_ONLY;
	r->config.rtc = true;
	r->vm.config = &r->config;
	r->vm.nvcpus = 2;
	r->vm.kvm_fd = r->vm.vm_fd = r->vm.console_fd = -1;
	r->vm.caps.x2apic_api = true;
	r->vm.end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	set_ram(r);
	cr_assert_eq(sv_irq_create_with(&r->vm, &notes, &err), 0);
	return r;
}

void rig_free(struct rig *r)
{
	sv_irq_destroy(&r->vm);
	munmap(r->vm.gmem.region[0].host, RIG_RAM);
	close(r->ram_fd);
	close(r->vm.end_fd);
	free(r);
	rig = NULL;
}

/* --- accesses -------------------------------------------------------------------------------------- */

uint64_t rig_in(struct rig *r, uint16_t port, unsigned len)
{
	uint64_t v = 0;

	sv_bus_access(&r->vm.pio, port, &v, len, false);
	return v;
}

void rig_out(struct rig *r, uint16_t port, uint64_t value, unsigned len)
{
	sv_bus_access(&r->vm.pio, port, &value, len, true);
}

uint64_t rig_read(struct rig *r, uint64_t gpa, unsigned len)
{
	uint64_t v = 0;

	sv_bus_access(&r->vm.mmio, gpa, &v, len, false);
	return v;
}

void rig_write(struct rig *r, uint64_t gpa, uint64_t value, unsigned len)
{
	sv_bus_access(&r->vm.mmio, gpa, &value, len, true);
}

void *rig_ptr(struct rig *r, uint64_t gpa)
{
	return sv_vm_ptr(&r->vm, gpa, 1);
}

uint32_t rig_config(struct rig *r, unsigned slot, unsigned off, unsigned len)
{
	return (uint32_t)rig_read(r, LAYOUT_ECAM + slot * 0x8000ull + off, len);
}

void rig_config_write(struct rig *r, unsigned slot, unsigned off, uint32_t value, unsigned len)
{
	rig_write(r, LAYOUT_ECAM + slot * 0x8000ull + off, value, len);
}

/* --- notes ----------------------------------------------------------------------------------------- */

const struct kvm_irq_routing_entry *rig_route(const struct rig *r, unsigned gsi)
{
	for (unsigned i = 0; i < r->nroute; i++)
		if (r->route[i].gsi == gsi)
			return &r->route[i];
	return NULL;
}

int rig_irqfd(const struct rig *r, unsigned gsi)
{
	for (unsigned i = 0; i < r->nirqfd; i++)
		if (r->irqfd[i].gsi == gsi)
			return r->irqfd[i].fd;
	return -1;
}

int rig_kick(const struct rig *r, uint64_t gpa)
{
	for (unsigned i = 0; i < r->nkick; i++)
		if (r->kick[i].gpa == gpa)
			return r->kick[i].fd;
	return -1;
}

unsigned rig_count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	cr_assert(d != NULL);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

unsigned rig_count_maps(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned n = 0;
	int c;

	cr_assert(f != NULL);
	while ((c = fgetc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

int rig_capture_stdout(bool on)
{
	static int saved = -1;
	int pipes[2];

	if (!on) {
		dup2(saved, 1);
		close(saved);
		return -1;
	}
	fflush(stdout);
	cr_assert_eq(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
	saved = dup(1);
	dup2(pipes[1], 1);
	close(pipes[1]);
	return pipes[0];
}
