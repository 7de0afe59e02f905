/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests: which of them there are, batches, and the audit. */
#include "private.h"

#include <string.h>

#define OPS_PER_LINE (SV_CACHE_LINE / sizeof(struct sv_paging_op))

static void take_lock(struct sv_paging *p)
{
	while (__atomic_exchange_n(&p->lock, 1, __ATOMIC_ACQUIRE))
		sv_cpu_relax();
}

static void drop_lock(struct sv_paging *p)
{
	sv_store_release(&p->lock, 0u);
}

static bool changes_tables(unsigned op)
{
	return op >= SV_PAGING_LINK;
}

/* One operation of a request: decode, then invoke. */
static uint32_t do_one(struct sv_paging *p, struct walk *w, uint64_t where, uint64_t entry)
{
	unsigned op = where & SV_PAGING_OP_MASK, index;
	uint32_t status = decode_walk(p, w, where, &index);
	struct change c;

	if (status == SV_STATUS_OK)
		status = decode_entry(p, w->table, index, op, entry, &c);
	if (sv_unlikely(status != SV_STATUS_OK))
		return status;
	invoke(p, &c);
	if (sv_unlikely(changes_tables(op)))
		w->table = NULL;
	return SV_STATUS_OK;
}

static uint32_t begin(struct sv_paging *p, uint64_t root, uint64_t flags, struct walk *w)
{
	*w = (struct walk){.root = table_at(p, root)};
	if (!w->root || w->root->level != p->config.levels ||
		flags & ~(SV_PAGING_F_FORGET | SV_PAGING_F_EPOCH))
		return SV_STATUS_INVALID;
	if (flags & SV_PAGING_F_FORGET && !p->config.forget)
		return SV_STATUS_DENIED;
	p->noting = flags & SV_PAGING_F_FORGET;
	return SV_STATUS_OK;
}

/* What was done is done, whatever came after it: its translations are forgotten. */
static void finish(struct sv_paging *p, uint64_t flags, uint64_t done, struct sv_cpl *cpl)
{
	p->stats.updates += done;
	cpl->value[0] = done;
	if (p->noting && tlb_forget(p, p->epoch) != SV_STATUS_OK)
		cpl->status = SV_STATUS_IO;
	p->noting = false;
	if (flags & SV_PAGING_F_EPOCH)
		cpl->value[1] = tlb_close_epoch(p);
}

static void do_update(struct sv_paging *p, const struct sv_req *req, struct sv_cpl *cpl)
{
	uint64_t where = req->arg[1], entry = req->arg[2], count = req->arg[4] ? req->arg[4] : 1;
	unsigned op = where & SV_PAGING_OP_MASK, level = (where & SV_PAGING_LEVEL_MASK) >> 4,
		 index = 0;
	uint64_t step, done = 0;
	struct walk w;

	cpl->status = begin(p, req->arg[0], req->arg[3], &w);
	if (cpl->status == SV_STATUS_OK && count > 1)
		cpl->status = count > ENTRIES || op > SV_PAGING_REMAP
				      ? SV_STATUS_INVALID
				      : decode_walk(p, &w, where, &index);
	if (cpl->status == SV_STATUS_OK && count > 1 && index + count > ENTRIES)
		cpl->status = SV_STATUS_INVALID;
	if (cpl->status == SV_STATUS_OK) {
		step = level ? page_bytes(level) : 0;
		if (op == SV_PAGING_MAP && count > 1)
			done = fast_range(p, w.table, index, entry, count);
		where += done * step;
		entry += done * step;
		for (; done < count && cpl->status == SV_STATUS_OK; done++) {
			cpl->status = tlb_full(p) ? SV_STATUS_AGAIN : do_one(p, &w, where, entry);
			where += step;
			entry += op == SV_PAGING_MAP || op == SV_PAGING_REMAP ? step : 0;
		}
		done -= cpl->status != SV_STATUS_OK;
	}
	finish(p, req->arg[3], done, cpl);
}

/* Each word of an operation is read once: the guest may write to it at any moment. */
static uint64_t do_ops(
	struct sv_paging *p, struct walk *w, const uint64_t *ops, uint64_t n, uint32_t *status)
{
	uint64_t done = 0;

	for (uint64_t i = 0; i < n; i += OPS_PER_LINE)
		sv_prefetch_read(&ops[2 * i]);
	while (done < n) {
		done += fast_maps(p, w, &ops[2 * done], n - done);
		if (done == n)
			break;
		if (sv_unlikely(tlb_full(p))) {
			*status = SV_STATUS_AGAIN;
			break;
		}
		*status = do_one(
			p, w, sv_load_relaxed(&ops[2 * done]), sv_load_relaxed(&ops[2 * done + 1]));
		if (*status != SV_STATUS_OK)
			break;
		done++;
	}
	return done;
}

static void do_batch(struct sv_paging *p, const struct sv_req *req, struct sv_cpl *cpl)
{
	uint64_t n = req->arg[2], bytes = sizeof(struct sv_paging_op), done = 0;
	const uint64_t *ops = NULL;
	struct walk w;

	cpl->status = begin(p, req->arg[0], req->arg[3], &w);
	if (cpl->status == SV_STATUS_OK &&
		(!n || n > SV_PAGING_BATCH_MAX || req->arg[1] % bytes || req->arg[4]))
		cpl->status = SV_STATUS_INVALID;
	if (cpl->status == SV_STATUS_OK) {
		ops = sv_gmem_ptr(p->config.gmem, sv_gpa(req->arg[1]), n * bytes);
		cpl->status = ops ? SV_STATUS_OK : SV_STATUS_BAD_ADDRESS;
	}
	if (cpl->status == SV_STATUS_OK)
		done = do_ops(p, &w, ops, n, &cpl->status);
	finish(p, req->arg[3], done, cpl);
}

