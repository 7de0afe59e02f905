/* SPDX-License-Identifier: BSD-3-Clause */
/* A node service in a process of its own, and what a VM process says to it, step by step. */
#ifndef TESTS_NODE_BY_HAND_H
#define TESTS_NODE_BY_HAND_H

#include <stdbool.h>
#include <sys/types.h>

#include <channels/client.h>
#include <channels/control.h>
#include <sidecore/node.h>

#define NODE_MEMORY (1u << 20)
#define NODE_ENTRIES 16u

struct node_by_hand {
	pid_t pid;
	unsigned sidecores; /* 0: one. They are on the first CPUs of this process */
	char dir[32], path[48];
};

/* A client: one connection, its memory, its channel. */
struct node_client {
	int sock, memfd, doorbell;
	uint8_t *mem;
	struct sv_client channel;
	struct sv_control_reply reply; /* the last one */
	char *text;		       /* of the last STATS: freed with the next request */
};

/* A service with an instance per VM that nodes started from now on have; NULL: none. */
extern const struct sv_service_class *node_service;
/* A device of its own, "own", that nodes started from now on have; NULL: none. Its handle is NULL. */
extern const struct sv_device_class *node_own;

/*
 * Start it, with disks and consoles. @private_fd: as in sv_node_config, taken over; -1: it listens at
 * n->path. Fails the test when it does not come up.
 */
void node_start(struct node_by_hand *n, int private_fd);
/* SIGTERM. Return: its exit status, after it is gone. */
int node_stop(struct node_by_hand *n);
/* It ends by itself. Return: its exit status. */
int node_wait(struct node_by_hand *n);
unsigned node_descriptors(const struct node_by_hand *n);
/* Fails the test unless the node gets to this many open descriptors. */
void node_settles(const struct node_by_hand *n, unsigned descriptors);
/* Run a node here and now, for nodes that cannot start. Return: of sv_node_run(). */
int node_refuses(const char *path, struct sv_error *err);

void client_connect(struct node_client *c, const struct node_by_hand *n);
void client_take(struct node_client *c, int sock);
void client_close(struct node_client *c);
/* Return: the status of the reply; -1: the node ended the connection. */
int client_say(struct node_client *c, const struct sv_control_request *r, const int *fds,
	unsigned nfds);
/* Raw bytes. Return: as client_say(). */
int client_say_bytes(struct node_client *c, const void *bytes, size_t n, const int *fds,
	unsigned nfds);

struct sv_control_request request_of(enum sv_control_op op);
int client_hello(struct node_client *c, const char *vm, uint32_t vcpus);
int client_memory(struct node_client *c);
int client_channel(struct node_client *c);
/*
 * A channel at @gpa for @vcpu, polled by the sidecore on CPU @sidecore (or SV_CONTROL_ANY), and the
 * guest's end of it. All of a client's channels share its doorbell.
 */
int client_channel_on(struct node_client *c, struct sv_client *channel, uint64_t gpa, uint32_t vcpu,
	uint32_t sidecore);
int client_disk_on(struct node_client *c, int *front_end, uint32_t sidecore);
int client_hello_on(struct node_client *c, const char *vm, uint32_t vcpus, uint32_t sidecore);
int client_console(struct node_client *c);
int client_disk(struct node_client *c, int *front_end);
int client_simple(struct node_client *c, enum sv_control_op op);
/* HELLO, MEMORY, CHANNEL, START. */
void client_attach(struct node_client *c, const char *vm);
/* Does its channel answer? */
bool client_served(struct node_client *c);
bool channel_served(struct sv_client *channel);
/* CPU @i of those that this process may use; -1: it has not so many. */
int node_cpu(unsigned i);

int sealed_memfd(uint64_t bytes);

#endif
