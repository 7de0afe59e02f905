/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Profiles: one YAML file per guest, one per node. docs/profiles.md is the user's text.
 *
 * A file is foreign data: it is read once, bounded in size, depth and list lengths, and checked
 * against the schema as a whole, so that every problem is reported with file, line, column and key.
 * `inherits` adds the keys of another profile where this one is silent; the built-in defaults come
 * last. Nothing here opens what a profile names (kernels, disks): that is the caller's.
 */
#ifndef PROFILES_PROFILE_H
#define PROFILES_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <base/error.h>

#define SV_PROFILE_BYTES (1u << 20) /* of a YAML file */
#define SV_PROFILE_XML_BYTES (64u << 10) /* libxml2 compares each attribute with all others */
#define SV_PROFILE_CHAIN 8u	    /* files of one inheritance chain */
#define SV_PROFILE_VCPUS 1024u
#define SV_PROFILE_GUEST_DISKS 16u
#define SV_PROFILE_NODE_DISKS 64u
#define SV_PROFILE_GUEST_NETS 8u
#define SV_PROFILE_NODE_NETS 64u
#define SV_PROFILE_NODE_UPLINKS 16u
#define SV_PROFILE_NODE "/etc/sidevisor/node.yaml"
#define SV_PROFILE_GUESTS "/etc/sidevisor/guests"

#define SV_PROFILE_AUTO (-1)

enum sv_profile_kind { SV_PROFILE_GUEST, SV_PROFILE_NODE_KIND };

enum sv_profile_policy {
	SV_PROFILE_LOCALITY,
	SV_PROFILE_SPREAD,
	SV_PROFILE_SMT_SIBLING,
};

enum sv_profile_console { SV_PROFILE_STDIO, SV_PROFILE_SERIAL, SV_PROFILE_NONE };
enum sv_profile_irqchip { SV_PROFILE_SPLIT, SV_PROFILE_FULL };
enum sv_profile_isolate {
	SV_PROFILE_ISOLATE_AUTO,
	SV_PROFILE_ISOLATE_REQUIRE,
	SV_PROFILE_ISOLATE_NONE,
};

enum sv_profile_backing {
	SV_PROFILE_BACKING_AUTO,
	SV_PROFILE_BACKING_4K,
	SV_PROFILE_BACKING_THP,
	SV_PROFILE_BACKING_2M,
	SV_PROFILE_BACKING_1G,
};
enum sv_profile_paging { SV_PROFILE_PAGING_AUTO, SV_PROFILE_PAGING_OFF };
enum sv_profile_stage2 { SV_PROFILE_BEFORE, SV_PROFILE_RUNNING, SV_PROFILE_DEMAND };

/*
 * Every member but the paths of disks and the switches and sockets of nets may be NULL: not given.
 * Paths are relative to the caller's directory or absolute, never to the file's.
 */
#define SV_PROFILE_QOS 8u /* keys of quality of service, in the order of the scheduler's own list */

struct sv_profile_disk {
	char *path;
	char *socket; /* node profiles: where a front end connects */
	bool *readonly, *direct, *writethrough, *nodiscard, *discard, *pinned, *iopoll;
	unsigned *queues, *sidecore, *deadline;
	char *serial, *format, *filters;
	char *qos[SV_PROFILE_QOS];
};

struct sv_profile_net {
	char *sw;     /* the name of a switch */
	char *socket; /* node profiles: where a front end connects */
	char *mac;
	unsigned *vlan, *mtu, *queues;
	bool *spoof, *trunk;
	char *filter;
	char *qos[SV_PROFILE_QOS];
};

enum sv_profile_uplink_type { SV_PROFILE_TAP, SV_PROFILE_PACKET, SV_PROFILE_SLIRP };

/* Type and switch are there. */
struct sv_profile_uplink {
	enum sv_profile_uplink_type *type;
	char *sw, *dev, *filter, *net, *forward;
	unsigned *queues, *vlan;
	bool *restrict_, *host_loopback;
};

struct sv_profile_guest {
	enum sv_profile_kind *kind;
	char *inherits, *description;
	char *name, *kernel, *initrd, *cmdline;
	char *memory; /* a size, such as "4G" */
	unsigned *vcpus;
	char *topology;
	unsigned *numa;
	struct sv_profile_disk *disks;
	unsigned disks_count;
	struct sv_profile_net *nets;
	unsigned nets_count;
	enum sv_profile_console *console;
	enum sv_profile_irqchip *irqchip;
	enum sv_profile_isolate *isolate;
	enum sv_profile_backing *backing;
	enum sv_profile_stage2 *stage2;
	enum sv_profile_paging *paging;
	char *cpus, *sidecore, *placement, *keep_placement, *idle, *node;
	char *memory_source, *memory_hot, *vhost_user, *uplink;
	bool *rng;
	unsigned *vsock;
	bool *memory_prefetch;
	unsigned *memory_timeout;
	unsigned *ring_entries, *rejoin;
	bool *smt_sibling, *overcommit, *private, *exit_port, *fw_cfg, *boot32, *populate,
		*allow_bench, *balloon, *track_dirty, *direct_paging, *quiet, *json;
	/* placement */
	bool *smt, *share_cores, *untrusted;
	char *near, *sidecores;
	enum sv_profile_policy *sidecore_policy;
};

