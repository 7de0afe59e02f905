/* SPDX-License-Identifier: BSD-3-Clause */
/* Every device of the machine: an ordered table, and its mirror. */
#include "balloon.h"
#include "devices.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/disk.h>
#include <channels/control.h>

#include "foreign.h"
#include "links.h"
#include "pci.h"
#include "platform.h"
#include "steps.h"
#include "vhost_kernel.h"
#include "virtio_pci.h"

#define DEFAULT_QUEUES 8u
#define CONSOLE_QUEUES 2u
#define VSOCK_QUEUES 3u
#define DEFAULT_PAIRS 4u

struct disk {
	struct sv_disk image; /* keeps the lock for as long as the VM lives */
	char name[SV_CONTROL_NAME];
	struct sv_virtio_pci *virtio;
};

struct net {
	char name[SV_CONTROL_NAME];
	struct sv_virtio_pci *virtio;
};

struct sv_devices {
	struct sv_vm *vm;
	struct sv_links links;
	struct sv_balloon *balloon; /* NULL: none */
	struct sv_foreign *foreign; /* NULL: none */
	struct sv_bus pio, mmio; /* as they were before */
	struct sv_output *out;
	struct sv_platform *platform;
	struct sv_fwcfg *fwcfg;
	struct sv_serial *serial;
	struct sv_rtc *rtc;
	bool has_pci;
	struct sv_pci pci;
	struct sv_gmem ram; /* what devices may reach: guest memory without the channel window */
	unsigned ndisks;
	struct disk disk[SV_MAX_DISKS];
	unsigned nnets;
	struct net net[SV_MAX_NETS];
	struct sv_virtio_pci *console, *rng, *vsock;
};

/* --- steps ----------------------------------------------------------------------------------------- */

static int up_ranges(void *ctx, struct sv_error *err)
{
	struct sv_devices *d = ctx;

	(void)err;
	d->pio = d->vm->pio;
	d->mmio = d->vm->mmio;
	return 0;
}

static void down_ranges(void *ctx)
{
	struct sv_devices *d = ctx;

	d->vm->pio = d->pio;
	d->vm->mmio = d->mmio;
}

static int up_output(void *ctx, struct sv_error *err)
{
	struct sv_devices *d = ctx;
	bool none = d->vm->config->console == SV_CONSOLE_NONE;

	d->out = sv_output_create(none ? -1 : STDOUT_FILENO, err);
	return d->out ? 0 : -ENOMEM;
}

static void down_output(void *ctx)
{
	sv_output_destroy(((struct sv_devices *)ctx)->out);
}

static int up_platform(void *ctx, struct sv_error *err)
{
	struct sv_devices *d = ctx;

	if (!d->vm->lwk)
		return 0;
	d->platform = sv_platform_create(d->vm, d->out, err);
	return d->platform ? 0 : -EIO;
}

static void down_platform(void *ctx)
{
	struct sv_devices *d = ctx;

	if (d->platform)
		sv_platform_destroy(d->platform);
}

static int up_power(void *ctx, struct sv_error *err)
{
	return sv_power_create(((struct sv_devices *)ctx)->vm, err);
}

static int up_fwcfg(void *ctx, struct sv_error *err)
{
	struct sv_devices *d = ctx;

	if (!d->vm->config->fw_cfg)
		return 0;
	d->fwcfg = sv_fwcfg_create(d->vm, err);
	return d->fwcfg ? 0 : -EIO;
}

static void down_fwcfg(void *ctx)
{
	struct sv_devices *d = ctx;

	if (d->fwcfg)
		sv_fwcfg_destroy(d->fwcfg);
}

static int up_serial(void *ctx, struct sv_error *err)
{
	struct sv_devices *d = ctx;

	d->serial = sv_serial_create(d->vm, d->out, err);
	return d->serial ? 0 : -EIO;
}

