/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Linux bzImage: the x86 boot protocol from 2.02 on, by its 64-bit entry, or by the 32-bit entry
 * for kernels that have no other and on request.
 */
#include "loader_image.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>

#define HEADER_AT 0x1f1u
#define MAGIC_AT 0x202u
#define SECTOR 512ull
#define SETUP_BYTES_MAX (65 * SECTOR)
#define HDRS 0x53726448u /* "HdrS" */
#define LOADER_UNDEFINED 0xff
#define INITRD_MAX_OLD 0x37ffffffull
#define ENTRY64_OFFSET 0x200ull
#define RNG_SEED_BYTES 32u
#define PT_FRAMES 6u
#define SETUP_DATA_AT (LAYOUT_ZERO_PAGE + PAGE)

struct bzimage {
	struct setup_header h;
	uint64_t code_at, code_bytes; /* of the protected-mode part, in the file */
	uint64_t load, need;	      /* where it goes, and what it occupies before it can look */
	bool entry64;
};

bool sv_linux_probe(const uint8_t *head, size_t n)
{
	uint32_t magic;

	if (n < MAGIC_AT + sizeof(magic))
		return false;
	memcpy(&magic, head + MAGIC_AT, sizeof(magic));
	return magic == HDRS;
}

static int read_header(const struct sv_image *img, struct bzimage *bz, struct sv_error *err)
{
	uint8_t jump_bytes;
	uint64_t end;
	int rc;

	memset(bz, 0, sizeof(*bz));
	/* The jump at 0x200 skips the header: it tells where the header ends. */
	rc = sv_image_read(img, 0x201, &jump_bytes, 1, err);
	if (rc < 0)
		return rc;
	end = MAGIC_AT + jump_bytes;
	if (end > HEADER_AT + sizeof(bz->h))
		end = HEADER_AT + sizeof(bz->h);
	rc = sv_image_read(img, HEADER_AT, &bz->h, end - HEADER_AT, err);
	if (rc < 0)
		return rc;
	if (bz->h.boot_flag != 0xaa55 || end < MAGIC_AT + 6)
		return sv_fail(err, ENOEXEC, "kernel %s: broken header of a Linux kernel; copy or "
			"download it again", img->path);
	if (bz->h.version < 0x202 || !(bz->h.loadflags & LOADED_HIGH))
		return sv_fail(err, ENOTSUP,
			"kernel %s: boot protocol %u.%02u, or a zImage; a bzImage with protocol 2.02 or "
			"newer is needed", img->path, bz->h.version >> 8, bz->h.version & 0xff);
	return 0;
}

/* Fields that a version of the protocol does not have yet: as the protocol says they default. */
static void fill_defaults(struct bzimage *bz)
{
	struct setup_header *h = &bz->h;

	if (h->setup_sects == 0)
		h->setup_sects = 4;
	if (h->version < 0x203)
		h->initrd_addr_max = INITRD_MAX_OLD;
	if (h->version < 0x204)
		h->syssize &= 0xffff;
	if (h->version < 0x205)
		h->kernel_alignment = h->relocatable_kernel = 0;
	if (h->version < 0x206)
		h->cmdline_size = 255;
	if (h->version < 0x208)
		h->payload_offset = h->payload_length = 0;
	if (h->version < 0x20a)
		h->pref_address = h->init_size = h->min_alignment = 0;
	if (h->version < 0x20c)
		h->xloadflags = 0;
}

static int check_file(const struct sv_image *img, struct bzimage *bz, struct sv_error *err)
{
	const struct setup_header *h = &bz->h;
	uint64_t code = (uint64_t)h->syssize * 16, payload;

	bz->code_at = (h->setup_sects + 1) * SECTOR;
	if (bz->code_at + SECTOR > img->size)
		return sv_image_truncated(img, bz->code_at + (code ? code : SECTOR), err);
	/* The last paragraph may be incomplete in the file. */
	if (h->version >= 0x204 && code > 15 && code - 15 > img->size - bz->code_at)
		return sv_image_truncated(img, bz->code_at + code, err);
	bz->code_bytes = img->size - bz->code_at;
	if (h->version >= 0x204 && code && code < bz->code_bytes)
		bz->code_bytes = code; /* behind it: signatures */
	payload = (uint64_t)h->payload_offset + h->payload_length;
	if (payload > bz->code_bytes)
		return sv_image_truncated(img, bz->code_at + payload, err);
	return 0;
}

/*
 * At the preferred address, even when it could be elsewhere: a kernel that was loaded lower unpacks
 * itself there all the same.
 */
static int place(const struct sv_image *img, struct bzimage *bz, const struct sv_vm *vm,
	struct sv_error *err)
{
	const struct setup_header *h = &bz->h;
	uint32_t align = h->kernel_alignment;

	if (h->relocatable_kernel && (align < PAGE || (align & (align - 1)) || align > GIB))
		return sv_fail(err, ENOEXEC, "kernel %s: broken header, alignment %#x; copy or download "
			"it again", img->path, align);
	bz->need = bz->code_bytes > h->init_size ? bz->code_bytes : h->init_size;
	bz->load = h->pref_address ? h->pref_address : LAYOUT_HIMEM;
	if (h->relocatable_kernel)
		bz->load = align_up(bz->load, align);
	if (bz->load >= LAYOUT_HIMEM && bz->load < vm->ram_low_bytes &&
		bz->need <= vm->ram_low_bytes - bz->load)
		return 0;
	if (bz->load < LAYOUT_HIMEM)
		return sv_fail(err, ENOEXEC, "kernel %s: broken header, load address %#llx; copy or "
			"download it again", img->path, (unsigned long long)bz->load);
	return sv_image_too_large(img, vm, bz->load, bz->need, err);
}

