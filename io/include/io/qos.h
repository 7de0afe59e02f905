/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Quality of service among the virtual devices of one sidecore: who may take the next request.
 * The rules, the bounds and why they hold are in docs/qos.md.
 *
 *   domain  all devices that one sidecore polls
 *   pool    devices whose requests end at the same shared store: outstanding requests are bounded there
 *   flow    one virtual device
 *
 * Pure: no clock, no system call, no guest memory. The time comes in with each visit, so that tests
 * run on a virtual clock.
 *
 * Who does what: flows and pools are made and ended by the control thread; the calls of a visit
 * belong to the polling thread; parameters go from the one to the other word by word (relaxed, a
 * generation published with release); counters are written by the polling thread and read by anyone
 * (relaxed). Memory of flows and pools is the domain's until the domain ends, so that a flow can be
 * closed while the sidecore looks at the others.
 */
#ifndef IO_QOS_H
#define IO_QOS_H

#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>
#include <base/histogram.h>
#include <channels/control.h>

#define SV_QOS_FLOWS 1024u
#define SV_QOS_PRIORITIES 8u
#define SV_QOS_WEIGHT_MAX 10000u
#define SV_QOS_WEIGHT 100u   /* of a device that names none */
#define SV_QOS_BURST_MS 10u  /* ditto */
/* Bytes that the smallest request counts for among the weights: the time of a sidecore that it takes. */
#define SV_QOS_COST_REQUEST 4096u /* of a disk */
#define SV_QOS_COST_FRAME 512u

/* 0: no such limit. */
struct sv_qos_params {
	uint64_t weight;		 /* share of what is contended, 1 to SV_QOS_WEIGHT_MAX */
	uint64_t priority;		 /* strict: 7 before 6 ... before 0 */
	uint64_t min_bps, max_bps;	 /* bytes per second */
	uint64_t min_iops, max_iops;	 /* requests per second */
	uint64_t burst_ms;		 /* so much of an unused maximum may be used later at once */
	uint64_t depth;			 /* requests outstanding at most */
};

enum sv_qos_kind { SV_QOS_READ, SV_QOS_WRITE, SV_QOS_FLUSH, SV_QOS_OTHER, SV_QOS_KINDS };

struct sv_qos_counters {
	uint64_t ops[SV_QOS_KINDS];
	uint64_t bytes[SV_QOS_KINDS];
	uint64_t throttled_ns; /* work was there, the device's own maximum kept it back */
	uint64_t held_ns;      /* work was there, it was others' turn or the pool was full */
	uint64_t outstanding, outstanding_max;
	struct sv_histogram latency[SV_QOS_KINDS]; /* from taking a request to its completion */
};

struct sv_qos;
struct sv_qos_pool;
struct sv_qos_flow;

/* What a request carries while it is in flight. */
struct sv_qos_ticket {
	uint64_t taken_ns;
	uint32_t bytes;
	uint16_t n;   /* requests */
	uint8_t kind; /* enum sv_qos_kind */
};

struct sv_qos *sv_qos_create(void);
/* Every flow is closed, and no visit runs any more. */
void sv_qos_destroy(struct sv_qos *q);

/*
 * A flow into the pool of @store (any number that is the same for devices on the same store).
 * @least: bytes that its smallest request counts for. @params: NULL for the defaults. Context: control thread.
 * Return: 0, or -errno with a sentence.
 */
int sv_qos_open(struct sv_qos_flow **out, struct sv_qos *q, uint64_t store,
	uint32_t least, const struct sv_qos_params *params, struct sv_error *err);
/* No visit of this flow runs or will run; others' may. Context: control thread. */
void sv_qos_close(struct sv_qos_flow *f);

/* Context: control thread. They hold from the flow's next visit on. */
void sv_qos_get_params(const struct sv_qos_flow *f, struct sv_qos_params *params);
void sv_qos_set_params(struct sv_qos_flow *f, const struct sv_qos_params *params);

