/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <base/memtrap.h>

#define PAGE 4096ull

static bool overlaps(uint64_t a, uint64_t b, uint64_t a_bytes, uint64_t b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

static int region_check(const struct sv_vhost *v, const struct vu_region *r, struct sv_error *err)
{
	if (!r->size || r->gpa + r->size < r->gpa || r->user_addr + r->size < r->user_addr ||
		r->fd_offset + r->size < r->fd_offset || r->fd_offset + r->size > INT64_MAX)
		return sv_fail(err, EINVAL,
			"vhost-user: memory region at 0x%" PRIx64 " of 0x%" PRIx64
			" bytes is empty or wraps around", r->gpa, r->size);
	if (v->gmem.n >= SV_GMEM_REGIONS)
		return sv_fail(err, ENOSPC, "vhost-user: more than %u memory regions",
			SV_GMEM_REGIONS);
	for (unsigned i = 0; i < v->gmem.n; i++) {
		const struct sv_gmem_region *o = &v->gmem.region[i];

		if (overlaps(o->gpa, r->gpa, o->size, r->size) ||
			overlaps(o->user_addr, r->user_addr, o->size, r->size))
			return sv_fail(err, EINVAL,
				"vhost-user: memory region at 0x%" PRIx64 " overlaps another", r->gpa);
	}
	return 0;
}

/* The file must hold the whole region, and keep doing so where seals are asked for. */
static int file_check(const struct sv_vhost *v, const struct vu_region *r, int fd,
	uint64_t *page, struct sv_error *err)
{
	struct stat st;
	int seals;

	if (fstat(fd, &st) < 0)
		return sv_fail(err, errno, "vhost-user: memory descriptor: %s", strerror(errno));
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < r->fd_offset + r->size)
		return sv_fail(err, EINVAL,
			"vhost-user: memory region at 0x%" PRIx64 " needs a file of %" PRIu64
			" bytes, this one has %lld", r->gpa, r->fd_offset + r->size,
			(long long)st.st_size);
	seals = fcntl(fd, F_GET_SEALS);
	if (v->sealed_only && (seals < 0 || !(seals & F_SEAL_SHRINK)))
		return sv_fail(err, EPERM,
			"vhost-user: memory region at 0x%" PRIx64
			" could shrink: seal the memfd with F_SEAL_SHRINK", r->gpa);
	*page = st.st_blksize > (long)PAGE && (st.st_blksize & (st.st_blksize - 1)) == 0
			? (uint64_t)st.st_blksize
			: PAGE;
	return 0;
}

int sv_vhost_mem_add(struct sv_vhost *v, const struct vu_region *r, int fd, struct sv_error *err)
{
	uint64_t page = 0, start, bytes;
	unsigned n = v->gmem.n;
	void *base;
	int rc;

	rc = region_check(v, r, err);
	if (!rc)
		rc = file_check(v, r, fd, &page, err);
	if (rc)
		return rc;
	start = r->fd_offset & ~(page - 1);
	bytes = (r->fd_offset + r->size - start + page - 1) & ~(page - 1);
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		(off_t)start);
	if (base == MAP_FAILED)
		return sv_fail(err, errno, "vhost-user: cannot map %" PRIu64 " bytes at 0x%" PRIx64
			": %s", bytes, r->gpa, strerror(errno));
	(void)madvise(base, bytes, MADV_DONTDUMP);
	(void)madvise(base, bytes, MADV_DONTFORK);
	v->map[n].base = base;
	v->map[n].bytes = bytes;
	v->map[n].trap = sv_memtrap_add(base, bytes);
	v->gmem.region[n] = (struct sv_gmem_region){.gpa = r->gpa,
		.size = r->size,
		.host = (uint8_t *)base + (r->fd_offset - start),
		.fd = -1,
		.fd_offset = r->fd_offset,
		.user_addr = r->user_addr,
		.id = ++v->memory_changes};
	v->gmem.n = n + 1;
	return 0;
}

static void unmap(struct sv_vhost *v, unsigned i)
{
	sv_memtrap_remove(v->map[i].trap);
	munmap(v->map[i].base, v->map[i].bytes);
}

int sv_vhost_mem_remove(struct sv_vhost *v, const struct vu_region *r, struct sv_error *err)
{
	for (unsigned i = 0; i < v->gmem.n; i++) {
		const struct sv_gmem_region *o = &v->gmem.region[i];
		unsigned last = v->gmem.n - 1;

		if (o->gpa != r->gpa || o->size != r->size || o->user_addr != r->user_addr)
			continue;
		unmap(v, i);
		v->map[i] = v->map[last];
		v->gmem.region[i] = v->gmem.region[last];
		v->gmem.n = last;
		v->memory_changes++;
		return 0;
	}
	return sv_fail(err, ENOENT, "vhost-user: no memory region at 0x%" PRIx64 " to remove",
		r->gpa);
}

void sv_vhost_mem_clear(struct sv_vhost *v)
{
	for (unsigned i = 0; i < v->gmem.n; i++)
		unmap(v, i);
	v->gmem.n = 0;
	v->memory_changes++;
}

void *sv_vhost_mem_user(const struct sv_vhost *v, uint64_t user_addr, uint64_t len,
	unsigned align)
{
	for (unsigned i = 0; i < v->gmem.n; i++) {
		const struct sv_gmem_region *r = &v->gmem.region[i];
		uint64_t off = user_addr - r->user_addr;

		if (off < r->size && len <= r->size - off) {
			uint8_t *host = r->host + off;

			return (uintptr_t)host % align ? NULL : host;
		}
	}
	return NULL;
}