static void down_serial(void *ctx)
{
	sv_serial_destroy(((struct sv_devices *)ctx)->serial);
}

static int up_rtc(void *ctx, struct sv_error *err)
{
	struct sv_devices *d = ctx;

	if (!d->vm->config->rtc)
		return 0;
	d->rtc = sv_rtc_create(d->vm, err);
	return d->rtc ? 0 : -EIO;
}

static void down_rtc(void *ctx)
{
	struct sv_devices *d = ctx;

	if (d->rtc)
		sv_rtc_destroy(d->rtc);
}

/* A sidevisor guest has channels instead of a bus. */
static int up_pci(void *ctx, struct sv_error *err)
{
	struct sv_devices *d = ctx;
	const struct sv_gmem *all = &d->vm->gmem;
	int rc;

	if (d->vm->lwk && d->vm->config->ndisks)
		return sv_fail(err, EINVAL,
			"disk %s: this kernel has channels and no PCI; leave out --disk",
			d->vm->config->disk[0].path);
	if (d->vm->lwk && d->vm->config->nnets)
		return sv_fail(err, EINVAL,
			"switch %s: this kernel has channels and no PCI; leave out --net",
			d->vm->config->net[0].at.sw);
	if (d->vm->lwk)
		return 0;
	for (unsigned i = 0; i < all->n; i++)
		if (!d->vm->window_bytes || all->region[i].gpa != d->vm->window_gpa)
			d->ram.region[d->ram.n++] = all->region[i];
	rc = sv_pci_create(&d->pci, d->vm, err);
	d->has_pci = rc == 0;
	return rc;
}

static void down_pci(void *ctx)
{
	struct sv_devices *d = ctx;

	if (d->has_pci)
		sv_pci_destroy(&d->pci);
}

/* --- virtio devices -------------------------------------------------------------------------------- */

static struct sv_virtio_pci *connect_device(struct sv_devices *d, const char *name,
	struct sv_control_device *ask, const int *fds, unsigned nfds, int *rc, struct sv_error *err)
{
	return sv_links_connect(&d->links, &d->pci, &d->ram, name, ask, fds, nfds, rc, err);
}

static unsigned queues_of(const struct sv_devices *d, const struct sv_disk_config *c)
{
	unsigned n = c->queues;

	if (!n)
		n = d->vm->nvcpus < DEFAULT_QUEUES ? d->vm->nvcpus : DEFAULT_QUEUES;
	return n < VIRTIO_PCI_QUEUES ? n : VIRTIO_PCI_QUEUES;
}

/* The disk would go on with a page that the guest has no more, or not yet. */
static int check_pinned(const struct sv_vm_config *vm, const struct sv_disk_config *c,
	struct sv_error *err)
{
	const char *other = vm->balloon ? "--balloon" : vm->source.path ? "--memory-source" : NULL;

	if (!c->pinned || !other)
		return 0;
	return sv_fail(err, ENOTSUP, "disk %s: pinned and %s: pinned memory neither goes nor comes while "
		       "the guest runs; leave one of them out", c->path, other);
}

