/* SPDX-License-Identifier: BSD-3-Clause */
/* What the planner's files share. */
#ifndef PLACEMENT_PRIVATE_H
#define PLACEMENT_PRIVATE_H

#include <placement/plan.h>

/* The plan while it is being made. */
struct sv_planning {
	const struct sv_machine *m;
	const struct sv_plan_request *req;
	unsigned sidecores;   /* how many at most; 0: one where guests are, as many as suit */
	unsigned per;	      /* guest cores that one sidecore serves, at most */
	unsigned house;	      /* housekeeping cores */
	bool share;	      /* guests that may, share cores */
	unsigned char *role;  /* of each core */
	int *owner;	      /* of each core */
	unsigned *load;	      /* of each domain: guest cores in it */
	unsigned *free;	      /* of each domain: spare cores */
	bool *reserve;	      /* of each domain: it keeps cores for sidecores of its own */
	bool *keeps_sibling;  /* of each core: a guest on it has no sidecore beside it */
	float *near_ns;	      /* of each domain: how far the policy's device is; 0 without one */
	float *guest_near_ns; /* the same for a guest with a device of its own */
	struct sv_plan *plan;
};

/*
 * house.c: all cores spare but those that are excluded, given as sidecores, or keep house: p->house
 * of them. Return: 0 or -ENOSPC.
 */
int sv_plan_reset(struct sv_planning *p, struct sv_error *err);
/* May all guests share cores? */
bool sv_plan_all_share(const struct sv_planning *p);

/* guests.c: give guest @g its cores. Return: 0 or -ENOSPC. */
int sv_plan_guest(struct sv_planning *p, unsigned g, struct sv_error *err);
/* Guest cores that domain @d can still take beside the sidecores these need. */
unsigned sv_plan_room(const struct sv_planning *p, unsigned d);
/* Cores that guest @g asks for. */
unsigned sv_plan_want(const struct sv_planning *p, const struct sv_plan_guest *g);
/* Sidecores that domain @d needs for @cores guest cores. */
unsigned sv_plan_need(const struct sv_planning *p, unsigned d, unsigned cores);

/* sidecores.c: choose the sidecores' cores, then a sidecore for each vCPU. Return: 0 or -ENOSPC. */
int sv_plan_sidecores(struct sv_planning *p, struct sv_error *err);
/*
 * At most @n domains among those with @room (flags in @chosen) that are nearest to the guest cores
 * @weight of all domains; fewer when more would shorten no way. Return: 0 or -ENOMEM.
 */
int sv_plan_medians(const struct sv_machine *m, const unsigned *weight, const unsigned *room,
	unsigned n, bool *chosen);

/* refuse.c: the sentence of a refusal: what prevents it, and the nearest that can be had. */
int sv_plan_refuse(const struct sv_machine *m, const struct sv_plan_request *req, int rc,
	struct sv_error *err);
/* result.c: what each guest has, and what is said about it. Return: 0 or -ENOMEM. */
int sv_plan_give_vcpus(struct sv_planning *p, unsigned g);
int sv_plan_give_nodes(struct sv_planning *p, unsigned g);
int sv_plan_list_rest(struct sv_planning *p);
void sv_plan_explain(struct sv_planning *p);

/* plan.c: without the sentence about what can be had. */
int sv_plan_try(const struct sv_machine *m, const struct sv_plan_request *req,
	struct sv_plan **plan, struct sv_error *err);

/* latency.c: how far a core of one domain is from one of another, on average. */
double sv_domain_line_ns(const struct sv_machine *m, unsigned a, unsigned b);

#endif
