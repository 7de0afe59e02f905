/* SPDX-License-Identifier: BSD-3-Clause */
/* What the dialer's files share: where the server is, and the tool that is the server of a file. */
#ifndef IO_DIAL_PRIVATE_H
#define IO_DIAL_PRIVATE_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include <io/dial.h>

#define DIAL_HOST 256u
#define DIAL_CONNECT_MS 5000

struct dial_address {
	bool unix_socket;
	char host[DIAL_HOST], port[16]; /* else */
	struct sockaddr_un un;
	char name[SV_DIAL_EXPORT]; /* of the export */
};

/* dial_address.c. Return: 0, or -errno with a sentence (without the address). */
int dial_parse(struct dial_address *a, const char *text, struct sv_error *err);
/* Return: a connected socket, or -errno with a sentence. Waits at most DIAL_CONNECT_MS per address. */
int dial_connect(const struct dial_address *a, struct sv_error *err);

struct dial_tool {
	pid_t pid; /* 0: none */
	int output; /* what it has to complain of */
	char dir[64];
};

/* dial_tool.c: serve the file of @spec on a private socket, put into *a. */
int dial_tool_start(struct dial_tool *t, const struct sv_dial_spec *spec, struct dial_address *a,
	struct sv_error *err);
/* Has it ended? Then *err says how. */
bool dial_tool_ended(struct dial_tool *t, struct sv_error *err);
/*
 * It opens its socket before the image: a connection that failed may mean that it ended, soon. Waits at
 * most a second. Return: true, and *err says why.
 */
bool dial_tool_refused(struct dial_tool *t, struct sv_error *err);
/* Let it write what it holds and end; at most 10 s. */
void dial_tool_stop(struct dial_tool *t);

#endif