static int open_disk(struct sv_devices *d, unsigned i, struct sv_error *err)
{
	const struct sv_disk_config *c = &d->vm->config->disk[i];
	struct sv_control_device ask = {.kind = SV_DEVICE_BLK,
		.queues = queues_of(d, c),
		.sidecore = c->sidecore_given ? (uint32_t)c->sidecore_cpu : SV_CONTROL_ANY,
		.qos = c->qos};
	struct sv_disk_spec spec = {
		.path = c->path, .format = c->format, .readonly = c->readonly, .direct = c->direct,
		.filters = c->filters};
	struct disk *disk = &d->disk[i];
	int rc = check_pinned(d->vm->config, c, err), fds[SV_DISK_FDS];

	if (rc == 0)
		rc = sv_disk_attach(&spec, &disk->image, err);
	if (rc < 0)
		return rc;
	ask.flags = (c->readonly ? SV_DEVICE_F_READONLY : 0) | (c->direct ? SV_DEVICE_F_DIRECT : 0) |
		    (c->writethrough ? SV_DEVICE_F_WRITETHROUGH : 0) |
		    (c->no_discard || c->readonly ? 0 : SV_DEVICE_F_DISCARD) |
		    (c->pinned ? SV_DEVICE_F_PINNED : 0) | (c->iopoll ? SV_DEVICE_F_IOPOLL : 0);
	if (c->serial)
		memcpy(ask.serial, c->serial, strnlen(c->serial, sizeof(ask.serial)));
	snprintf(disk->name, sizeof(disk->name), "disk%u", i);
	if (c->iopoll && c->direct && sv_disk_unpolled(&disk->image, disk->name))
		ask.flags &= ~SV_DEVICE_F_IOPOLL;
	ask.blk = (struct sv_control_blk){.bytes = disk->image.export.bytes,
		.preferred = disk->image.export.preferred,
		.export_flags = disk->image.export.flags,
		.deadline_ms = c->deadline_s * 1000};
	memcpy(ask.blk.filters, disk->image.filters, sizeof(ask.blk.filters));
	disk->virtio = connect_device(d, disk->name, &ask, fds, sv_disk_fds(&disk->image, fds), &rc, err);
	if (!disk->virtio)
		sv_disk_detach(&disk->image);
	return disk->virtio ? 0 : rc;
}

static void down_disks(void *ctx)
{
	struct sv_devices *d = ctx;

	while (d->ndisks) {
		struct disk *disk = &d->disk[--d->ndisks];

		sv_virtio_pci_destroy(disk->virtio);
		sv_disk_detach(&disk->image);
	}
}

static int up_disks(void *ctx, struct sv_error *err)
{
	struct sv_devices *d = ctx;
	unsigned n = d->has_pci ? d->vm->config->ndisks : 0;

	for (; d->ndisks < n; d->ndisks++) {
		int rc = open_disk(d, d->ndisks, err);

		if (rc < 0) {
			down_disks(d);
			return rc;
		}
	}
	return 0;
}

static int open_net(struct sv_devices *d, unsigned i, struct sv_error *err)
{
	const struct sv_net_config *c = &d->vm->config->net[i];
	struct sv_control_device ask = {.kind = SV_DEVICE_NET,
		.flags = (c->spoof ? SV_DEVICE_F_SPOOF : 0) | (c->trunk ? SV_DEVICE_F_TRUNK : 0),
		.queues = c->queues,
		.sidecore = SV_CONTROL_ANY,
		.net = c->at,
		.qos = c->qos};
	struct net *net = &d->net[i];
	int rc = 0;

	if (!ask.queues)
		ask.queues = d->vm->nvcpus < DEFAULT_PAIRS ? d->vm->nvcpus : DEFAULT_PAIRS;
	snprintf(net->name, sizeof(net->name), "net%u", i);
	net->virtio = connect_device(d, net->name, &ask, NULL, 0, &rc, err);
	return net->virtio ? 0 : rc;
}

static void down_nets(void *ctx)
{
	struct sv_devices *d = ctx;

	while (d->nnets)
		sv_virtio_pci_destroy(d->net[--d->nnets].virtio);
}

static int up_nets(void *ctx, struct sv_error *err)
{
	struct sv_devices *d = ctx;
	unsigned n = d->has_pci ? d->vm->config->nnets : 0;

	for (; d->nnets < n; d->nnets++) {
		int rc = open_net(d, d->nnets, err);

		if (rc < 0) {
			down_nets(d);
			return rc;
		}
	}
	return 0;
}

