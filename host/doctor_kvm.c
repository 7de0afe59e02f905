/* SPDX-License-Identifier: BSD-3-Clause */
/* Is there a KVM, which, and what can it do without an exit? */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "files.h"

#define CPUINFO_BYTES (8u << 20) /* of thousands of CPUs */

#ifndef KVM_CAP_PRE_FAULT_MEMORY
#define KVM_CAP_PRE_FAULT_MEMORY 236
#endif
#ifndef KVM_CAP_DIRTY_LOG_RING_ACQ_REL
#define KVM_CAP_DIRTY_LOG_RING_ACQ_REL 223
#endif

static bool is_on(const struct sv_doctor *d, const char *path, bool *known)
{
	char text[16];

	*known = sv_read_line(d, path, text, sizeof(text));
	return *known && (text[0] == 'Y' || text[0] == '1');
}

static const char *back_end(const struct sv_doctor *d)
{
	static const char *const names[] = {"kvm_intel", "kvm_amd", "kvm_pvm"};
	char path[64];

	for (unsigned i = 0; i < 3; i++) {
		strcpy(path, "/sys/module/");
		strcat(path, names[i]);
		if (sv_file_is_there(d->e->root, path))
			return names[i];
	}
	return NULL;
}

/* Interrupts that reach a running vCPU without an exit. */
static void interrupts(struct sv_doctor *d, const char *name)
{
	const char *path = !strcmp(name, "kvm_intel")
				   ? "/sys/module/kvm_intel/parameters/enable_apicv"
				   : "/sys/module/kvm_amd/parameters/avic";
	struct sv_finding *f;
	bool known, on = is_on(d, path, &known);

	if (!known) {
		sv_unknown(d, "posted-interrupts", path);
		return;
	}
	f = sv_found(d, "posted-interrupts", on ? SV_SEVERITY_OK : SV_SEVERITY_WARNING,
		"%s: interrupts reach a running guest %s",
		on ? "APICv or AVIC on" : "APICv or AVIC off",
		on ? "without an exit" : "by an exit");
	if (!on) {
		sv_costs(f, "an exit for each device or inter-processor interrupt, 1 to 2 us each "
			    "on VMX and SVM");
		sv_remedy(f, "echo options %s > /etc/modprobe.d/kvm.conf, then reload the module",
			!strcmp(name, "kvm_intel") ? "kvm_intel enable_apicv=1" : "kvm_amd avic=1");
	}
	if (strcmp(name, "kvm_intel") != 0)
		return;
	on = is_on(d, "/sys/module/kvm_intel/parameters/enable_ipiv", &known);
	if (known)
		sv_found(d, "ipi-virtualisation", on ? SV_SEVERITY_OK : SV_SEVERITY_NOTE,
			"IPI virtualisation is %s",
			on ? "on" : "off: each IPI of a guest is an exit");
}

static void halt_polling(struct sv_doctor *d)
{
	long long ns;
	struct sv_finding *f;

	if (!sv_read_number(d, "/sys/module/kvm/parameters/halt_poll_ns", &ns)) {
		sv_unknown(d, "halt-polling", "/sys/module/kvm/parameters/halt_poll_ns");
		return;
	}
	f = sv_found(d, "halt-polling", ns ? SV_SEVERITY_NOTE : SV_SEVERITY_OK,
		"kvm.halt_poll_ns is %lld", ns);
	if (ns)
		sv_costs(f,
			"guests that own their cores halt without an exit and are not affected; "
			"with "
			"--overcommit a halted vCPU keeps its core busy for up to %lld us",
			ns / 1000);
}

/* Where the timers of guests fire. */
static void guest_timers(struct sv_doctor *d)
{
	struct sv_finding *f;
	long long on;

	if (!sv_read_number(d, "/sys/module/kvm/parameters/pi_inject_timer", &on))
		return;
	f = sv_found(d, "guest-timers", on ? SV_SEVERITY_OK : SV_SEVERITY_NOTE,
		"kvm.pi_inject_timer is %lld", on);
	if (!on)
		sv_costs(f, "timers of a guest interrupt its own core; with 1 and posted "
			    "interrupts they fire on "
			    "housekeeping cores and reach the guest without an exit");
	if (!on)
		sv_remedy(f, "echo 1 > /sys/module/kvm/parameters/pi_inject_timer");
}

