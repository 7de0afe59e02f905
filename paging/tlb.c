/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who may still use a translation that was taken away (docs/paging.md, tests/model/tlb.pml).
 *
 * Every page that goes is marked with the epoch. It is clean again when KVM has forgotten it, or
 * when the guest says that all its vCPUs have flushed since that epoch was closed. Closing is what
 * makes the latter safe: a page that goes after the guest began to flush belongs to the next epoch.
 */
#include "private.h"

#define EPOCH_LAST (~0u - 1)

void tlb_note(struct sv_paging *p, struct page_count *count, uint64_t gpa, uint64_t bytes)
{
	if (!p->noting)
		return;
	p->noted[p->notes++] = count;
	if (p->runs && p->run[p->runs - 1].gpa + p->run[p->runs - 1].bytes == gpa)
		p->run[p->runs - 1].bytes += bytes;
	else
		p->run[p->runs++] = (struct forget_run){gpa, bytes};
}

uint32_t tlb_forget(struct sv_paging *p, uint64_t epoch)
{
	int rc = 0;

	for (unsigned i = 0; i < p->runs && rc == 0; i++)
		rc = p->config.forget(p->config.forget_ctx, p->run[i].gpa, p->run[i].bytes);
	for (unsigned i = 0; i < p->notes && rc == 0; i++)
		if (p->noted[i]->stale <= epoch)
			p->noted[i]->stale = 0;
	p->stats.forgotten += rc == 0 ? p->notes : 0;
	p->runs = p->notes = 0;
	return rc ? SV_STATUS_IO : SV_STATUS_OK;
}

/*
 * After 2^32 epochs nothing becomes clean any more: frames are refused, none is reused too early.
 */
uint32_t tlb_close_epoch(struct sv_paging *p)
{
	return p->epoch < EPOCH_LAST ? p->epoch++ : 0;
}

uint32_t tlb_flushed(struct sv_paging *p, uint64_t epoch)
{
	if (p->config.shadowed)
		return SV_STATUS_DENIED;
	if (epoch >= p->epoch)
		return SV_STATUS_INVALID;
	if (epoch > p->clean)
		p->clean = (uint32_t)epoch;
	return SV_STATUS_OK;
}
