/* SPDX-License-Identifier: BSD-3-Clause */
/* The channel client. The steps are those of docs/abi.md. */
#include "internal.h"

#define WAIT_SECONDS 10u

void lwk_vcpu_init(unsigned vcpu)
{
	struct lwk_cpu *c = &lwk_cpus[vcpu];
	uint8_t *base = (uint8_t *)(lwk_boot.channel_gpa + vcpu * lwk_boot.channel_stride);
	struct sv_channel *ch = (struct sv_channel *)base;

	c->channel = ch;
	if (ch->info.magic != SV_CHANNEL_MAGIC || ch->info.version != SV_CHANNEL_VERSION)
		lwk_panic("no channel of a version this library knows");
	c->may_sleep = ch->info.features & SV_CHANNEL_F_DOORBELL;
	sv_ring_tx_init(&c->tx, (union sv_slot *)(base + ch->info.req_offset),
		&ch->side.req_consumed, ch->info.req_entries);
	sv_ring_rx_init(&c->rx, (union sv_slot *)(base + ch->info.cpl_offset),
		&ch->guest.cpl_consumed, ch->info.cpl_entries);
}

unsigned lwk_channel_room(void)
{
	struct lwk_cpu *c = lwk_this();
	int64_t room = sv_ring_room(&c->tx, c->tx.entries);
	uint64_t answers = c->rx.entries - c->in_flight;

	if (room < 0)
		lwk_panic("the sidecore acknowledged what was not sent");
	return (unsigned)((uint64_t)room < answers ? (uint64_t)room : answers);
}

/* The sidecore sleeps: wake it. One exit to the host's kernel. */
static void ring_doorbell(struct lwk_cpu *c)
{
	*(volatile uint32_t *)c->channel->info.doorbell_gpa = 0;
}

void lwk_submit(const struct sv_req *req, unsigned n)
{
	struct lwk_cpu *c = lwk_this();

	for (unsigned i = 0; i + 1 < n; i++)
		sv_ring_put(&c->tx, (const union sv_slot *)&req[i]);
	if (n && !c->may_sleep)
		sv_ring_put(&c->tx, (const union sv_slot *)&req[n - 1]);
	else if (n)
		sv_ring_put_full(&c->tx, (const union sv_slot *)&req[n - 1]);
	c->in_flight += n;
	if (c->may_sleep && sv_unlikely(sv_load_full(&c->channel->wake.sleeping)))
		ring_doorbell(c);
}

static bool reap(struct lwk_cpu *c, struct sv_cpl *cpl)
{
	enum sv_take t = sv_ring_take(&c->rx, (union sv_slot *)cpl);

	if (sv_likely(t == SV_TAKE_EMPTY))
		return false;
	if (t == SV_TAKE_DEFECT)
		lwk_panic("the sidecore wrote an impossible sequence number");
	c->in_flight--;
	return true;
}

bool lwk_reap(struct sv_cpl *cpl)
{
	return reap(lwk_this(), cpl);
}

void lwk_wait(struct sv_cpl *cpl)
{
	struct lwk_cpu *c = lwk_this();
	uint64_t until = 0;
	unsigned turns = 0;

	while (!reap(c, cpl)) {
		lwk_relax(&turns);
		if (turns % 1024)
			continue;
		if (!until)
			until = lwk_tsc() + WAIT_SECONDS * lwk_boot.tsc_hz;
		else if (lwk_tsc() > until)
			lwk_panic("no answer from the sidecore within 10 s");
	}
}

uint32_t lwk_call(uint16_t service, uint16_t opcode, const uint64_t arg[5], struct sv_cpl *cpl)
{
	struct sv_req req = {.service = service, .opcode = opcode};

	for (unsigned i = 0; i < 5; i++)
		req.arg[i] = arg[i];
	lwk_submit(&req, 1);
	lwk_wait(cpl);
	return cpl->status;
}