static int up_console(void *ctx, struct sv_error *err)
{
	struct sv_control_device ask = {.kind = SV_DEVICE_CONSOLE,
		.queues = CONSOLE_QUEUES,
		.sidecore = SV_CONTROL_ANY};
	struct sv_devices *d = ctx;
	int fds[2] = {d->vm->console_fd, d->vm->console_fd}, rc = 0;

	if (!d->has_pci || d->vm->console_fd < 0)
		return 0;
	d->console = connect_device(d, "console", &ask, fds, 2, &rc, err);
	return rc;
}

static void down_console(void *ctx)
{
	struct sv_devices *d = ctx;

	if (d->console)
		sv_virtio_pci_destroy(d->console);
}

static int up_balloon(void *ctx, struct sv_error *err)
{
	struct sv_devices *d = ctx;

	return d->has_pci ? sv_balloon_create(d->vm, &d->pci, &d->ram, &d->balloon, err) : 0;
}

static void down_balloon(void *ctx)
{
	sv_balloon_destroy(((struct sv_devices *)ctx)->balloon);
}

static int up_foreign(void *ctx, struct sv_error *err)
{
	struct sv_devices *d = ctx;

	return sv_foreign_create(d->vm, &d->pci, &d->ram, &d->foreign, err);
}

static void down_foreign(void *ctx)
{
	sv_foreign_destroy(((struct sv_devices *)ctx)->foreign);
}

static int up_rng(void *ctx, struct sv_error *err)
{
	struct sv_control_device ask = {
		.kind = SV_DEVICE_RNG, .queues = 1, .sidecore = SV_CONTROL_ANY};
	struct sv_devices *d = ctx;
	int rc = 0;

	if (!d->has_pci || !d->vm->config->rng)
		return 0;
	d->rng = connect_device(d, "rng", &ask, NULL, 0, &rc, err);
	return rc;
}

/* Served by the host's kernel: no sidecore has a part in it. */
static int up_vsock(void *ctx, struct sv_error *err)
{
	struct sv_devices *d = ctx;
	uint8_t config[8];
	struct sv_virtio_pci_options o = {.name = "vsock",
		.kind = VIRTIO_ID_VSOCK,
		.queues = VSOCK_QUEUES,
		.ram = &d->ram,
		.config = config,
		.vsock_cid = d->vm->config->vsock_cid};
	int rc;

	if (!d->has_pci || !o.vsock_cid)
		return 0;
	sv_put32(config, (uint32_t)o.vsock_cid);
	sv_put32(config + 4, (uint32_t)(o.vsock_cid >> 32));
	o.sock = sv_vhost_vsock_device(err);
	if (o.sock < 0)
		return o.sock;
	d->vsock = sv_virtio_pci_create(&d->pci, &o, &rc, err);
	if (d->vsock)
		return 0;
	close(o.sock);
	return rc;
}

static void down_vsock(void *ctx)
{
	struct sv_devices *d = ctx;

	if (d->vsock)
		sv_virtio_pci_destroy(d->vsock);
}

static void down_rng(void *ctx)
{
	struct sv_devices *d = ctx;

	if (d->rng)
		sv_virtio_pci_destroy(d->rng);
}

/* --- life ------------------------------------------------------------------------------------------ */

static const struct sv_step steps[] = {
	{"ranges", up_ranges, down_ranges},
	{"output", up_output, down_output},
	{"platform", up_platform, down_platform},
	{"power", up_power, NULL},
	{"fw_cfg", up_fwcfg, down_fwcfg},
	{"serial", up_serial, down_serial},
	{"rtc", up_rtc, down_rtc},
	{"pci", up_pci, down_pci},
	{"disks", up_disks, down_disks},
	{"nets", up_nets, down_nets},
	{"console", up_console, down_console},
	{"balloon", up_balloon, down_balloon},
	{"rng", up_rng, down_rng},
	{"vsock", up_vsock, down_vsock},
	{"foreign", up_foreign, down_foreign},
};

#define STEPS (sizeof(steps) / sizeof(steps[0]))