static int decode(struct sv_load *l, struct bzimage *bz, struct sv_error *err)
{
	bool high;
	int rc = read_header(&l->kernel, bz, err);

	if (rc < 0)
		return rc;
	fill_defaults(bz);
	bz->entry64 = (bz->h.xloadflags & XLF_KERNEL_64) && !l->vm->config->boot32;
	rc = check_file(&l->kernel, bz, err);
	if (rc == 0)
		rc = place(&l->kernel, bz, l->vm, err);
	if (rc == 0)
		rc = sv_cmdline_check(l->vm, bz->h.cmdline_size, err);
	if (rc == 0)
		rc = sv_initrd_open(&l->initrd, l->vm, true, err);
	high = bz->entry64 && (bz->h.xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G);
	if (rc == 0)
		rc = sv_initrd_place_top(&l->initrd, l->vm, bz->load + bz->need,
			bz->h.initrd_addr_max, high, err);
	return rc;
}

/* Entropy for the guest's random number generator; kernels that do not know it pass over it. */
static uint64_t write_seed(struct sv_vm *vm)
{
	struct setup_data *seed = sv_vm_ptr(vm, SETUP_DATA_AT, sizeof(*seed) + RNG_SEED_BYTES);

	SV_BUG_ON(!seed);
	if (getrandom(seed->data, RNG_SEED_BYTES, GRND_NONBLOCK) != RNG_SEED_BYTES)
		return 0;
	seed->next = 0;
	seed->type = SETUP_RNG_SEED;
	seed->len = RNG_SEED_BYTES;
	return SETUP_DATA_AT;
}

static void write_params(struct sv_load *l, const struct bzimage *bz)
{
	struct boot_params *bp = sv_vm_ptr(l->vm, LAYOUT_ZERO_PAGE, sizeof(*bp));
	struct sv_mem_range map[MEM_MAP_MAX];
	const struct sv_initrd *rd = &l->initrd;

	SV_BUG_ON(!bp);
	memset(bp, 0, sizeof(*bp));
	bp->hdr = bz->h;
	bp->hdr.type_of_loader = LOADER_UNDEFINED;
	bp->hdr.vid_mode = 0xffff;
	bp->hdr.code32_start = (uint32_t)bz->load;
	bp->hdr.cmd_line_ptr = LAYOUT_CMDLINE;
	if (rd->present) {
		bp->hdr.ramdisk_image = (uint32_t)rd->gpa;
		bp->hdr.ramdisk_size = (uint32_t)rd->img.size;
		bp->ext_ramdisk_image = (uint32_t)(rd->gpa >> 32);
		bp->ext_ramdisk_size = (uint32_t)(rd->img.size >> 32);
	}
	if (bz->h.version >= 0x209)
		bp->hdr.setup_data = write_seed(l->vm);
	if (bz->h.version >= 0x20e)
		bp->acpi_rsdp_addr = l->rsdp;
	bp->alt_mem_k = (uint32_t)((l->vm->ram_low_bytes - LAYOUT_HIMEM) / 1024);
	bp->e820_entries = (uint8_t)sv_mem_map(l->vm, map);
	for (unsigned i = 0; i < bp->e820_entries; i++)
		bp->e820_table[i] =
			(struct boot_e820_entry){map[i].gpa, map[i].bytes, map[i].type};
}

/* The 64-bit entry wants the kernel, the parameters and the command line mapped one to one. */
static void enter64(struct sv_load *l, const struct bzimage *bz)
{
	struct sv_page_tables pt = {.vm = l->vm, .gpa = LAYOUT_BOOT_PT, .frames = PT_FRAMES};

	SV_BUG_ON(sv_page_tables_map(&pt, 0, LAYOUT_HIGH) < 0);
	l->entry->mode = SV_ENTRY_LINUX64;
	l->entry->rip = bz->load + ENTRY64_OFFSET;
	l->entry->cr3 = LAYOUT_BOOT_PT;
}

int sv_load_linux(struct sv_load *l, struct sv_error *err)
{
	struct bzimage bz;
	int rc = decode(l, &bz, err);

	if (rc == 0)
		rc = sv_image_load(&l->kernel, l->vm, bz.code_at, bz.load, bz.code_bytes, err);
	if (rc == 0)
		rc = sv_initrd_load(&l->initrd, l->vm, err);
	if (rc < 0)
		return rc;
	sv_cmdline_write(l->vm);
	write_params(l, &bz);
	l->entry->mode = SV_ENTRY_LINUX32;
	l->entry->rip = bz.load;
	l->entry->cr3 = 0;
	if (bz.entry64)
		enter64(l, &bz);
	l->entry->arg = LAYOUT_ZERO_PAGE;
	sv_boot_gdt(l->vm, bz.entry64, l->entry);
	return 0;
}
