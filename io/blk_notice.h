/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a polling thread has to tell people, said by the control thread: one sentence at a time, what
 * comes while one waits is counted.
 */
#ifndef IO_BLK_NOTICE_H
#define IO_BLK_NOTICE_H

#include <stdint.h>

#include <channels/device_class.h>

struct blk_notice {
	int fd; /* eventfd */
	struct sv_poller_host *host;
	char who[SV_CONTROL_NAME + SV_POLLER_VM_NAME + 8];
	uint32_t full;	  /* the polling thread sets it (release), the control thread clears it */
	uint64_t dropped; /* written by the polling thread */
	uint64_t told;	  /* of these; the control thread's */
	char text[320];
};

/* Context: control thread. Return: 0 or -errno. */
int blk_notice_open(struct blk_notice *n, struct sv_poller_host *host, const char *device,
	const char *vm);
void blk_notice_close(struct blk_notice *n);
/* Context: polling thread, or the control thread in its place. NULL @n: nothing. */
void blk_notice_say(struct blk_notice *n, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
