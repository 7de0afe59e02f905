/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests to the paging service, and who has to flush after them. */
#include "paging.h"

#define PAGE 4096ull
#define FRAME(e) ((e)&SV_PTE_FRAME)
#define FLUSH_CALL 0x33 /* FLUSH_CALL_VECTOR of kernel/kernel.h */

struct paging_state paging_state;

/* Written by whoever wants a flush and by each vCPU's kernel (kernel/traps.c). */
uint64_t lwk_flush_wanted;
uint64_t lwk_flush_done[LWK_MAX_VCPUS];

static struct sv_paging_call port_calls[LWK_MAX_VCPUS] __attribute__((aligned(64)));
/* One batch per vCPU: the service copies it before it answers. */
static uint32_t tables_lock;

static uint32_t call_by_port(uint16_t opcode, const uint64_t arg[5], struct sv_cpl *cpl)
{
	struct sv_paging_call *c = &port_calls[lwk_vcpu()];

	c->req = (struct sv_req){.service = SV_SERVICE_PAGING, .opcode = opcode, .tag = lwk_vcpu()};
	for (unsigned i = 0; i < 5; i++)
		c->req.arg[i] = arg[i];
	lwk_out32(SV_PORT_PAGING, (uint32_t)((uint64_t)c / SV_CACHE_LINE));
	__asm__ volatile("" : : : "memory");
	*cpl = c->cpl;
	return cpl->status;
}

uint32_t lwk_paging_call_via(
	enum lwk_paging_via via, uint16_t opcode, const uint64_t arg[5], struct sv_cpl *cpl)
{
	return via != LWK_VIA_RING ? call_by_port(opcode, arg, cpl)
				   : lwk_call(SV_SERVICE_PAGING, opcode, arg, cpl);
}

uint32_t lwk_paging_call(uint16_t opcode, const uint64_t arg[5], struct sv_cpl *cpl)
{
	return lwk_paging_call_via(paging_state.via, opcode, arg, cpl);
}

bool lwk_paging_shadowed(void)
{
	return paging_state.shadowed;
}

uint64_t lwk_paging_root(void)
{
	return paging_state.root;
}

/* --- who still uses what was taken away ------------------------------------------------------ */

/*
 * Where KVM shadows the tables it forgets on request. With one vCPU at once; with several one of
 * them may be in KVM's page fault, which has read the table already: then all answer an interrupt
 * first.
 */
static uint64_t settling(bool settle)
{
	return settle && paging_state.shadowed && lwk_vcpus() == 1 ? SV_PAGING_F_FORGET : 0;
}

/* The frames that an operation may take away, for a FORGET afterwards. */
struct taken {
	uint64_t frame[SV_PAGING_BATCH_MAX];
	unsigned n;
};

static struct taken takens[LWK_MAX_VCPUS];

static void note(bool settle, uint64_t va, unsigned n)
{
	struct taken *t = &takens[lwk_vcpu()];

	if (!settle || !paging_state.shadowed || lwk_vcpus() == 1)
		return;
	for (unsigned i = 0; i < n && t->n < SV_PAGING_BATCH_MAX; i++) {
		uint64_t e = lwk_paging_entry(va + i * PAGE);

		if (e & SV_PTE_PRESENT)
			t->frame[t->n++] = FRAME(e);
	}
}

static void forget_noted(void)
{
	struct taken *t = &takens[lwk_vcpu()];
	struct sv_cpl cpl;

	if (!t->n)
		return;
	paging_flush(0, 0);
	for (uint64_t done = 0; done < t->n; done += cpl.value[0]) {
		lwk_paging_call(SV_PAGING_FORGET,
			(uint64_t[5]){(uint64_t)&t->frame[done], t->n - done}, &cpl);
		if (!cpl.value[0])
			lwk_panic("KVM cannot be made to forget any more");
	}
	t->n = 0;
}

/*
 * All vCPUs flush. INT causes no exit where the processor walks the tables; elsewhere it may not
 * work, and a kernel call is an exception.
 */
void paging_flush(uint64_t va, uint64_t pages)
{
	unsigned turns = 0;
	uint64_t mine;

	if (lwk_vcpus() == 1 && paging_state.tried && !paging_state.shadowed) {
		__asm__ volatile("int %0" : : "i"(FLUSH_CALL), "D"(va), "S"(pages) : "memory");
		return;
	}
	mine = __atomic_add_fetch(&lwk_flush_wanted, 1, __ATOMIC_ACQ_REL);
	lwk_kcall(LWK_KCALL_FLUSH, 0, 0);
	for (unsigned i = 0; i < lwk_vcpus(); i++)
		while (__atomic_load_n(&lwk_flush_done[i], __ATOMIC_ACQUIRE) < mine)
			lwk_relax(&turns);
}

/*
 * After requests that took @done pages away. No frame that was a page becomes a table here (tables
 * come from the pool alone), so that the service need not hear of flushes: no epochs.
 */
static void settled(bool settle, uint64_t done, uint64_t va, uint64_t pages)
{
	if (settle && paging_state.shadowed)
		forget_noted();
	else if (settle && done)
		paging_flush(va, pages);
}

