/* SPDX-License-Identifier: BSD-3-Clause */
/* ELF executables, 32 and 64 bits: program headers and notes, checked before anything is loaded. */
#include "loader_image.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sidevisor/platform.h>

#define NOTE_BYTES_MAX 65536u
#define XEN_NOTE_PHYS32_ENTRY 18u

/* The fields of either class that matter here. */
struct header {
	bool is64;
	uint64_t entry, phoff, shoff;
	unsigned phnum, phentsize, shnum, shentsize;
};

static int bad(const struct sv_image *img, const char *what, struct sv_error *err)
{
	return sv_fail(err, ENOEXEC, "kernel %s: broken ELF file: %s; build or download it again",
		img->path, what);
}

static int decode_header(const struct sv_image *img, struct header *h, struct sv_error *err)
{
	union {
		unsigned char ident[EI_NIDENT];
		Elf32_Ehdr e32;
		Elf64_Ehdr e64;
	} u;
	size_t need;
	int rc;

	memset(&u, 0, sizeof(u));
	if (img->size < EI_NIDENT)
		return sv_image_truncated(img, sizeof(u.e32), err);
	rc = sv_image_read(img, 0, u.ident, EI_NIDENT, err);
	if (rc < 0)
		return rc;
	if ((u.ident[EI_CLASS] != ELFCLASS64 && u.ident[EI_CLASS] != ELFCLASS32) ||
		u.ident[EI_DATA] != ELFDATA2LSB)
		return bad(img, "neither 32 nor 64 bits little-endian", err);
	h->is64 = u.ident[EI_CLASS] == ELFCLASS64;
	need = h->is64 ? sizeof(u.e64) : sizeof(u.e32);
	rc = sv_image_read(img, 0, &u, need, err);
	if (rc < 0)
		return rc;
#define TAKE(f) (h->is64 ? u.e64.e_##f : u.e32.e_##f)
	if (TAKE(machine) != EM_X86_64 && TAKE(machine) != EM_386)
		return bad(img, "not for x86", err);
	if (TAKE(type) != ET_EXEC && TAKE(type) != ET_DYN)
		return bad(img, "not an executable", err);
	h->entry = TAKE(entry);
	h->phoff = TAKE(phoff);
	h->phnum = TAKE(phnum);
	h->phentsize = TAKE(phentsize);
	h->shoff = TAKE(shoff);
	h->shnum = TAKE(shnum);
	h->shentsize = TAKE(shentsize);
#undef TAKE
	return 0;
}

/* Segments are what is loaded; the section table behind them shows that the file is whole. */
static int check_header(const struct sv_image *img, const struct header *h, struct sv_error *err)
{
	uint64_t ph = h->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
	uint64_t sections = (uint64_t)h->shnum * h->shentsize;

	if (h->phnum == 0 || h->phnum > ELF_SEGMENTS)
		return bad(img, "no program headers, or more than 64", err);
	if (h->phentsize != ph)
		return bad(img, "program headers of a wrong size", err);
	if (h->phoff > img->size || ph * h->phnum > img->size - h->phoff)
		return sv_image_truncated(img, h->phoff + ph * h->phnum, err);
	if (h->shnum && (h->shoff > img->size || sections > img->size - h->shoff))
		return sv_image_truncated(img, h->shoff + sections, err);
	return 0;
}

static bool note_is(const uint8_t *name, uint32_t namesz, const char *want)
{
	return namesz == strlen(want) + 1 && !memcmp(name, want, namesz);
}

static int take_note(const struct sv_image *img, struct sv_elf *elf, uint32_t type,
	const uint8_t *name, uint32_t namesz, const uint8_t *desc, uint32_t descsz,
	struct sv_error *err)
{
	if (type == SV_ELF_NOTE_TYPE && note_is(name, namesz, "sidevisor")) {
		if (descsz != 4)
			return bad(img, "a sidevisor note without a 4-byte ABI version", err);
		elf->lwk = true;
		memcpy(&elf->lwk_version, desc, 4);
	} else if (type == XEN_NOTE_PHYS32_ENTRY && note_is(name, namesz, "Xen")) {
		if (descsz != 4 && descsz != 8)
			return bad(img, "a PVH note without an address", err);
		elf->pvh = true;
		elf->pvh_entry = 0;
		memcpy(&elf->pvh_entry, desc, descsz);
	}
	return 0; /* notes of others: not ours to judge */
}

