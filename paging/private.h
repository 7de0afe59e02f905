/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of paging/ share. All of it is private memory of the host. */
#ifndef PAGING_PRIVATE_H
#define PAGING_PRIVATE_H

#include <paging/paging.h>

#include <channels/atomics.h>
#include <sidevisor/paging.h>

#define PAGE_BYTES 4096ull
#define PAGE_SHIFT 12u
#define BLOCK2_SHIFT 21u
#define BLOCK3_SHIFT 30u
#define ENTRIES 512u
#define LEVELS_MAX 5u
#define REGIONS_MAX (SV_GMEM_REGIONS + SV_PAGING_DEVICES)
#define LEAF_FLAGS (SV_PTE_PRESENT | SV_PTE_WRITE | SV_PTE_USER | SV_PTE_ACCESSED | SV_PTE_DIRTY | \
	SV_PTE_LARGE | SV_PTE_SOFT | SV_PTE_NX)
/* Every entry that refers to a table: what is forbidden is forbidden at the page. */
#define TABLE_FLAGS (SV_PTE_PRESENT | SV_PTE_WRITE | SV_PTE_USER | SV_PTE_ACCESSED)

/* What a frame is. TABLE + level: a page table of that level. */
enum frame_type {
	FRAME_PLAIN = 0,
	FRAME_TABLE = 0, /* + 1..5 */
	FRAME_KERNEL = 6, /* never accessible to CPL 3 */
	FRAME_CLOSED = 7, /* never writable */
};

static inline bool frame_is_table(uint8_t type)
{
	return type >= 1 && type <= LEVELS_MAX;
}

/* Nobody maps it writable. */
static inline bool frame_is_guarded(uint8_t type)
{
	return frame_is_table(type) || type == FRAME_CLOSED;
}

/* Present entries that map a page of one size, and the epoch in which one was last taken away. */
struct page_count {
	uint32_t maps, writable;
	uint32_t stale;
};

struct frame {
	struct page_count count; /* pages of 4 KiB */
	uint8_t type;
	uint8_t reserved0;
	uint16_t links; /* a table: entries that refer to it, and vCPUs that run on it */
};

/* 2 MiB or 1 GiB of frames. */
struct block {
	struct page_count count; /* pages of this size */
	uint32_t guarded, kernel; /* frames in it of these kinds */
};

/* Frames of one region of guest memory. */
struct frame_region {
	uint64_t gpa, size;
	uint8_t *host; /* NULL: a device's */
	struct frame *frame;
	struct block *block[2]; /* of 2 MiB, of 1 GiB: by address, from that of the region's start */
	uint64_t mapped_bytes[3];
};

/* A table's private entries. Those of what is no table now are remembered (see `parent`). */
struct table {
	uint64_t entry[ENTRIES];
	uint64_t *shared; /* its frame in guest memory: written only */
	uint64_t gpa;
	uint32_t parent; /* 1 + index of the table that refers to it, or did last; 0: never */
	uint16_t slot;	 /* the entry there */
	uint16_t present; /* entries */
	uint8_t level;	 /* 0: no table */
	bool linked;
	bool used; /* it had an entry, or was linked, or a vCPU ran on it */
};

/* Calls to KVM per request: each may interrupt every core of the guest, and holds the sidecore up. */
#define FORGET_RUNS 64u

struct forget_run {
	uint64_t gpa, bytes;
};

struct sv_paging {
	struct sv_paging_config config;
	uint32_t lock;
	unsigned regions;
	struct frame_region region[REGIONS_MAX];
	struct table *table; /* one per frame of the pool */
	uint64_t tables, table_bytes;
	uint64_t *active; /* by vCPU: the root it runs on, or 0 */
	struct sv_paging_page *page;
	uint32_t epoch, clean; /* being filled; the last one that every vCPU has flushed */
	/* What this request takes away, when KVM is to forget it. */
	bool noting;
	unsigned runs, notes;
	struct forget_run run[FORGET_RUNS + 1];
	struct page_count *noted[SV_PAGING_BATCH_MAX];
	struct sv_paging_stats stats;
};

/* --- frames.c: types and counts -------------------------------------------------------------- */

int frames_create(struct sv_paging *p, struct sv_error *err);
void frames_destroy(struct sv_paging *p);

static inline uint64_t page_bytes(unsigned level)
{
	return PAGE_BYTES << 9 * (level - 1);
}

/* The region that [gpa, gpa + bytes) lies in, or NULL. */
static inline struct frame_region *frames_region(struct sv_paging *p, uint64_t gpa, uint64_t bytes)
{
	for (unsigned i = 0; i < p->regions; i++) {
		struct frame_region *r = &p->region[i];
		uint64_t off = gpa - r->gpa;

		if (off < r->size && bytes <= r->size - off)
			return r;
	}
	return NULL;
}

