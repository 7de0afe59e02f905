/* SPDX-License-Identifier: BSD-3-Clause */
#include "stats.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <channels/atomics.h>

#include "backing.h"
#include "balloon.h"
#include "devices.h"
#include "dirty.h"
#include "paging.h"
#include "stage2.h"
#include "pager.h"
#include "vcpu.h"

#define KVM_STATS_DESCRIPTORS 512u

/*
 * The binary statistics of a VM or vCPU (Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD): single
 * values only, histograms are left out. Of all, or of @only.
 */
static void kvm_values(int sfd, const char *only,
	void (*take)(void *ctx, const char *name, uint64_t value), void *ctx)
{
	struct kvm_stats_header head;

	if (sfd < 0 || pread(sfd, &head, sizeof(head), 0) != sizeof(head) ||
		head.num_desc > KVM_STATS_DESCRIPTORS || head.name_size > 256)
		return;
	for (uint32_t i = 0; i < head.num_desc; i++) {
		union {
			struct kvm_stats_desc d;
			char bytes[sizeof(struct kvm_stats_desc) + 257];
		} u;
		size_t len = sizeof(u.d) + head.name_size;
		uint64_t value;

		memset(&u, 0, sizeof(u));
		if (pread(sfd, &u, len, (off_t)(head.desc_offset + i * len)) != (ssize_t)len)
			break;
		if (u.d.size != 1 || (only && strcmp(u.d.name, only) != 0))
			continue;
		if (pread(sfd, &value, sizeof(value), (off_t)(head.data_offset + u.d.offset)) !=
			sizeof(value))
			break;
		take(ctx, u.d.name, value);
	}
}

static void into_json(void *ctx, const char *name, uint64_t value)
{
	json_object_set_new(ctx, name, json_integer((json_int_t)value));
}

static json_t *kvm_stats(int sfd)
{
	json_t *out = json_object();

	kvm_values(sfd, NULL, into_json, out);
	return out;
}

static void into_sum(void *ctx, const char *name, uint64_t value)
{
	(void)name;
	*(uint64_t *)ctx += value;
}

uint64_t sv_stats_counter(const struct sv_vm *vm, const char *name)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < vm->nvcpus; i++)
		kvm_values(vm->vcpu[i].stats_fd, name, into_sum, &sum);
	return sum;
}

static json_t *vcpu_json(const struct sv_vcpu *vcpu)
{
	json_t *o = json_object(), *exits = json_object();
	uint64_t total = 0;

	for (unsigned r = 0; r < EXIT_REASONS; r++) {
		uint64_t n = sv_load_relaxed(&vcpu->exits[r]);
		json_t *have = json_object_get(exits, sv_exit_name(r));

		if (!n)
			continue;
		total += n;
		json_object_set_new(exits, sv_exit_name(r),
			json_integer(json_integer_value(have) + (json_int_t)n));
	}
	json_object_set_new(o, "vcpu", json_integer(vcpu->index));
	json_object_set_new(o, "cpu", json_integer(vcpu->vm->config->vcpu_cpu[vcpu->index]));
	json_object_set_new(o, "sidecore_cpu",
		json_integer(vcpu->vm->config->vcpu_sidecore_cpu[vcpu->index]));
	json_object_set_new(o, "tid", json_integer(sv_load_relaxed(&vcpu->tid)));
	json_object_set_new(o, "exits_to_us", json_integer((json_int_t)total));
	json_object_set_new(o, "exits", exits);
	json_object_set_new(o, "kicks", json_integer((json_int_t)sv_load_relaxed(&vcpu->kicks)));
	json_object_set_new(o, "kvm", kvm_stats(vcpu->stats_fd));
	return o;
}

uint64_t sv_stats_exits(const struct sv_vm *vm)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < vm->nvcpus; i++)
		for (unsigned r = 0; r < EXIT_REASONS; r++)
			total += sv_load_relaxed(&vm->vcpu[i].exits[r]);
	return total;
}

static json_t *pager_json(const struct sv_vm *vm)
{
	struct sv_pager_state s = {0};

	sv_pager_state(vm, &s);
	return json_pack("{s:b, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "done", s.done,
		"units", (int)s.units, "pages", (json_int_t)s.counts.pages, "present",
		(json_int_t)s.counts.present, "own", (json_int_t)s.counts.own, "faults",
		(json_int_t)s.counts.faults, "device_waits", (json_int_t)s.counts.waits, "requests",
		(json_int_t)s.counts.requests, "demanded", (json_int_t)s.counts.demanded, "bytes",
		(json_int_t)s.counts.bytes, "elapsed_us", (json_int_t)(s.counts.elapsed_ns / 1000));
}

char *sv_stats_json(struct sv_vm *vm)
{
	json_t *o = json_object(), *vcpus = json_array();
	int sfd = ioctl(vm->vm_fd, KVM_GET_STATS_FD, NULL);
	char *text;

	for (unsigned i = 0; i < vm->nvcpus; i++)
		json_array_append_new(vcpus, vcpu_json(&vm->vcpu[i]));
	json_object_set_new(o, "name", json_string(vm->config->name));
	json_object_set_new(o, "pid", json_integer(getpid()));
	json_object_set_new(o, "substrate", json_string(vm->substrate));
	json_object_set_new(o, "lightweight", json_boolean(vm->lwk));
	json_object_set_new(o, "pre_fault", json_boolean(vm->caps.pre_fault && !sv_paging_shadowed(vm)));
	json_object_set_new(o, "emulated", json_boolean(vm->emulated));
	json_object_set_new(o, "memory_bytes", json_integer((json_int_t)vm->config->memory_bytes));
	json_object_set_new(o, "state", json_string(vm->paused ? "paused" : "running"));
	json_object_set_new(o, "exits_to_us", json_integer((json_int_t)sv_stats_exits(vm)));
	json_object_set_new(o, "unassigned_accesses",
		json_integer((json_int_t)(sv_load_relaxed(&vm->pio.unassigned) +
					  sv_load_relaxed(&vm->mmio.unassigned))));
	json_object_set_new(o, "node_rejoins",
		json_integer((json_int_t)sv_load_relaxed(&vm->rejoins)));
	json_object_set_new(o, "node_outage_ms",
		json_integer((json_int_t)sv_load_relaxed(&vm->outage_ms)));
	if (vm->tables_bytes)
		json_object_set_new(o, "dropped_table_stores",
			json_integer((json_int_t)sv_load_relaxed(&vm->table_stores)));
	json_object_set_new(o, "backing", json_string(sv_backing_name(vm->backing)));
	json_object_set_new(o, "stage2", sv_stage2_json(vm));
	if (vm->config->paging_choice)
		json_object_set_new(o, "paging", json_loads(vm->config->paging_choice, 0, NULL));
	if (vm->dirty)
		json_object_set_new(o, "dirty", sv_dirty_json(vm));
	if (sv_devices_balloon(vm))
		json_object_set_new(o, "balloon", sv_balloon_json(sv_devices_balloon(vm)));
	if (vm->pager)
		json_object_set_new(o, "memory_source", pager_json(vm));
	json_object_set_new(o, "vcpus", vcpus);
	if (vm->config->placement)
		json_object_set_new(o, "placement", json_loads(vm->config->placement, 0, NULL));
	json_object_set_new(o, "kvm", kvm_stats(sfd));
	if (sfd >= 0)
		close(sfd);
	text = json_dumps(o, JSON_INDENT(2) | JSON_SORT_KEYS);
	json_decref(o);
	return text;
}