/* Is this host a guest itself? */
static void nested(struct sv_doctor *d)
{
	char *text = malloc(CPUINFO_BYTES);
	ssize_t n = text ? sv_file_read(d->e->root, "/proc/cpuinfo", text, CPUINFO_BYTES) : 0;
	const char *flags = n > 0 ? strstr(text, "\nflags") : NULL;
	const char *end = flags ? strchr(flags + 1, '\n') : NULL;
	bool is = end && memmem(flags, (size_t)(end - flags), " hypervisor", 11);
	struct sv_finding *f;

	free(text);
	if (!is)
		return;
	f = sv_found(d, "nested", SV_SEVERITY_NOTE, "this host is a virtual machine itself");
	sv_costs(f, "exits go through the hypervisor below, several times dearer; its CPUs may be "
		    "moved and taken "
		    "away, so that pinning here binds nothing there");
}

static void split_huge_pages(struct sv_doctor *d)
{
	bool known, on = is_on(d, "/sys/module/kvm/parameters/nx_huge_pages", &known);
	struct sv_finding *f;

	if (!known)
		return;
	f = sv_found(d, "nx-huge-pages", on ? SV_SEVERITY_WARNING : SV_SEVERITY_OK,
		"kvm.nx_huge_pages is %s", on ? "on" : "off");
	if (!on)
		return;
	sv_costs(f, "executable huge pages are split into 4 KiB ones: more TLB misses, and a "
		    "recovery thread "
		    "that stalls vCPUs; it is there against the iTLB multihit machine check of "
		    "some Intel CPUs");
	sv_remedy(f, "where the CPU is not affected or guests are trusted: echo never > "
		     "/sys/module/kvm/parameters/nx_huge_pages");
	f->matters = d->e->memory_bytes == 0 || d->e->memory_bytes >= 1ull << 30;
}

static void ability(struct sv_doctor *d, int kvm, int cap, const char *id, const char *what,
	const char *without)
{
	int has = ioctl(kvm, KVM_CHECK_EXTENSION, cap);
	struct sv_finding *f = sv_found(d, id, has > 0 ? SV_SEVERITY_OK : SV_SEVERITY_NOTE,
		"%s: %s", what, has > 0 ? "yes" : "no");

	if (has <= 0)
		sv_costs(f, "%s", without);
}

static void device(struct sv_doctor *d)
{
	int kvm = open(d->e->kvm, O_RDWR | O_CLOEXEC), e = errno;
	struct sv_finding *f;

	if (kvm < 0) {
		f = sv_found(d, "kvm-device", SV_SEVERITY_PROBLEM, "%s cannot be opened: %s",
			d->e->kvm, strerror(e));
		sv_costs(f, "no guest can run");
		sv_remedy(f, e == EACCES ? "usermod -aG kvm $USER, then log in again"
					 : "modprobe kvm_intel or kvm_amd; see whether the "
					   "firmware enables it");
		return;
	}
	sv_found(d, "kvm-device", SV_SEVERITY_OK, "%s can be opened", d->e->kvm);
	ability(d, kvm, KVM_CAP_X86_DISABLE_EXITS, "disable-exits",
		"HLT, PAUSE and MWAIT without exits", "a guest that waits exits each time");
	ability(d, kvm, KVM_CAP_PRE_FAULT_MEMORY, "pre-fault",
		"stage-2 population ahead of the guest "
		"(KVM_PRE_FAULT_MEMORY)",
		"each first touch of a page by a guest is an exit to the kernel; "
		"nested paging and Linux 6.11 have it");
	ability(d, kvm, KVM_CAP_DIRTY_LOG_RING_ACQ_REL, "dirty-ring", "dirty rings",
		"dirty pages are "
		"harvested by stopping the VM");
	close(kvm);
}

void sv_doctor_kvm(struct sv_doctor *d)
{
	const char *name = back_end(d);
	struct sv_finding *f;

	nested(d);
	if (d->e->kvm)
		device(d);
	if (!name) {
		f = sv_found(d, "kvm-back-end", SV_SEVERITY_PROBLEM,
			"no kvm_intel, kvm_amd or kvm_pvm module");
		sv_costs(f, "no guest can run on this machine itself; the virtual node "
			    "(bench/demo.sh) can");
		sv_remedy(f, "modprobe kvm_intel || modprobe kvm_amd");
		return;
	}
	if (!strcmp(name, "kvm_pvm")) {
		f = sv_found(d, "kvm-back-end", SV_SEVERITY_WARNING,
			"kvm_pvm: no hardware virtualisation");
		sv_costs(f, "code of the guest's kernel is interpreted, about 230 ns an "
			    "instruction here; "
			    "applications of the lightweight kernel run at native speed");
	} else {
		sv_found(d, "kvm-back-end", SV_SEVERITY_OK, "%s", name);
		interrupts(d, name);
	}
	halt_polling(d);
	guest_timers(d);
	split_huge_pages(d);
}
