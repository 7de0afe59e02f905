/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disks behind a server: who opens such a disk starts a process beside it, the dialer, that finds the
 * server, looks at its export once, and from then on makes connections whenever it is asked. So the
 * sidecore process, which may not reach for anything itself, reconnects.
 *
 * They talk over a SOCK_SEQPACKET pair. First the dialer sends one struct sv_dial_ready. Then each
 * struct sv_dial_ask is answered by one struct sv_dial_reply, with the connected socket when status
 * is 0. The dialer ends with the other end of its socket.
 */
#ifndef BASE_DIAL_H
#define BASE_DIAL_H

#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>

#define SV_DIAL_MAGIC 0x53564449u /* "SVDI" */
#define SV_DIAL_EXPORT 256u
#define SV_DIAL_TEXT 256u

#define SV_EXPORT_F_READONLY 1u
#define SV_EXPORT_F_DISCARD 2u
#define SV_EXPORT_F_ZEROES 4u
#define SV_EXPORT_F_FLUSH 8u

/* What the server said of the export. */
struct sv_export {
	uint64_t bytes;
	uint32_t preferred; /* bytes of a transfer that suits the server; 0: not known */
	uint32_t flags;	    /* SV_EXPORT_F_* */
};

struct sv_dial_ready {
	uint32_t magic;
	uint32_t status; /* 0 or a positive errno with a sentence, and the dialer ends */
	struct sv_export export;
	char text[SV_DIAL_TEXT];
};

struct sv_dial_ask {
	uint32_t magic;
	uint32_t serial; /* comes back in the reply: one that nobody waits for any more is known by it */
	uint32_t wait_ms; /* before the attempt */
	uint32_t reserved0;
};

struct sv_dial_reply {
	uint32_t magic;
	uint32_t serial;
	uint32_t status; /* 0 or a positive errno with a sentence */
	uint32_t final;	 /* 1: and it will never be otherwise */
	char name[SV_DIAL_EXPORT]; /* of the export, terminated */
	char text[SV_DIAL_TEXT];
};

struct sv_dial_spec {
	const char *image;  /* nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH, or a file */
	const char *format; /* of the file, such as qcow2; NULL: image is an address */
	bool readonly, direct;
};

/* Is @image the address of a server and not a path? */
bool sv_dial_is_address(const char *image);
/*
 * Start a dialer and wait, at most 15 s, until it knows the export. *sock: to it, close-on-exec.
 * Context: set-up. Return: 0, or -errno with a sentence and nothing left behind.
 */
int sv_dial_spawn(const struct sv_dial_spec *spec, int *sock, struct sv_export *export,
	struct sv_error *err);
/* End the dialer, wait until it has let go of its image, at most 10 s, and close @sock. */
void sv_dial_close(int sock);

#endif
