/* SPDX-License-Identifier: BSD-3-Clause */
/* This vCPU's end of its channel: channels/client.h, and what a waiting vCPU does meanwhile. */
#include "internal.h"

#define WAIT_SECONDS 10u
#define CLOCK_TURNS 1024u /* how often a waiting loop looks at the clock */

/* The sidecore sleeps: wake it. One exit to the host's kernel. */
static void ring_doorbell(void *ctx)
{
	const struct sv_channel *ch = ctx;

	*(volatile uint32_t *)ch->info.doorbell_gpa = 0;
}

void lwk_vcpu_init(unsigned vcpu)
{
	void *region = (void *)(lwk_boot.channel_gpa + vcpu * lwk_boot.channel_stride);

	if (sv_client_open(&lwk_cpus[vcpu].client, region, lwk_boot.channel_stride, ring_doorbell,
		    region) != SV_CLIENT_OK)
		lwk_panic("no channel of a version and layout that this library knows");
}

static bool reap(struct sv_client *c, struct sv_cpl *cpl)
{
	enum sv_take t = sv_ring_take(&c->rx, cpl);

	if (sv_likely(t == SV_TAKE_EMPTY))
		return false;
	if (sv_unlikely(t == SV_TAKE_DEFECT || c->rx.pos > c->tx.pos))
		lwk_panic("the sidecore wrote what cannot be");
	return true;
}

unsigned lwk_channel_room(unsigned want)
{
	struct sv_client *c = &lwk_this()->client;
	int64_t room = sv_client_room(c, want);

	if (room < 0)
		lwk_panic("the sidecore acknowledged what was not sent");
	return (unsigned)room;
}

void lwk_submit(const struct sv_req *req, unsigned n)
{
	struct sv_client *c = &lwk_this()->client;

	/* What sv_client_submit() does, for the one request whose latency counts. */
	if (sv_likely(n == 1 && c->may_sleep && c->tx.pos != c->tx.limit)) {
		sv_ring_put_full(&c->tx, req);
		if (sv_unlikely(sv_load_full(&c->shared->wake.sleeping)))
			ring_doorbell(c->shared);
	} else if (sv_client_submit(c, req, n) != (int64_t)n) {
		lwk_panic("more requests than the channel has room for");
	}
}

bool lwk_reap(struct sv_cpl *cpl)
{
	return reap(&lwk_this()->client, cpl);
}

void lwk_wait(struct sv_cpl *cpl)
{
	struct sv_client *c = &lwk_this()->client;
	uint64_t until = 0;
	unsigned turns = 0;

	while (!reap(c, cpl)) {
		lwk_relax(&turns);
		if (turns % CLOCK_TURNS)
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
