/* SPDX-License-Identifier: BSD-3-Clause */
/* A virtual machine per back end, all with the same kernel and root, on the same guest core. */
#include "common.h"
#include "io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <vmm/vmm.h>

#define CMDLINE "console=ttyS0 quiet panic=-1 ro sv.run=sh%/loop"
/* How long everyone polls before it sleeps: an emulated processor is that much slower. */
#define PATIENCE_US (sv_vmm_emulated() ? 50000u : 2000u)
#define WORD(text) ((char *)(uintptr_t)(text))

/* The node and the VM that is served by it. */
static int start_ours(struct io_run *r, unsigned i, bool polls, struct sv_error *err)
{
	char image[128], idle[16], disk[192], root[512], cpu[16], control[16], log[160], guest[16], name[16];
	struct io_target *t = &r->target[i];
	char *node[] = {WORD("/proc/self/exe"), WORD("serve"), WORD("--isolate=none"),
		WORD("--share-cores"), WORD("--cpus"), cpu, WORD("--control-cpu"), control,
		WORD("--idle"), idle, WORD("--socket"), t->node, NULL};
	char *vm[] = {WORD("/proc/self/exe"), WORD("run"), WORD("--name"), name, WORD("--quiet"),
		WORD("--isolate=none"), WORD("--share-cores"), WORD("--node"), t->node, WORD("--cpus"),
		guest, WORD("--memory"), WORD("256M"), WORD("--console"), WORD("serial"),
		WORD("--kernel"), WORD(r->o.kernel), WORD("--initrd"), WORD(r->o.initrd),
		WORD("--cmdline"), WORD(CMDLINE), WORD("--disk"), root, WORD("--disk"), disk, NULL};
	int rc = io_image(r, i, image, sizeof(image), err);

	if (rc < 0)
		return rc;
	snprintf(t->node, sizeof(t->node), "%s/node%u", r->dir, i);
	snprintf(idle, sizeof(idle), "%u", polls ? PATIENCE_US : 0);
	snprintf(name, sizeof(name), "bench-io-%u", i);
	snprintf(cpu, sizeof(cpu), "%d", r->o.sidecore_cpu);
	snprintf(control, sizeof(control), "%d", r->o.other_cpu);
	snprintf(guest, sizeof(guest), "%d", r->o.guest_cpu);
	snprintf(root, sizeof(root), "path=%s,readonly", r->o.root);
	snprintf(disk, sizeof(disk), "path=%s%s%s", image, r->o.direct ? ",direct" : "",
		r->o.writethrough ? ",writethrough" : "");
	snprintf(log, sizeof(log), "%s/log%u", r->dir, i);
	t->back_end = io_spawn(node, r->o.sidecore_cpu, r->o.other_cpu, -1, -1, log);
	if (t->back_end < 0)
		return sv_fail(err, -t->back_end, "sidevisor serve: %s", strerror(-t->back_end));
	rc = io_await(t->node, t->back_end, log, err);
	snprintf(log, sizeof(log), "%s/guest%u", r->dir, i);
	return rc < 0 ? rc : io_guest_start(t->guest, vm, r->o.guest_cpu, r->o.other_cpu, log, err);
}

/* QEMU's threads: the vCPU is put on the guest core afterwards, the others stay with the back ends. */
static int start_qemu(struct io_run *r, unsigned i, bool best, struct sv_error *err)
{
	char image[128], root[512], file[320], raw[64], device[96], object[64], log[160];
	struct io_target *t = &r->target[i];
	const char *direct = r->o.direct ? "on" : "off";
	char *vm[] = {WORD("qemu-system-x86_64"), WORD("-enable-kvm"), WORD("-cpu"), WORD("host"),
		WORD("-m"), WORD("256"), WORD("-nodefaults"), WORD("-no-user-config"),
		WORD("-no-reboot"), WORD("-display"), WORD("none"), WORD("-serial"), WORD("stdio"),
		WORD("-name"), WORD("bench-io,debug-threads=on"), WORD("-bios"), WORD("qboot.rom"),
		WORD("-M"), WORD("microvm,acpi=on,pcie=on,rtc=on,pit=off,pic=off,x-option-roms=off,"
				 "isa-serial=on"),
		WORD("-kernel"), WORD(r->o.kernel), WORD("-initrd"), WORD(r->o.initrd),
		WORD("-append"), WORD(CMDLINE), WORD("-object"), object,
		WORD("-drive"), root, WORD("-device"),
		WORD("virtio-blk-pci,drive=r"), WORD("-blockdev"), file, WORD("-blockdev"), raw,
		WORD("-device"), device, NULL};
	int rc = io_image(r, i, image, sizeof(image), err);

	if (rc < 0)
		return rc;
	snprintf(object, sizeof(object), "iothread,id=io0,poll-max-ns=%u000", PATIENCE_US);
	snprintf(root, sizeof(root), "file.filename=%s,file.locking=off,format=raw,if=none,id=r,readonly=on", r->o.root);
	snprintf(file, sizeof(file), "driver=file,node-name=f,filename=%s,cache.direct=%s,aio=%s", image,
		direct, best ? "io_uring" : "threads");
	snprintf(raw, sizeof(raw), "driver=raw,node-name=d,file=f,cache.direct=%s", direct);
	snprintf(device, sizeof(device), "virtio-blk-pci,drive=d,num-queues=1%s%s",
		best ? ",iothread=io0" : "", r->o.writethrough ? ",write-cache=off" : "");
	snprintf(log, sizeof(log), "%s/guest%u", r->dir, i);
	return io_guest_start(t->guest, vm, r->o.sidecore_cpu, r->o.other_cpu, log, err);
}

int io_rig_vm(struct io_run *r, struct sv_error *err)
{
	static const struct io_target plan[IO_TARGETS] = {
		{.key = "ours", .what = "sidevisor, the sidecore polls", .ours = true},
		{.key = "ours_exit", .what = "sidevisor, woken by kicks", .ours = true},
		{.key = "peer_best", .what = "QEMU, iothread, io_uring, polling"},
		{.key = "peer_default", .what = "QEMU, default"},
	};
	char release[64] = "";
	int rc = 0;

	/* KVM's counters of every VM, ours and not. */
	if (access("/sys/kernel/debug/kvm", F_OK) < 0)
		(void)mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	for (unsigned i = 0; i < IO_TARGETS && rc == 0; i++) {
		struct io_target *t = &r->target[i];

		*t = plan[i];
		t->guest = &r->guest[i];
		snprintf(t->device, sizeof(t->device), "vdb");
		r->targets = i + 1;
		r->guests = i + 1;
		rc = t->ours ? start_ours(r, i, i == 0, err) : start_qemu(r, i, i == 2, err);
		if (rc == 0)
			bench_progress("guest %u of %u boots", i + 1, IO_TARGETS);
		rc = rc < 0 ? rc : io_guest_up(t->guest, release, sizeof(release), err);
		if (rc == 0 && !t->ours)
			rc = io_pin_vcpus(t->guest->pid, r->o.guest_cpu, err);
	}
	snprintf(r->substrate, sizeof(r->substrate), "Linux %s on %s", release, sv_vmm_substrate());
	return rc;
}