static int decode_notes(const struct sv_image *img, struct sv_elf *elf, const uint8_t *p,
	uint64_t n, struct sv_error *err)
{
	int rc = 0;

	while (rc == 0 && n >= sizeof(Elf32_Nhdr)) {
		Elf32_Nhdr nh;
		uint64_t name, desc;

		memcpy(&nh, p, sizeof(nh));
		p += sizeof(nh);
		n -= sizeof(nh);
		name = align_up(nh.n_namesz, 4);
		desc = align_up(nh.n_descsz, 4);
		/* The padding of the last note may be missing. */
		if (name > n || nh.n_descsz > n - name)
			return bad(img, "a note that is longer than its segment", err);
		rc = take_note(img, elf, nh.n_type, p, nh.n_namesz, p + name, nh.n_descsz, err);
		if (desc > n - name)
			break;
		p += name + desc;
		n -= name + desc;
	}
	return rc;
}

static int read_notes(const struct sv_image *img, struct sv_elf *elf, uint64_t off, uint64_t bytes,
	struct sv_error *err)
{
	uint8_t *buf;
	int rc;

	if (off > img->size || bytes > img->size - off)
		return sv_image_truncated(img, off + bytes < off ? UINT64_MAX : off + bytes, err);
	if (bytes > NOTE_BYTES_MAX)
		return bad(img, "notes of more than 64 KiB", err);
	if (!bytes)
		return 0;
	buf = malloc(bytes);
	if (!buf)
		return sv_fail(err, ENOMEM, "out of memory");
	rc = sv_image_read(img, off, buf, bytes, err);
	if (rc == 0)
		rc = decode_notes(img, elf, buf, bytes, err);
	free(buf);
	return rc;
}

static int take_segment(const struct sv_image *img, struct sv_elf *elf, const Elf64_Phdr *ph,
	struct sv_error *err)
{
	unsigned at = elf->n;

	if (ph->p_filesz > ph->p_memsz)
		return bad(img, "a segment that is larger in the file than in memory", err);
	if (ph->p_offset > img->size || ph->p_filesz > img->size - ph->p_offset)
		return sv_image_truncated(img, ph->p_offset + ph->p_filesz < ph->p_offset
			? UINT64_MAX : ph->p_offset + ph->p_filesz, err);
	if (ph->p_paddr + ph->p_memsz < ph->p_paddr)
		return bad(img, "a segment that wraps around the end of memory", err);
	if (!ph->p_memsz)
		return 0;
	for (; at > 0 && elf->seg[at - 1].gpa > ph->p_paddr; at--)
		elf->seg[at] = elf->seg[at - 1];
	elf->seg[at] = (struct sv_segment){ph->p_offset, ph->p_vaddr, ph->p_paddr, ph->p_filesz,
		ph->p_memsz};
	elf->n++;
	return 0;
}

static int read_phdr(const struct sv_image *img, const struct header *h, unsigned i, Elf64_Phdr *ph,
	struct sv_error *err)
{
	Elf32_Phdr p;
	int rc;

	if (h->is64)
		return sv_image_read(img, h->phoff + i * sizeof(*ph), ph, sizeof(*ph), err);
	rc = sv_image_read(img, h->phoff + i * sizeof(p), &p, sizeof(p), err);
	if (rc == 0)
		*ph = (Elf64_Phdr){.p_type = p.p_type,
			.p_offset = p.p_offset,
			.p_vaddr = p.p_vaddr,
			.p_paddr = p.p_paddr,
			.p_filesz = p.p_filesz,
			.p_memsz = p.p_memsz};
	return rc;
}

