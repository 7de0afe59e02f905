/* SPDX-License-Identifier: BSD-3-Clause */
/* A vhost-user back end in a thread, which takes notes and can be told to misbehave. */
#ifndef TESTS_BACK_END_BY_HAND_H
#define TESTS_BACK_END_BY_HAND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <channels/vhost_user.h>

enum misbehaviour {
	BEHAVE = 0,
	BE_SILENT,	/* no reply to the request, the connection stays */
	BE_GONE,	/* close the connection instead of replying */
	BE_WRONG,	/* reply to another request */
	BE_SHORT,	/* a payload that is too short */
	BE_LONG,	/* a payload longer than any */
	BE_NO,		/* refuse: acknowledge with an error */
	BE_CHATTY,	/* reply, and then say something nobody asked for */
	BE_TWO,		/* two descriptors where one belongs */
};

struct back_end {
	/* Set before start. */
	uint64_t features, protocol;
	unsigned queues;
	uint8_t config[256];
	uint32_t config_bytes;
	enum misbehaviour how;
	uint32_t at_request; /* the request that it misbehaves at */
	bool keep_events;

	/* Notes; read them while nothing is asked. */
	uint64_t driver_features;
	unsigned regions;
	uint64_t region_bytes;
	uint8_t config_written[256];
	struct {
		bool enabled, has_call, has_kick;
		uint32_t size, base;
		uint64_t desc, avail, used;
		int kick, call;
	} ring[256];
	unsigned requests[64];
	int inflight; /* the region that it made, and keeps for the notes; -1: none */
	uint64_t inflight_got; /* inode of the one that it was given; 0: none */

	int events; /* kept: where it may speak by itself, the test's */

	int sock, front;
	pthread_t thread;
	bool started;
};

/* Defaults of a block device with two queues of 1 GiB. */
void back_end_init(struct back_end *b);
/* Return: the front end's socket, the caller's. */
int back_end_start(struct back_end *b);
/* The front end must have closed its socket, or the back end its own. */
void back_end_stop(struct back_end *b);

#endif