/* What decode_entry() wants to hear for a store of @value. */
static uint32_t store_entry(unsigned op, uint64_t value, uint64_t *entry)
{
	*entry = value;
	if (op == SV_PAGING_PROTECT)
		*entry = value & ~SV_PTE_FRAME;
	if (op == SV_PAGING_LINK) {
		*entry = value & SV_PTE_FRAME;
		return (value & ~SV_PTE_FRAME) == TABLE_FLAGS ? SV_STATUS_OK : SV_STATUS_INVALID;
	}
	return op ? SV_STATUS_OK : SV_STATUS_INVALID;
}

/* A store has no flags: what it takes away is always forgotten, where that is how it is done. */
static void do_store(struct sv_paging *p, const struct sv_req *req, struct sv_cpl *cpl)
{
	uint64_t at = req->arg[0], value = req->arg[1], entry;
	struct table *t = table_at(p, at & ~(PAGE_BYTES - 1));
	unsigned index = at % PAGE_BYTES / 8, op;
	struct change c;

	if (!t || at % 8) {
		cpl->status = t ? SV_STATUS_INVALID : SV_STATUS_ABSENT;
		return;
	}
	op = decode_store(t->entry[index], value, t->level);
	cpl->status = store_entry(op, value, &entry);
	if (cpl->status == SV_STATUS_OK)
		cpl->status = decode_entry(p, t, index, op, entry, &c);
	if (cpl->status != SV_STATUS_OK)
		return;
	p->noting = p->config.shadowed && p->config.forget;
	invoke(p, &c);
	finish(p, 0, 1, cpl);
}

static void do_forget(struct sv_paging *p, const struct sv_req *req, struct sv_cpl *cpl)
{
	uint64_t n = req->arg[1], done = 0;
	const uint64_t *frames;

	if (!p->config.forget || !n || n > SV_PAGING_BATCH_MAX || req->arg[0] % sizeof(*frames) ||
		req->arg[2] >= p->epoch) {
		cpl->status = p->config.forget ? SV_STATUS_INVALID : SV_STATUS_DENIED;
		return;
	}
	frames = sv_gmem_ptr(p->config.gmem, sv_gpa(req->arg[0]), n * sizeof(*frames));
	if (!frames) {
		cpl->status = SV_STATUS_BAD_ADDRESS;
		return;
	}
	p->noting = true;
	for (; done < n && !tlb_full(p); done++) {
		uint64_t gpa = sv_load_relaxed(&frames[done]) & SV_PTE_FRAME;

		if (frames_region(p, gpa, PAGE_BYTES))
			tlb_note(p, frames_count(p, gpa, 1), gpa, PAGE_BYTES);
	}
	cpl->status = tlb_forget(p, req->arg[2]);
	if (cpl->status == SV_STATUS_OK && done < n)
		cpl->status = SV_STATUS_AGAIN;
	cpl->value[0] = done;
	p->noting = false;
}

static void do_info(const struct sv_paging *p, struct sv_cpl *cpl)
{
	const struct sv_paging_config *c = &p->config;

	cpl->value[0] = (c->shadowed ? SV_PAGING_I_SHADOWED : 0) |
			(c->forget ? SV_PAGING_I_FORGET : 0) | (c->gib_pages ? SV_PAGING_I_GIB : 0);
	cpl->value[1] = c->pool_gpa;
	cpl->value[2] = c->pool_bytes;
	cpl->value[3] = c->levels;
}

static void dispatch(
	struct sv_paging *p, uint32_t vcpu, const struct sv_req *req, struct sv_cpl *cpl)
{
	switch (req->opcode) {
	case SV_PAGING_UPDATE:
		do_update(p, req, cpl);
		break;
	case SV_PAGING_BATCH:
		do_batch(p, req, cpl);
		break;
	case SV_PAGING_STORE:
		do_store(p, req, cpl);
		break;
	case SV_PAGING_PIN:
		cpl->status = table_pin(p, req->arg[0], req->arg[1]);
		break;
	case SV_PAGING_UNPIN:
		cpl->status = table_unpin(p, req->arg[0]);
		break;
	case SV_PAGING_ACTIVATE:
		cpl->status = table_activate(p, vcpu, req->arg[0]);
		break;
	case SV_PAGING_FLUSHED:
		cpl->status = tlb_flushed(p, req->arg[0]);
		break;
	case SV_PAGING_FORGET:
		do_forget(p, req, cpl);
		break;
	case SV_PAGING_RESERVE:
		cpl->status = table_reserve(p, req->arg[0], req->arg[1]);
		break;
	case SV_PAGING_INFO:
		do_info(p, cpl);
		break;
	default:
		cpl->status = SV_STATUS_NO_OPCODE;
	}
}

void sv_paging_handle(
	struct sv_paging *p, uint32_t vcpu, const struct sv_req *req, struct sv_cpl *cpl)
{
	cpl->status = SV_STATUS_OK;
	memset(cpl->value, 0, sizeof(cpl->value));
	take_lock(p);
	p->stats.requests++;
	dispatch(p, vcpu, req, cpl);
	p->stats.refused += cpl->status != SV_STATUS_OK;
	drop_lock(p);
}

void sv_paging_stats(struct sv_paging *p, struct sv_paging_stats *out)
{
	take_lock(p);
	*out = p->stats;
	drop_lock(p);
}