static inline struct frame *frames_at(struct frame_region *r, uint64_t gpa)
{
	return &r->frame[(gpa - r->gpa) >> PAGE_SHIFT];
}

static inline struct block *frames_block(struct frame_region *r, unsigned level, uint64_t gpa)
{
	unsigned shift = level == 2 ? BLOCK2_SHIFT : BLOCK3_SHIFT;

	return &r->block[level - 2][(gpa >> shift) - (r->gpa >> shift)];
}

/* The counts of the page of @level at @gpa, which is in the VM's memory. */
struct page_count *frames_count(struct sv_paging *p, uint64_t gpa, unsigned level);
/* May a page of @level be mapped at the entry's frame, with these flags? Return: SV_STATUS_*. */
uint32_t frames_may_map(struct sv_paging *p, uint64_t entry, unsigned level,
	struct page_count **count);
/* No page of any size maps the frame writable, and no vCPU can still have it in its TLB so. */
uint32_t frames_may_guard(struct sv_paging *p, struct frame_region *r, uint64_t gpa);
void frames_set_type(struct frame_region *r, uint64_t gpa, uint8_t type);

/* --- tables.c: tables as objects: pin, unpin, activate, reserve ------------------------------ */

/* The table at @gpa, or NULL. */
static inline struct table *table_at(struct sv_paging *p, uint64_t gpa)
{
	uint64_t off = gpa - p->config.pool_gpa;
	struct table *t;

	if (off >= p->config.pool_bytes || off % PAGE_BYTES)
		return NULL;
	t = &p->table[off >> PAGE_SHIFT];
	return t->level ? t : NULL;
}

uint32_t table_pin(struct sv_paging *p, uint64_t gpa, uint64_t level);
uint32_t table_unpin(struct sv_paging *p, uint64_t gpa);
uint32_t table_activate(struct sv_paging *p, uint32_t vcpu, uint64_t gpa);
uint32_t table_reserve(struct sv_paging *p, uint64_t gpa, uint64_t bytes);

/* --- decode.c: may fail, has no effect ------------------------------------------------------- */

/* One change that is valid: invoke() carries it out. */
struct change {
	struct table *table, *child; /* child: LINK, UNLINK, SPLIT, MERGE */
	unsigned index;
	unsigned op;
	uint64_t old, new; /* private entries */
	struct page_count *lost, *gained; /* of the page that goes and the page that comes, or NULL */
};

/* The table of the last walk, for those that follow in the same request. */
struct walk {
	struct table *root, *table;
	uint64_t tag; /* the linear address that the table begins at, and its level */
};

uint32_t decode_walk(struct sv_paging *p, struct walk *w, uint64_t where, unsigned *index);
uint32_t decode_entry(struct sv_paging *p, struct table *t, unsigned index, unsigned op,
	uint64_t entry, struct change *c);
/* A store of @value into an entry: which operation that is. Return: the operation, 0: none. */
unsigned decode_store(uint64_t old, uint64_t value, unsigned level);

/* --- invoke.c: only stores, cannot fail ------------------------------------------------------ */

void invoke(struct sv_paging *p, const struct change *c);

/* --- fast.c: runs of the most common operation; what they leave goes the long way ------------- */

#define SV_PAGING_LEVEL_BITS 7ull /* in walk.tag */
/* @ops: in guest memory, each word read once. Return: how many of them were done, from the first. */
uint64_t fast_maps(struct sv_paging *p, const struct walk *w, const uint64_t *ops, uint64_t n);
uint64_t fast_range(struct sv_paging *p, struct table *t, unsigned index, uint64_t entry, uint64_t n);

/* --- tlb.c ----------------------------------------------------------------------------------- */

/* A translation to this page was taken away by this request. */
void tlb_note(struct sv_paging *p, struct page_count *count, uint64_t gpa, uint64_t bytes);
/* This request has as much to forget as one may have: it ends here. */
static inline bool tlb_full(const struct sv_paging *p)
{
	return p->runs >= FORGET_RUNS;
}
/*
 * Forget what was noted. What was taken away until @epoch is clean then. Return: SV_STATUS_*.
 */
uint32_t tlb_forget(struct sv_paging *p, uint64_t epoch);
/* Close the epoch. Return: the one that was closed. */
uint32_t tlb_close_epoch(struct sv_paging *p);
uint32_t tlb_flushed(struct sv_paging *p, uint64_t epoch);

#endif
