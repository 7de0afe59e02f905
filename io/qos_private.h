/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the scheduler share. Unless it says otherwise: the polling thread's. */
#ifndef IO_QOS_PRIVATE_H
#define IO_QOS_PRIVATE_H

#include <io/qos.h>

#define QOS_NS 1000000000ull
#define QOS_QUANTUM (32u << 10)	      /* cost that all devices together take in one turn */
#define QOS_TAG_SHIFT 8		      /* a tag advances by cost * 256 / weight */
#define QOS_LAG 64		      /* quanta that a device may lag behind and catch up */
#define QOS_ACTIVE_NS QOS_NS	      /* without work for so long: the others need not share with it */
#define QOS_STALE_NS 10000000ull      /* a waiting device that was not visited for so long waits no more */
#define QOS_CREDIT_NS 10000000ull     /* how far a minimum may be behind or ahead */
#define QOS_GAP_NS (2 * QOS_NS)	      /* visits further apart: nobody was waiting in between */
#define QOS_LIGHT 4u		      /* so few outstanding: the device waits for each */
#define QOS_DEPTH_FIRST 32u
#define QOS_DEPTH_MIN 2u
#define QOS_DEPTH_MAX 1024u

/* A store that several devices share: how many requests may be outstanding there. */
struct sv_qos_pool {
	struct sv_qos_pool *next;
	uint64_t store;
	unsigned flows; /* control thread */

	uint32_t out, depth; /* depth: read by anyone (relaxed) */
	/* Latency in the window now, against that of the last probe (qos_depth.c). */
	bool probing, limited, light;
	uint32_t tight; /* depth when somebody last waited for single requests */
	uint64_t light_ns;
	uint64_t since_ns, probed_ns;
	uint64_t samples, sum_ns, base_ns;
};

struct sv_qos_flow {
	struct sv_qos *q;
	struct sv_qos_pool *pool;
	struct sv_qos_flow *next; /* all of the domain: control thread */
	bool open;		  /* control thread */
	uint32_t least;		  /* bytes that the smallest request counts for */

	/* Control thread to polling thread. */
	struct sv_qos_params wish; /* relaxed */
	uint32_t wishes;	   /* release */
	uint32_t closing;	   /* release */
	uint32_t active; /* polling thread to control thread, release: 0, and it is not known there */

	struct sv_qos_params p;
	uint32_t granted; /* the wishes that p comes from */
	bool waiting, took; /* in this visit */
	enum sv_qos_wait refused; /* at the last visit */
	uint32_t out;
	int64_t left;		/* cost that this visit may still take */
	uint64_t tag;		/* virtual start of its next request */
	uint64_t busy_ns;	/* when it last had something */
	uint64_t seen_ns;	/* its last visit */
	uint64_t max_bytes_ns, max_ops_ns; /* not before */
	uint64_t min_bytes_ns, min_ops_ns; /* due at */
	uint64_t refused_ns;	/* counted up to here */
	struct sv_qos_counters counts;
};

struct sv_qos {
	struct sv_qos_flow *flows; /* control thread */
	struct sv_qos_pool *pools; /* control thread */
	uint32_t closings;	   /* control thread to polling thread, release */

	uint32_t swept; /* closings taken note of */
	uint64_t now, sweep_ns;
	uint64_t virtual[SV_QOS_PRIORITIES]; /* tag of the last that was first */
	uint64_t weights;		     /* of all active */
	unsigned nactive, nwaiting;
	struct sv_qos_flow *active[SV_QOS_FLOWS], *waiting[SV_QOS_FLOWS];
};

/* qos_depth.c. A request completed after @ns in which it was really with the store. */
void qos_depth_sample(struct sv_qos_pool *p, uint64_t now_ns, uint64_t taken_ns);
/* A device took all it had, and has few outstanding: to it latency matters. */
void qos_depth_light(struct sv_qos_pool *p, uint64_t now_ns);
/* May one more be outstanding? */
bool qos_depth_allows(const struct sv_qos_pool *p);

#endif
