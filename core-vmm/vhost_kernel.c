/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_kernel.h"

#include <fcntl.h>
#include <linux/vhost.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* The two queues that the kernel serves; the third is for events, of which it has none. */
#define SERVED 2u
#define ALL ((1u << SERVED) - 1)

static int refused(const char *what, struct sv_error *err)
{
	return sv_fail(err, errno, VHOST_VSOCK_DEVICE ": %s: %s", what, strerror(errno));
}

int sv_vhost_vsock_device(struct sv_error *err)
{
	int fd = open(VHOST_VSOCK_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT || errno == ENODEV)
		return sv_fail(err, errno, "--vsock: there is no " VHOST_VSOCK_DEVICE "; load the kernel "
			"module vhost_vsock");
	return sv_fail(err, errno, "--vsock: " VHOST_VSOCK_DEVICE ": %s", strerror(errno));
}

static int set_memory(int fd, const struct sv_gmem *gm, struct sv_error *err)
{
	union {
		struct vhost_memory table;
		uint8_t room[sizeof(struct vhost_memory) +
			     SV_GMEM_REGIONS * sizeof(struct vhost_memory_region)];
	} m;

	memset(&m, 0, sizeof(m));
	m.table.nregions = gm->n;
	for (unsigned i = 0; i < gm->n; i++)
		m.table.regions[i] = (struct vhost_memory_region){.guest_phys_addr = gm->region[i].gpa,
			.memory_size = gm->region[i].size,
			.userspace_addr = (uintptr_t)gm->region[i].host};
	return ioctl(fd, VHOST_SET_MEM_TABLE, &m) < 0 ? refused("guest memory", err) : 0;
}

int sv_vhost_vsock_open(struct sv_vhost_front *v, int fd, uint64_t cid, const struct sv_gmem *gm,
	struct sv_error *err)
{
	__u64 features = 0;

	*v = (struct sv_vhost_front){.sock = fd, .events = -1, .kernel = true};
	if (ioctl(fd, VHOST_SET_OWNER) < 0 || ioctl(fd, VHOST_GET_FEATURES, &features) < 0)
		return refused("set-up", err);
	v->features = features;
	if (ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, &cid) < 0) {
		if (errno == EADDRINUSE)
			return sv_fail(err, EADDRINUSE, "--vsock %llu: another VM has this address; choose "
				"another", (unsigned long long)cid);
		return refused("the guest's address", err);
	}
	return set_memory(fd, gm, err);
}

int vhost_kernel_set_features(struct sv_vhost_front *v, uint64_t features, struct sv_error *err)
{
	__u64 f = features;

	return ioctl(v->sock, VHOST_SET_FEATURES, &f) < 0 ? refused("features", err) : 0;
}

static int set_running(struct sv_vhost_front *v, int on, struct sv_error *err)
{
	return ioctl(v->sock, VHOST_VSOCK_SET_RUNNING, &on) < 0 ? refused("start", err) : 0;
}

int vhost_kernel_set_call(struct sv_vhost_front *v, unsigned queue, int call_fd, struct sv_error *err)
{
	struct vhost_vring_file f = {.index = queue, .fd = call_fd};

	if (queue >= SERVED)
		return 0;
	return ioctl(v->sock, VHOST_SET_VRING_CALL, &f) < 0 ? refused("interrupt", err) : 0;
}

int vhost_kernel_start(struct sv_vhost_front *v, unsigned queue, const struct sv_vhost_ring *ring,
	struct sv_error *err)
{
	struct vhost_vring_state size = {.index = queue, .num = ring->size};
	struct vhost_vring_state base = {.index = queue, .num = ring->base};
	struct vhost_vring_file kick = {.index = queue, .fd = ring->kick_fd};
	struct vhost_vring_addr addr = {.index = queue,
		.desc_user_addr = (uintptr_t)ring->desc,
		.avail_user_addr = (uintptr_t)ring->avail,
		.used_user_addr = (uintptr_t)ring->used};
	int rc;

	if (queue >= SERVED)
		return 0;
	if (ioctl(v->sock, VHOST_SET_VRING_NUM, &size) < 0 ||
		ioctl(v->sock, VHOST_SET_VRING_BASE, &base) < 0 ||
		ioctl(v->sock, VHOST_SET_VRING_ADDR, &addr) < 0)
		return refused("ring", err);
	rc = vhost_kernel_set_call(v, queue, ring->call_fd, err);
	if (rc == 0 && ioctl(v->sock, VHOST_SET_VRING_KICK, &kick) < 0)
		rc = refused("kick", err);
	if (rc < 0)
		return rc;
	v->started |= 1u << queue;
	return v->started == ALL ? set_running(v, 1, err) : 0;
}

int vhost_kernel_stop(struct sv_vhost_front *v, unsigned queue, uint16_t *base, struct sv_error *err)
{
	struct vhost_vring_state s = {.index = queue};
	int rc = 0;

	if (queue >= SERVED)
		return 0;
	if (v->started == ALL)
		rc = set_running(v, 0, err);
	v->started &= ~(1u << queue);
	if (rc == 0 && ioctl(v->sock, VHOST_GET_VRING_BASE, &s) < 0)
		rc = refused("ring", err);
	*base = (uint16_t)s.num;
	return rc;
}