/*
 * A store into the trap window. Nobody answers: look at what is in the table afterwards.
 */
static uint32_t store(uint64_t va, uint64_t entry)
{
	const uint64_t set = SV_PTE_ACCESSED | SV_PTE_DIRTY;
	unsigned level = 1;
	uint64_t *t = paging_find_table(va, &level), *at = &t[va >> 12 & 511];

	if (level != 1)
		return SV_STATUS_ABSENT;
	*(volatile uint64_t *)((uint64_t)at + (lwk_boot.trap_gpa - lwk_boot.tables_gpa)) = entry;
	return (*(volatile uint64_t *)at & ~set) == (entry & ~set) ? SV_STATUS_OK
								   : SV_STATUS_DENIED;
}

static uint32_t store_op(uint64_t where, uint64_t entry)
{
	uint64_t va = where & ~0xfffull, old = lwk_paging_entry(va);

	switch (where & SV_PAGING_OP_MASK) {
	case SV_PAGING_MAP:
		return old ? SV_STATUS_EXISTS : store(va, entry);
	case SV_PAGING_UNMAP:
		return old ? store(va, 0) : SV_STATUS_ABSENT;
	case SV_PAGING_PROTECT:
		return old ? store(va, entry | FRAME(old)) : SV_STATUS_ABSENT;
	default:
		return old ? store(va, entry) : SV_STATUS_ABSENT;
	}
}

static uint32_t stores(const struct sv_paging_op *ops, unsigned n, bool settle, uint64_t *done)
{
	uint32_t status = SV_STATUS_OK;

	for (unsigned i = 0; i < n; i++)
		note(settle, ops[i].where & ~0xfffull, 1);
	for (*done = 0; *done < n && status == SV_STATUS_OK; ++*done)
		status = store_op(ops[*done].where, ops[*done].entry);
	*done -= status != SV_STATUS_OK;
	settled(settle, *done, 0, 0);
	return status;
}

uint32_t lwk_paging_batch(const struct sv_paging_op *ops, unsigned n, bool settle, uint64_t *done)
{
	struct sv_cpl cpl;

	if (paging_state.via == LWK_VIA_TRAP)
		return stores(ops, n, settle, done);
	for (unsigned i = 0; i < n; i++)
		note(settle, ops[i].where & ~0xfffull, 1);
	*done = 0;
	do {
		lwk_paging_call(SV_PAGING_BATCH,
			(uint64_t[5]){paging_state.root, (uint64_t)&ops[*done], n - *done,
				settling(settle)},
			&cpl);
		*done += cpl.value[0];
	} while (cpl.status == SV_STATUS_AGAIN && cpl.value[0]);
	settled(settle, *done, ops[0].where & ~0xfffull, n == 1 ? 1 : 0);
	return cpl.status;
}

/* --- tables ---------------------------------------------------------------------------------- */

uint64_t *paging_find_table(uint64_t va, unsigned *level)
{
	uint64_t table = paging_state.root, e;
	unsigned l = 4;

	for (; l > *level; l--) {
		e = ((const volatile uint64_t *)table)[va >> (3 + 9 * l) & 511];
		if (!(e & SV_PTE_PRESENT) || e & SV_PTE_LARGE)
			break;
		table = FRAME(e);
	}
	*level = l;
	return (uint64_t *)table;
}

static uint32_t make_table(uint64_t va, unsigned level)
{
	uint64_t frame = paging_state.next_table;
	struct sv_cpl cpl;
	uint32_t status;

	if (frame >= paging_state.pool_end)
		return SV_STATUS_AGAIN;
	status = lwk_paging_call(SV_PAGING_PIN, (uint64_t[5]){frame, level - 1}, &cpl);
	if (status != SV_STATUS_OK)
		return status;
	paging_state.next_table += PAGE;
	return lwk_paging_call(SV_PAGING_UPDATE,
		(uint64_t[5]){paging_state.root,
			(va & ~((1ull << (3 + 9 * level)) - 1)) | SV_PAGING_LINK |
				SV_PAGING_LEVEL(level),
			frame},
		&cpl);
}

/* Every table down to @level for one address. */
uint32_t paging_make_tables(uint64_t va, unsigned level)
{
	uint32_t status = SV_STATUS_OK;
	unsigned at = level, turns = 0;

	paging_find_table(va, &at);
	if (at == level)
		return SV_STATUS_OK;
	while (__atomic_exchange_n(&tables_lock, 1, __ATOMIC_ACQUIRE))
		lwk_relax(&turns);
	for (at = level, paging_find_table(va, &at); at > level && status == SV_STATUS_OK; at--)
		status = make_table(va, at);
	__atomic_store_n(&tables_lock, 0, __ATOMIC_RELEASE);
	return status;
}

uint32_t lwk_paging_tables(uint64_t va, uint64_t bytes)
{
	uint32_t status = SV_STATUS_OK;

	for (uint64_t at = va & ~0x1fffffull; at < va + bytes && status == SV_STATUS_OK;
		at += 0x200000)
		status = paging_make_tables(at, 1);
	return status;
}

