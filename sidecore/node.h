/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the node share. Everything here belongs to the control thread. */
#ifndef SIDECORE_NODE_PRIVATE_H
#define SIDECORE_NODE_PRIVATE_H

#include <base/fdpass.h>
#include <base/gmem.h>
#include <sidecore/node.h>

#include "endpoint.h"
#include "services.h"

/* A descriptor that the control thread's epoll loop watches. */
struct sv_watch {
	int fd;
	void (*ready)(void *ctx);
	void *ctx;
	struct sv_watch *next;
};

/* One sidecore, as devices see it. */
struct sv_sidecore {
	struct sv_poller_host host; /* first: the host of a device is its sidecore */
	struct sv_node *node;
	struct sv_reactor *reactor;
	unsigned vms;
};

/* What one sidecore has of one VM. */
struct sv_share {
	bool used; /* counted in the sidecore's vms */
	struct sv_bench_service bench; /* belongs to the sidecore's thread: one each */
	/* Published to this sidecore's endpoints: replaced, never changed. NULL: it has none. */
	struct sv_service_table *services;
};

/* One connection: the lease of one VM. */
struct sv_lease {
	struct sv_node *node;
	struct sv_sidecore *home; /* HELLO's: of what names none itself */
	struct sv_share *share;	  /* by the node's sidecores */
	int sock;
	bool hello, started, gone;
	char vm[SV_CONTROL_NAME];

	struct sv_gmem gmem;
	int trap[SV_GMEM_REGIONS]; /* base/memtrap.h */
	uint64_t bytes;		   /* of memory */
	uint64_t service_mask;
	struct sv_console_service *console, no_console;
	struct sv_endpoint *endpoint; /* `channels` of them are in use */
	struct sv_sidecore **polled_by; /* each endpoint's */
	unsigned channels, channels_max;
	bool attached; /* the endpoints are polled */
	struct {
		const struct sv_device_class *class;
		void *handle;
		const struct sv_sidecore *sidecore;
		char name[SV_CONTROL_NAME];
	} device[SV_NODE_DEVICES];
	unsigned devices;
	struct {
		const struct sv_service_class *class;
		void *ctx;
	} service[SV_NODE_CLASSES]; /* instances */
	unsigned services;
	void *pager; /* NULL: all memory is there */
	struct sv_lease *next;
};

struct sv_node {
	struct sv_node_config config;
	struct sv_sidecore sidecore[SV_NODE_SIDECORES];
	struct sv_lease *leases;
	unsigned nleases;
	int epoll_fd, listener, sigfd, trapfd;
	uint64_t refused; /* connections; only the first is worth a line */
	bool deaf; /* out of descriptors: no connection is accepted until a lease ends */
	struct sv_watch *watches, *dead_watches;
	bool done, devices_open;
};

static inline struct sv_share *sv_lease_share(const struct sv_lease *l, const struct sv_sidecore *s)
{
	return &l->share[s - l->node->sidecore];
}

int sv_node_watch(struct sv_node *n, int fd, void (*ready)(void *ctx), void *ctx);
void sv_node_unwatch(struct sv_node *n, int fd);

/* A request with its descriptors: a private copy. */
struct sv_message {
	struct sv_control_request req;
	int fd[SV_FDPASS_MAX]; /* -1: taken */
	unsigned nfds;
};

/*
 * lease_requests.c: do what @m asks. What it keeps of the descriptors it takes out of @m.
 * Return: 0 with *reply filled, or -errno with a sentence.
 */
int sv_lease_serve(struct sv_lease *l, struct sv_message *m, struct sv_control_reply *reply,
	struct sv_error *err);
void sv_console_free(struct sv_console_service *c);

/* lease.c: take @sock as a new VM's connection; it is closed on failure. Return: 0 or -errno. */
int sv_lease_open(struct sv_node *n, int sock);
void sv_lease_close(struct sv_lease *l);
/* Memory of this VM was lost under its mapping: its requests were served from zeroes since. */
bool sv_lease_lost_memory(const struct sv_lease *l);

/* listen.c: the node's socket. Return: the socket, or -errno with a sentence. */
int sv_node_listen(const char *path, struct sv_error *err);

/* node_stats.c: JSON the caller frees. */
char *sv_node_stats_json(struct sv_node *n);
char *sv_node_device_json(const struct sv_device_class *class, void *handle, const char *name,
	const struct sv_sidecore *sidecore);

/*
 * device_set.c: one setting of one device. *text: the device as JSON, which the caller frees.
 * Return: 0, or -errno with a sentence.
 */
int sv_lease_set_device(struct sv_lease *l, struct sv_control_device_set *c, char **text,
	struct sv_error *err);

/* seccomp.c: what this process may still do once it serves. Return: 0, or -errno with a sentence. */
int sv_node_confine(struct sv_error *err);

#endif