/* The entry of an executable is virtual: where its segment puts it in memory. */
static void place_entry(struct sv_elf *elf, uint64_t entry)
{
	elf->entry = entry;
	for (unsigned i = 0; i < elf->n; i++) {
		const struct sv_segment *s = &elf->seg[i];

		if (entry - s->vaddr < s->memsz) {
			elf->entry = s->gpa + (entry - s->vaddr);
			break;
		}
	}
	elf->entry_ok = sv_elf_contains(elf, elf->entry);
}

int sv_elf_decode(const struct sv_image *img, struct sv_elf *elf, struct sv_error *err)
{
	struct header h = {0};
	Elf64_Phdr ph = {0};
	int rc;

	memset(elf, 0, sizeof(*elf));
	rc = decode_header(img, &h, err);
	if (rc == 0)
		rc = check_header(img, &h, err);
	for (unsigned i = 0; rc == 0 && i < h.phnum; i++) {
		rc = read_phdr(img, &h, i, &ph, err);
		if (rc == 0 && ph.p_type == PT_LOAD)
			rc = take_segment(img, elf, &ph, err);
		else if (rc == 0 && ph.p_type == PT_NOTE)
			rc = read_notes(img, elf, ph.p_offset, ph.p_filesz, err);
	}
	if (rc < 0)
		return rc;
	if (elf->n == 0)
		return bad(img, "nothing in it is to be loaded", err);
	for (unsigned i = 1; i < elf->n; i++)
		if (elf->seg[i - 1].gpa + elf->seg[i - 1].memsz > elf->seg[i].gpa)
			return sv_fail(err, ENOEXEC,
				"kernel %s: broken ELF file: segments overlap at %#llx; correct its "
				"linker script", img->path, (unsigned long long)elf->seg[i].gpa);
	place_entry(elf, h.entry);
	return 0;
}

bool sv_elf_contains(const struct sv_elf *elf, uint64_t gpa)
{
	for (unsigned i = 0; i < elf->n; i++)
		if (gpa - elf->seg[i].gpa < elf->seg[i].memsz)
			return true;
	return false;
}

uint64_t sv_elf_end(const struct sv_elf *elf)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < elf->n; i++)
		if (elf->seg[i].gpa < LAYOUT_HIGH)
			end = elf->seg[i].gpa + elf->seg[i].memsz;
	return end;
}

int sv_elf_check(const struct sv_image *img, const struct sv_elf *elf, const struct sv_vm *vm,
	uint64_t low, bool high, struct sv_error *err)
{
	for (unsigned i = 0; i < elf->n; i++) {
		const struct sv_segment *s = &elf->seg[i];
		uint64_t off = s->gpa - LAYOUT_HIGH;

		if (s->gpa < low)
			return sv_fail(err, ENOEXEC,
				"kernel %s: a segment lies at %#llx, the lowest address allowed is "
				"%#llx; correct its linker script", img->path,
				(unsigned long long)s->gpa, (unsigned long long)low);
		if (s->gpa < vm->ram_low_bytes && s->memsz <= vm->ram_low_bytes - s->gpa)
			continue;
		if (high && s->gpa >= LAYOUT_HIGH && off < vm->ram_high_bytes &&
			s->memsz <= vm->ram_high_bytes - off)
			continue;
		return sv_image_too_large(img, vm, s->gpa, s->memsz, err);
	}
	return 0;
}

int sv_elf_load(const struct sv_image *img, const struct sv_elf *elf, struct sv_vm *vm,
	struct sv_error *err)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < elf->n; i++) {
		rc = sv_image_load(img, vm, elf->seg[i].offset, elf->seg[i].gpa, elf->seg[i].filesz,
			err);
		/* Memory is zeroes where nothing was loaded, unless it comes from somewhere. */
		if (rc == 0 && vm->config->source.path)
			memset(sv_vm_ptr(vm, elf->seg[i].gpa + elf->seg[i].filesz,
				       elf->seg[i].memsz - elf->seg[i].filesz), 0,
				elf->seg[i].memsz - elf->seg[i].filesz);
	}
	return rc;
}