int sv_devices_create(struct sv_vm *vm, const struct sv_device_link *link, struct sv_error *err)
{
	struct sv_devices *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return sv_fail(err, ENOMEM, "out of memory");
	d->vm = vm;
	d->links.link = link;
	rc = sv_steps_up(steps, STEPS, d, err);
	if (rc < 0)
		free(d);
	else
		vm->devices = d;
	return rc;
}

void sv_devices_destroy(struct sv_vm *vm)
{
	if (!vm->devices)
		return;
	sv_steps_down(steps, STEPS, vm->devices);
	free(vm->devices);
	vm->devices = NULL;
}

/* --- the control thread ---------------------------------------------------------------------------- */

unsigned sv_serial_input(struct sv_vm *vm, const void *bytes, unsigned n)
{
	return sv_serial_receive(vm->devices->serial, bytes, n);
}

unsigned sv_devices_poll_fds(struct sv_vm *vm, int *fds, unsigned max)
{
	const struct sv_devices *d = vm->devices;
	unsigned n = 0;

	if (n < max)
		fds[n++] = sv_output_poll_fd(d->out);
	if (d->rtc && n < max)
		fds[n++] = sv_rtc_poll_fd(d->rtc);
	if (d->balloon)
		n += sv_virtio_pci_poll_fds(sv_balloon_function(d->balloon), fds + n, max - n);
	n += sv_foreign_poll_fds(d->foreign, fds + n, max - n);
	return n + sv_links_poll_fds(&d->links, fds + n, max - n);
}

bool sv_devices_all_away(struct sv_vm *vm)
{
	return sv_links_away(&vm->devices->links) == vm->devices->links.n;
}

const char *sv_devices_away(struct sv_vm *vm)
{
	return sv_links_first_away(&vm->devices->links);
}

int sv_devices_return(struct sv_vm *vm, struct sv_error *err)
{
	return sv_links_return(&vm->devices->links, err);
}

int sv_devices_poll(struct sv_vm *vm, int fd, struct sv_error *err)
{
	struct sv_devices *d = vm->devices;
	int rc = 0;

	if (fd == sv_output_poll_fd(d->out)) {
		sv_output_flush(d->out);
		sv_serial_output_ready(d->serial);
		return 0;
	}
	if (d->rtc && fd == sv_rtc_poll_fd(d->rtc)) {
		sv_rtc_tick(d->rtc);
		return 0;
	}
	if (d->balloon)
		rc = sv_virtio_pci_polled(sv_balloon_function(d->balloon), fd, err);
	if (rc == 0)
		rc = sv_foreign_poll(d->foreign, fd, err);
	return rc < 0 ? rc : sv_links_poll(&d->links, fd, err);
}

struct sv_balloon *sv_devices_balloon(struct sv_vm *vm)
{
	return vm->devices ? vm->devices->balloon : NULL;
}

/* One device more. Return: as sv_devices_log(). */
static int log_one(struct sv_virtio_pci *v, int cannot, int fd, uint64_t bytes, struct sv_error *err)
{
	int rc = cannot < 0 || !v ? 0 : sv_virtio_pci_log(v, fd, bytes, err);

	return rc == -ENOTSUP ? cannot + 1 : rc < 0 ? rc : cannot;
}

int sv_devices_log(struct sv_vm *vm, int fd, uint64_t bytes, struct sv_error *err)
{
	struct sv_devices *d = vm->devices;
	int cannot, foreign;

	if (!d)
		return 0;
	cannot = sv_links_log(&d->links, fd, bytes, err);
	if (d->balloon)
		cannot = log_one(sv_balloon_function(d->balloon), cannot, fd, bytes, err);
	/* The kernel's: its log is of another form. */
	cannot = log_one(d->vsock, cannot, fd, bytes, err);
	if (cannot < 0)
		return cannot;
	foreign = sv_foreign_log(d->foreign, fd, bytes, err);
	return foreign < 0 ? foreign : cannot + foreign;
}