uint64_t lwk_paging_entry(uint64_t va)
{
	unsigned level = 1;
	const volatile uint64_t *t = paging_find_table(va, &level);

	return level == 1 ? t[va >> 12 & 511] : 0;
}

/* --- ranges ---------------------------------------------------------------------------------- */

static uint32_t range_by_stores(uint64_t va, uint64_t entry, uint64_t n, uint64_t op, bool settle)
{
	uint64_t step = op == SV_PAGING_MAP || op == SV_PAGING_REMAP ? PAGE : 0, done;
	uint32_t status = SV_STATUS_OK;

	for (uint64_t i = 0; i < n && status == SV_STATUS_OK; i++)
		status = stores(&(struct sv_paging_op){(va + i * PAGE) | op, entry + i * step}, 1,
			settle, &done);
	return status;
}

/* @op on every page of [va, va + bytes), one request per table. */
static uint32_t range(uint64_t va, uint64_t entry, uint64_t bytes, uint64_t op, bool settle)
{
	uint64_t frames = op == SV_PAGING_MAP || op == SV_PAGING_REMAP;
	uint32_t status = SV_STATUS_OK;
	struct sv_cpl cpl;

	if (paging_state.via == LWK_VIA_TRAP)
		return range_by_stores(va, entry, bytes / PAGE, op, settle);
	while (bytes && status == SV_STATUS_OK) {
		uint64_t n = 512 - (va >> 12 & 511);

		n = n < bytes / PAGE ? n : bytes / PAGE;
		note(settle, va, (unsigned)n);
		lwk_paging_call(SV_PAGING_UPDATE,
			(uint64_t[5]){paging_state.root, va | op | SV_PAGING_LEVEL(1), entry,
				settling(settle), n},
			&cpl);
		settled(settle, cpl.value[0], va, n);
		status = cpl.status;
		if (status == SV_STATUS_AGAIN && cpl.value[0]) {
			n = cpl.value[0];
			status = SV_STATUS_OK;
		}
		va += n * PAGE;
		entry += frames * n * PAGE;
		bytes -= n * PAGE;
	}
	return status;
}

static bool is_ours(uint64_t va, uint64_t bytes)
{
	return !((va | bytes) % PAGE) && bytes && va >= LWK_PAGING_FROM && va < LWK_PAGING_TO &&
	       bytes <= LWK_PAGING_TO - va;
}

uint32_t lwk_map(uint64_t va, uint64_t frame, uint64_t bytes, uint64_t prot)
{
	uint32_t status = is_ours(va, bytes) ? lwk_paging_tables(va, bytes) : SV_STATUS_INVALID;

	return status != SV_STATUS_OK
		       ? status
		       : range(va, frame | prot | SV_PTE_PRESENT, bytes, SV_PAGING_MAP, false);
}

uint32_t lwk_unmap(uint64_t va, uint64_t bytes)
{
	return is_ours(va, bytes) ? range(va, 0, bytes, SV_PAGING_UNMAP, true) : SV_STATUS_INVALID;
}

uint32_t lwk_protect(uint64_t va, uint64_t bytes, uint64_t prot)
{
	return is_ours(va, bytes) ? range(va, prot | SV_PTE_PRESENT, bytes, SV_PAGING_PROTECT, true)
				  : SV_STATUS_INVALID;
}

uint32_t lwk_remap(uint64_t va, uint64_t frame, uint64_t bytes, uint64_t prot)
{
	return is_ours(va, bytes)
		       ? range(va, frame | prot | SV_PTE_PRESENT, bytes, SV_PAGING_REMAP, true)
		       : SV_STATUS_INVALID;
}

/* --- probes ---------------------------------------------------------------------------------- */

/* kernel/traps.c knows the two instructions: a fault there goes on at lwk_probe_failed. */
__asm__(".text\n"
	".globl lwk_probe_read_raw, lwk_probe_write_raw\n"
	".globl lwk_probe_read_at, lwk_probe_write_at, lwk_probe_failed\n"
	"lwk_probe_read_raw:\n"
	"lwk_probe_read_at: movb (%rdi), %al\n"
	"	movb %al, (%rsi)\n"
	"	movl $1, %eax\n"
	"	ret\n"
	"lwk_probe_write_raw:\n"
	"	movl %esi, %eax\n"
	"lwk_probe_write_at: movb %al, (%rdi)\n"
	"	movl $1, %eax\n"
	"	ret\n"
	"lwk_probe_failed:\n"
	"	xorl %eax, %eax\n"
	"	ret\n");
int lwk_probe_read_raw(uint64_t va, uint8_t *out);
int lwk_probe_write_raw(uint64_t va, uint32_t v);

bool lwk_probe_read(uint64_t va, uint8_t *out)
{
	return lwk_probe_read_raw(va, out) != 0;
}

bool lwk_probe_write(uint64_t va, uint8_t v)
{
	return lwk_probe_write_raw(va, v) != 0;
}