struct sv_profile_node {
	enum sv_profile_kind *kind;
	char *inherits, *description;
	/* placement */
	char *sidecores; /* "auto" or a number */
	unsigned *guest_cores_per_sidecore;
	enum sv_profile_policy *policy;
	char *near, *housekeeping, *exclude;
	/* the node service */
	char *cpus, *socket, *idle;
	unsigned *control_cpu;
	enum sv_profile_isolate *isolate;
	bool *share_cores, *supervise, *allow_bench;
	struct sv_profile_disk *disks;
	unsigned disks_count;
	struct sv_profile_net *nets;
	unsigned nets_count;
	struct sv_profile_uplink *uplinks;
	unsigned uplinks_count;
};

/* One key of the schema, as documentation and completion see it. */
struct sv_profile_key {
	const char *name;
	const char *expected;	  /* "a size such as 512M or 4G" */
	const char *what;	  /* one line */
	const char *default_text; /* NULL: none */
};

enum sv_profile_type { SV_PROFILE_TEXT, SV_PROFILE_NUMBER, SV_PROFILE_BOOL };

/* One value of a resolved profile. The entries of a list follow it, by index. */
struct sv_profile_value {
	const char *key;
	const char *list;  /* of an entry: the key of its list; else NULL */
	unsigned index;	   /* of an entry: its number in the list, from 0 */
	bool is_list;	   /* text is NULL; the entries follow */
	enum sv_profile_type type;
	const char *text;  /* booleans are "true" or "false" */
	const char *file;  /* NULL: a default */
	unsigned line, column;
	const char *given; /* text as it stands in the file; differs for paths */
};

/*
 * Receives one sentence per problem, the first of which stays in @first. Zero it, set what you
 * want.
 */
struct sv_profile_report {
	void (*problem)(void *ctx, const char *sentence); /* may be NULL */
	void *ctx;
	unsigned problems;
	struct sv_error first;
};

struct sv_profile;

/*
 * Read, check and resolve @path. The kind is what the key `kind` says, else "node" for a file of
 * the name node.yaml and "guest" for any other. @want: a kind, or -1 for either. Context: control
 * threads; blocks on the file system. Return: 0 with *p to be freed, or -errno: the file's own
 * (-ENOENT, -EACCES, -EISDIR …), -EFBIG, -ELOOP for a chain that is too long or a cycle, -EINVAL
 * for contents. All problems are in @report.
 */
int sv_profile_load(const char *path, int want, struct sv_profile **p,
	struct sv_profile_report *report);

/* The same for @bytes of text that came from nowhere: `inherits` is refused. For tests. */
int sv_profile_parse(const char *text, size_t bytes, const char *name, int want,
	struct sv_profile **p, struct sv_profile_report *report);
void sv_profile_free(struct sv_profile *p);

enum sv_profile_kind sv_profile_kind(const struct sv_profile *p);
const char *sv_profile_kind_name(enum sv_profile_kind kind);

/* Typed, with inheritance and defaults applied. NULL when it is of the other kind. Owned by @p. */
const struct sv_profile_guest *sv_profile_guest(const struct sv_profile *p);
const struct sv_profile_node *sv_profile_node(const struct sv_profile *p);

/* All values, in the order of the schema, with their origins. Owned by @p. */
const struct sv_profile_value *sv_profile_values(const struct sv_profile *p, size_t *n);

/* The value of a key outside lists. Return: NULL when it was not given and has no default. */
const struct sv_profile_value *sv_profile_find(const struct sv_profile *p, const char *key);

/* The keys of a kind (@list NULL), or those of the entries of one of its lists. */
const struct sv_profile_key *sv_profile_keys(
	enum sv_profile_kind kind, const char *list, size_t *n);

/* What the planner asks of a guest. Strings belong to the profile. */
struct sv_profile_placement {
	const char *name; /* NULL: the file gives none */
	unsigned vcpus;
	uint64_t memory_bytes;
	bool smt, share_cores, untrusted;
	const char *near; /* NULL: none */
	int sidecores;	  /* SV_PROFILE_AUTO, or how many */
	enum sv_profile_policy policy;
	bool policy_given;
};

/* What the planner asks of a node. Arrays belong to the struct: free with the function below. */
struct sv_profile_node_policy {
	enum sv_profile_policy policy;
	int sidecores;			   /* SV_PROFILE_AUTO, or how many */
	unsigned guest_cores_per_sidecore; /* 0: as many as suit */
	int housekeeping;		   /* SV_PROFILE_AUTO, or how many cores */
	int *housekeeping_cpu, *exclude_cpu, *sidecore_cpu;
	unsigned housekeeping_cpus, exclude_cpus, sidecore_cpus;
	const char *near; /* NULL: none */
};

/* @p is of the kind of the name. */
void sv_profile_placement(const struct sv_profile *p, struct sv_profile_placement *out);
/* Return: 0 or -ENOMEM. */
int sv_profile_node_policy(const struct sv_profile *p, struct sv_profile_node_policy *out);
void sv_profile_node_policy_free(struct sv_profile_node_policy *out);

/*
 * A guest profile made from the V3M XML in @path, as YAML text (*yaml: to be freed). What could not
 * be carried over goes to @report, one sentence each, and is no failure. Entities, external subsets
 * and networks are never touched. Return: 0 or -errno with a sentence in @err.
 */
int sv_profile_import_v3m(const char *path, char **yaml, struct sv_profile_report *left_out,
	struct sv_error *err);
/* The same for text in memory. */
int sv_profile_import_v3m_text(const char *text, size_t bytes, const char *name, char **yaml,
	struct sv_profile_report *left_out, struct sv_error *err);

/* @text as a YAML scalar, in quotes where it needs them. */
void sv_profile_put_text(FILE *f, const char *text);

#endif