/*
 * A visit: the device's poll. @now_ns: monotonic; it never goes back. Then, as long as the device
 * knows of a request that it could take: sv_qos_admit(), take it, sv_qos_taken(). At the end
 * sv_qos_leave(). Context: polling thread; none of them blocks.
 */
void sv_qos_visit(struct sv_qos_flow *f, uint64_t now_ns);
/* A request was left where it was: a visit is needed even if the driver has none now. */
bool sv_qos_left(const struct sv_qos_flow *f);
/* The time has moved on within a visit. */
void sv_qos_tick(struct sv_qos_flow *f, uint64_t now_ns);
/* A request waits: may it be taken? */
bool sv_qos_admit(struct sv_qos_flow *f);
/*
 * It was taken, or @n of them that were small enough to go as one. @bytes: of data that they move, which
 * nobody knew before.
 */
void sv_qos_taken(struct sv_qos_flow *f, struct sv_qos_ticket *t, enum sv_qos_kind kind, unsigned n,
	uint64_t bytes);
/* The request taken last costs as much as so many bytes more, among the weights. */
void sv_qos_charge(struct sv_qos_flow *f, uint64_t cost);
void sv_qos_leave(struct sv_qos_flow *f);
/* It has completed. In or outside a visit's window for taking. */
void sv_qos_done(struct sv_qos_flow *f, const struct sv_qos_ticket *t);

/* Why the last visit left a request where it was, and so what the sidecore can wait for. */
enum sv_qos_wait {
	SV_QOS_NOTHING,	   /* it left none: wait for the driver */
	SV_QOS_TIME,	   /* its maximum: not before *until_ns */
	SV_QOS_COMPLETION, /* something outstanding in its pool must complete first */
	SV_QOS_TURN,	   /* others' turn: poll again */
};
/* Context: polling thread, after the visit. */
enum sv_qos_wait sv_qos_waits(const struct sv_qos_flow *f, uint64_t *until_ns);

/* Context: any. The pointer is good until sv_qos_close(). */
const struct sv_qos_counters *sv_qos_counters(const struct sv_qos_flow *f);
/* How many requests the flow's pool may have outstanding now while devices share it. Context: any. */
unsigned sv_qos_depth(const struct sv_qos_flow *f);

/* --- parameters as text ---------------------------------------------------------------------- */

void sv_qos_defaults(struct sv_qos_params *p);
/* What a device request says, checked; zero is the default. Return: 0, or -EINVAL with a sentence. */
int sv_qos_from_wish(struct sv_qos_params *p, const struct sv_control_qos *wish, struct sv_error *err);
/* As sv_qos_param(), into a device request. */
int sv_qos_wish(struct sv_control_qos *wish, const char *key, const char *value, struct sv_error *err);
/* The same of a text "key=value" that a list of options has. -ENOENT: no key of ours. */
int sv_qos_wish_text(struct sv_control_qos *wish, const char *text, struct sv_error *err);
/*
 * One `key=value`: weight, priority, min-bandwidth, max-bandwidth (bytes per second, K M G T),
 * min-iops, max-iops, burst (milliseconds), depth. Return: 0, or -EINVAL with a sentence (*p
 * untouched), -ENOENT when there is no such key (no sentence).
 */
int sv_qos_param(struct sv_qos_params *p, const char *key, const char *value, struct sv_error *err);
/* Do they agree with each other? To be asked when all are set. Return: 0, or -EINVAL and a sentence. */
int sv_qos_check(const struct sv_qos_params *p, struct sv_error *err);
/* Do a device request's settings agree with each other? Return: 0, or -EINVAL with a sentence. */
int sv_qos_check_wish(const struct sv_control_qos *wish, struct sv_error *err);
/* The keys of sv_qos_param(), NULL at the end. */
extern const char *const sv_qos_keys[];
/* The value of the key of that number. */
uint64_t sv_qos_value(const struct sv_qos_params *p, unsigned key);

#endif
