/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vhost-user fuzzer's device: it answers late, gives chains back and rejects some, and polls
 * memory that may not have arrived.
 */
#ifndef TESTS_FUZZ_VHOST_DEVICE_H
#define TESTS_FUZZ_VHOST_DEVICE_H

#include <io/vhost.h>

#include <channels/vhost_user.h>

#include "fuzz_input.h"
#include "made_up_kernel.h"

#define QUEUES SV_VHOST_QUEUES
#define GUEST MK_FILE_BYTES
#define PAGE 4096u
#define CONFIG 24u
#define HELD 16u

struct vhost_fuzz {
	struct fuzz_input in;
	struct sv_vhost v;
	struct sv_poller poller;
	struct sv_residency residency;
	unsigned absent; /* pages of guest memory, one bit each, until they are asked for */
	bool hidden;     /* they were absent from the beginning, and nobody may touch them */
	bool polled, open, in_order;
	struct vu_inflight inflight; /* as the front end gave it last */
	struct {
		unsigned n;
		uint16_t head[HELD];
		uint32_t bytes[HELD];
	} held[QUEUES];
	uint8_t config[CONFIG];
};

extern struct vhost_fuzz vhost_fuzz;
extern const struct sv_vhost_device vhost_device_type;
extern const struct sv_vhost_host vhost_device_host;

/* As before the first session. */
void vhost_device_reset(struct vhost_fuzz *f);
void vhost_device_poll(struct vhost_fuzz *f, unsigned budget);
/* Nothing polls it and no chain is out. */
bool vhost_device_idle(const struct vhost_fuzz *f);
/* These pages have not arrived. */
void vhost_device_late(struct vhost_fuzz *f, unsigned pages);
/* Show absent pages as the session sees them, or (@driver) as the driver does, who has them all. */
void vhost_device_view(const struct vhost_fuzz *f, bool driver);

#endif
