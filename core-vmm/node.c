/* SPDX-License-Identifier: BSD-3-Clause */
#include "node.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/fdpass.h>
#include <channels/control.h>
#include <channels/ring.h>
#include <vmm/vmm.h>

#include "memory.h"

#define NODE_DEADLINE_MS 5000
#define STATS_MAX (1u << 20)
#define STALE 64u /* replies that are dropped at a time */

static struct sv_control_request request(enum sv_control_op op)
{
	return (struct sv_control_request){
		.magic = SV_CONTROL_MAGIC, .version = SV_CONTROL_VERSION, .op = (uint16_t)op};
}

int sv_node_drain(int sock)
{
	char byte;

	for (unsigned i = 0; i < STALE; i++) {
		ssize_t n = recv(sock, &byte, sizeof(byte), MSG_DONTWAIT); /* and the rest of the message */

		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
	return 0;
}

/* One request, one reply. @more: room for what follows the reply, or NULL. */
static int exchange(int sock, const struct sv_control_request *req, const int *fds, unsigned nfds,
	struct sv_control_reply *reply, char **more, struct sv_error *err)
{
	size_t room = sizeof(*reply) + (more ? STATS_MAX : 0);
	char *buf = calloc(1, room + 1);
	ssize_t n;
	int rc = 0;

	if (!buf)
		return sv_fail(err, ENOMEM, "out of memory");
	n = sv_node_drain(sock);
	if (n == 0)
		n = sv_fd_send(sock, req, sizeof(*req), fds, nfds, NODE_DEADLINE_MS);
	if (n >= 0)
		n = sv_fd_recv(sock, buf, room, NULL, NULL, NODE_DEADLINE_MS);
	if (n < (ssize_t)sizeof(*reply)) {
		rc = sv_fail(err, n < 0 ? (int)-n : ECONNRESET,
			"the sidecore process does not answer (%s); see its own messages, or start "
			"it again with `sidevisor serve`",
			n < 0 ? strerror((int)-n) : "connection closed");
		goto out;
	}
	memcpy(reply, buf, sizeof(*reply));
	reply->text[sizeof(reply->text) - 1] = 0;
	if (reply->magic != SV_CONTROL_MAGIC) {
		rc = sv_fail(err, EPROTO, "what answers on the node's socket is not sidevisor");
		goto out;
	}
	if (reply->status) {
		rc = sv_fail(err, (int)reply->status, "%s", reply->text);
		goto out;
	}
	if (more) {
		memmove(buf, buf + sizeof(*reply), (size_t)n - sizeof(*reply));
		buf[(size_t)n - sizeof(*reply)] = 0;
		*more = buf;
		return 0;
	}
out:
	free(buf);
	return rc;
}

static uint32_t sidecore_or_any(int cpu)
{
	return cpu < 0 ? SV_CONTROL_ANY : (uint32_t)cpu;
}

int sv_node_hello(int sock, const char *name, unsigned vcpus, int wish, int *sidecore_cpu,
	struct sv_error *err)
{
	struct sv_control_request req = request(SV_CONTROL_HELLO);
	struct sv_control_reply reply;
	int rc;

	strncpy(req.u.hello.vm, name, sizeof(req.u.hello.vm) - 1);
	req.u.hello.vcpus = vcpus;
	req.u.hello.sidecore = sidecore_or_any(wish);
	rc = exchange(sock, &req, NULL, 0, &reply, NULL, err);
	if (rc == 0 && sidecore_cpu)
		*sidecore_cpu = (int)reply.sidecore_cpu;
	return rc;
}

int sv_node_stats(int sock, char **text, struct sv_error *err)
{
	struct sv_control_request req = request(SV_CONTROL_STATS);
	struct sv_control_reply reply;

	return exchange(sock, &req, NULL, 0, &reply, text, err);
}

int sv_node_set_device(int sock, const char *vm, const char *device, const char *key,
	const char *value, char **text, struct sv_error *err)
{
	struct sv_control_request req = request(SV_CONTROL_DEVICE_SET);
	struct sv_control_device_set *s = &req.u.device_set;
	struct sv_control_reply reply;

	if (strlen(vm) >= sizeof(s->vm) || strlen(device) >= sizeof(s->device))
		return sv_fail(err, ENOENT, "%s/%s: there is no such device", vm, device);
	if (key && (strlen(key) >= sizeof(s->key) || strlen(value) >= sizeof(s->value)))
		return sv_fail(err, EINVAL, "%s=%s: too long", key, value);
	strcpy(s->vm, vm);
	strcpy(s->device, device);
	if (key) {
		strcpy(s->key, key);
		strcpy(s->value, value);
	}
	return exchange(sock, &req, NULL, 0, &reply, text, err);
}

int sv_node_sidecores(int sock, struct sv_node_sidecore *out, unsigned max, struct sv_error *err)
{
	struct sv_control_request req = request(SV_CONTROL_STATS);
	struct sv_control_reply reply;
	char *text = NULL;
	int rc = exchange(sock, &req, NULL, 0, &reply, &text, err);
	unsigned n;

	free(text);
	if (rc < 0)
		return rc;
	n = reply.sidecores < SV_CONTROL_SIDECORES ? reply.sidecores : SV_CONTROL_SIDECORES;
	n = n < max ? n : max;
	for (unsigned i = 0; i < n; i++)
		out[i] = (struct sv_node_sidecore){
			.cpu = (int)reply.sidecore[i].cpu, .vms = reply.sidecore[i].vms};
	return (int)n;
}

int sv_node_memory(int sock, const struct sv_vm *vm, struct sv_error *err)
{
	struct sv_control_request req = request(SV_CONTROL_MEMORY);
	struct sv_control_reply reply;
	int fds[SV_CONTROL_REGIONS];

	SV_BUG_ON(vm->gmem.n > SV_CONTROL_REGIONS);
	req.u.memory.n = vm->gmem.n;
	for (unsigned i = 0; i < vm->gmem.n; i++) {
		const struct sv_gmem_region *r = &vm->gmem.region[i];

		fds[i] = r->fd;
		req.u.memory.region[i] = (struct sv_control_region){.gpa = r->gpa,
			.size = r->size,
			.fd_offset = r->fd_offset,
			.user_addr = r->user_addr};
	}
	return exchange(sock, &req, fds, vm->gmem.n, &reply, NULL, err);
}

int sv_node_console(int sock, int fd, struct sv_error *err)
{
	struct sv_control_request req = request(SV_CONTROL_CONSOLE);
	struct sv_control_reply reply;
	int fds[2] = {fd, fd};

	return exchange(sock, &req, fds, 2, &reply, NULL, err);
}

static int add_doorbell(struct sv_vm *vm, unsigned vcpu, int fd)
{
	struct kvm_ioeventfd io = {
		.addr = vm->doorbell_gpa + vcpu * 4096ull, .len = 4, .fd = fd, .flags = 0};

	return ioctl(vm->vm_fd, KVM_IOEVENTFD, &io) < 0 ? -errno : 0;
}

int sv_node_channels(int sock, struct sv_vm *vm, int *doorbells, struct sv_error *err)
{
	uint32_t entries = vm->config->ring_entries ? vm->config->ring_entries : 64;
	struct sv_control_request req = request(SV_CONTROL_CHANNEL);
	uint64_t stride = sv_memory_channel_stride(vm);
	struct sv_control_reply reply;
	int rc;

	for (unsigned i = 0; i < vm->nvcpus; i++) {
		int fds[2];

		doorbells[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (doorbells[i] < 0)
			return sv_fail(err, errno, "eventfd: %s", strerror(errno));
		rc = add_doorbell(vm, i, doorbells[i]);
		if (rc < 0)
			return sv_fail(err, -rc, "vCPU %u: KVM refuses the doorbell: %s", i,
				strerror(-rc));
		fds[0] = doorbells[i];
		fds[1] = doorbells[i]; /* no completion interrupt yet: irq_vector 0 */
		req.u.channel = (struct sv_control_channel){.gpa = vm->window_gpa + i * stride,
			.bytes = (uint32_t)sv_channel_bytes(entries, entries),
			.req_entries = entries,
			.cpl_entries = entries,
			.vcpu = i,
			.sidecore = sidecore_or_any(vm->config->vcpu_sidecore_cpu[i])};
		rc = exchange(sock, &req, fds, 2, &reply, NULL, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int sv_node_service(int sock, uint32_t id, const uint64_t *arg, const int *fds, unsigned nfds,
	struct sv_error *err)
{
	struct sv_control_request req = request(SV_CONTROL_SERVICE);
	struct sv_control_reply reply;

	req.u.service.id = id;
	memcpy(req.u.service.arg, arg, sizeof(req.u.service.arg));
	return exchange(sock, &req, fds, nfds, &reply, NULL, err);
}

int sv_node_pager(int sock, const struct sv_control_pager *unit, const int *fds, unsigned nfds,
	struct sv_error *err)
{
	struct sv_control_request req = request(SV_CONTROL_PAGER);
	struct sv_control_reply reply;

	req.u.pager = *unit;
	return exchange(sock, &req, fds, nfds, &reply, NULL, err);
}

int sv_node_start(int sock, struct sv_error *err)
{
	struct sv_control_request req = request(SV_CONTROL_START);
	struct sv_control_reply reply;

	return exchange(sock, &req, NULL, 0, &reply, NULL, err);
}

int sv_node_connect_device(void *ctx, const void *control_device, const int *fds, unsigned nfds,
	struct sv_error *err)
{
	struct sv_control_request req = request(SV_CONTROL_DEVICE);
	int sock = *(const int *)ctx, pair[2], all[SV_FDPASS_MAX], rc;
	struct sv_control_reply reply;

	if (nfds + 1 > SV_FDPASS_MAX)
		return sv_fail(err, EINVAL, "too many descriptors for one device");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return sv_fail(err, errno, "socketpair: %s", strerror(errno));
	memcpy(&req.u.device, control_device, sizeof(req.u.device));
	all[0] = pair[1];
	for (unsigned i = 0; i < nfds; i++)
		all[1 + i] = fds[i];
	rc = exchange(sock, &req, all, nfds + 1, &reply, NULL, err);
	close(pair[1]);
	if (rc < 0) {
		close(pair[0]);
		return rc;
	}
	return pair[0];
}
