/* SPDX-License-Identifier: BSD-3-Clause */
/* Which format a kernel has, and the files that loaders read. */
#include "loader_image.h"

#include <errno.h>
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_BYTES 8192u /* everything a format is recognised by lies in here */

static int open_failed(const struct sv_image *img, int e, struct sv_error *err)
{
	switch (e) {
	case ENOENT:
	case ENOTDIR:
		return sv_fail(err, e, "%s %s: no such file; give the path of one that exists",
			img->what, img->path);
	case EACCES:
	case EPERM:
		return sv_fail(err, e, "%s %s: permission denied; make it readable for this user",
			img->what, img->path);
	}
	return sv_fail(err, e, "%s %s: cannot be opened: %s", img->what, img->path, strerror(e));
}

int sv_image_open(struct sv_image *img, const char *what, const char *path, struct sv_error *err)
{
	struct stat st;
	int rc;

	*img = (struct sv_image){.fd = -1, .what = what, .path = path};
	if (!path || !*path)
		return sv_fail(err, EINVAL, "no %s given; name a file", what);
	/* A FIFO must not keep us waiting: O_NONBLOCK has no effect on regular files. */
	img->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (img->fd < 0)
		return open_failed(img, errno, err);
	if (fstat(img->fd, &st) < 0)
		rc = open_failed(img, errno, err);
	else if (S_ISDIR(st.st_mode))
		rc = sv_fail(err, EISDIR, "%s %s: is a directory; give the file inside it", what, path);
	else if (!S_ISREG(st.st_mode))
		rc = sv_fail(err, EINVAL, "%s %s: not a regular file; copy it into one", what, path);
	else if (st.st_size == 0)
		rc = sv_fail(err, ENODATA, "%s %s: is empty; was it downloaded or copied completely?",
			what, path);
	else
		rc = 0;
	if (rc < 0)
		sv_image_close(img);
	else
		img->size = (uint64_t)st.st_size;
	return rc;
}

void sv_image_close(struct sv_image *img)
{
	if (img->fd >= 0)
		close(img->fd);
	img->fd = -1;
}

int sv_image_truncated(const struct sv_image *img, uint64_t need, struct sv_error *err)
{
	return sv_fail(err, ENODATA,
		"%s %s: truncated, it has %llu bytes where %llu are needed; copy or download it again",
		img->what, img->path, (unsigned long long)img->size, (unsigned long long)need);
}

int sv_image_too_large(const struct sv_image *img, const struct sv_vm *vm, uint64_t gpa,
	uint64_t len, struct sv_error *err)
{
	uint64_t end = gpa + len, have = vm->ram_low_bytes + vm->ram_high_bytes;

	if (end < gpa || end > LAYOUT_LOW_MAX)
		return sv_fail(err, EFBIG,
			"%s %s: needs %llu bytes of memory at %#llx, where this machine has no RAM",
			img->what, img->path, (unsigned long long)len, (unsigned long long)gpa);
	return sv_fail(err, EFBIG,
		"%s %s: too large for %llu MiB of memory; it needs at least --memory %lluM", img->what,
		img->path, (unsigned long long)(have / MIB),
		(unsigned long long)(align_up(end, MIB) / MIB));
}

int sv_image_read(const struct sv_image *img, uint64_t off, void *buf, uint64_t len,
	struct sv_error *err)
{
	uint8_t *p = buf;

	if (off > img->size || len > img->size - off)
		return sv_image_truncated(img, off + len < off ? UINT64_MAX : off + len, err);
	while (len) {
		size_t want = len < SSIZE_MAX / 2 ? (size_t)len : SSIZE_MAX / 2;
		ssize_t n = pread(img->fd, p, want, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return sv_fail(err, errno, "%s %s: read error at byte %llu: %s", img->what,
				img->path, (unsigned long long)off, strerror(errno));
		if (n == 0)
			return sv_fail(err, ENODATA,
				"%s %s: became shorter while it was being loaded; leave it alone and "
				"start again", img->what, img->path);
		p += n;
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int sv_image_load(const struct sv_image *img, struct sv_vm *vm, uint64_t off, uint64_t gpa,
	uint64_t len, struct sv_error *err)
{
	void *p = sv_vm_ptr(vm, gpa, len);

	SV_BUG_ON(!p); /* decode checked it */
	return sv_image_read(img, off, p, len, err);
}

static int not_a_kernel(const struct sv_image *img, bool elf, struct sv_error *err)
{
	if (elf)
		return sv_fail(err, ENOEXEC,
			"kernel %s: an ELF file without sidevisor note, PVH note or multiboot header; "
			"build it as a guest kernel (Linux: CONFIG_PVH=y, or use the bzImage)",
			img->path);
	return sv_fail(err, ENOEXEC,
		"kernel %s: not a kernel; expected a Linux bzImage, an ELF file with a PVH or sidevisor "
		"note, or a multiboot 1 kernel", img->path);
}

static int dispatch(struct sv_load *l, const uint8_t *head, size_t n, struct sv_error *err)
{
	bool is_elf = n >= SELFMAG && !memcmp(head, ELFMAG, SELFMAG);
	long multiboot = sv_multiboot_probe(head, n);
	int rc;

	if (!is_elf && sv_linux_probe(head, n))
		return sv_load_linux(l, err);
	if (is_elf) {
		l->elf = malloc(sizeof(*l->elf));
		if (!l->elf)
			return sv_fail(err, ENOMEM, "out of memory");
		rc = sv_elf_decode(&l->kernel, l->elf, err);
		if (rc < 0)
			return rc;
		if (l->elf->lwk)
			return sv_load_lwk(l, err);
		if (l->elf->pvh)
			return sv_load_pvh(l, err);
	}
	if (multiboot >= 0)
		return sv_load_multiboot(l, head + multiboot, multiboot, err);
	return not_a_kernel(&l->kernel, is_elf, err);
}

static int read_head(const struct sv_image *img, uint8_t *head, size_t *n, struct sv_error *err)
{
	*n = img->size < HEAD_BYTES ? (size_t)img->size : HEAD_BYTES;
	return sv_image_read(img, 0, head, *n, err);
}

int sv_loader_load(struct sv_vm *vm, uint64_t rsdp, struct sv_entry *entry, struct sv_error *err)
{
	struct sv_load l = {.vm = vm, .rsdp = rsdp, .entry = entry};
	uint8_t head[HEAD_BYTES];
	size_t n;
	int rc = sv_image_open(&l.kernel, "kernel", vm->config->kernel, err);

	if (rc < 0)
		return rc;
	rc = read_head(&l.kernel, head, &n, err);
	if (rc == 0)
		rc = dispatch(&l, head, n, err);
	free(l.elf);
	sv_initrd_close(&l.initrd);
	sv_image_close(&l.kernel);
	return rc;
}

int sv_loader_is_lwk(const char *path, struct sv_error *err)
{
	struct sv_image img;
	struct sv_elf *elf;
	uint8_t head[SELFMAG] = {0};
	int rc = sv_image_open(&img, "kernel", path, err);

	if (rc < 0)
		return rc;
	if (img.size >= sizeof(head))
		rc = sv_image_read(&img, 0, head, sizeof(head), err);
	if (rc == 0 && !memcmp(head, ELFMAG, SELFMAG)) {
		elf = malloc(sizeof(*elf));
		rc = elf ? sv_elf_decode(&img, elf, err) : sv_fail(err, ENOMEM, "out of memory");
		if (rc == 0)
			rc = elf->lwk;
		free(elf);
	}
	sv_image_close(&img);
	return rc;
}
