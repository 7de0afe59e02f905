/* SPDX-License-Identifier: BSD-3-Clause */
#include "rules.h"

#include <string.h>

#define OPTIONAL (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)
#define G struct sv_profile_guest
#define N struct sv_profile_node
#define D struct sv_profile_disk
#define I struct sv_profile_net
#define U struct sv_profile_uplink

#define TEXT(s, m) CYAML_FIELD_STRING_PTR(#m, OPTIONAL, s, m, 0, 4095)
#define NUMBER(s, m) CYAML_FIELD_UINT_PTR(#m, OPTIONAL, s, m)
#define BOOL(s, m) CYAML_FIELD_BOOL_PTR(#m, OPTIONAL, s, m)
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define CHOICE(s, m, strings) \
	CYAML_FIELD_ENUM_PTR(#m, OPTIONAL | CYAML_FLAG_STRICT, s, m, strings, COUNT(strings))

/* In the order of struct sv_qos_params. */
#define QOS_KEY(s, key, i) CYAML_FIELD_STRING_PTR(key, OPTIONAL, s, qos[i], 0, 32)
#define QOS(s) \
	QOS_KEY(s, "weight", 0), QOS_KEY(s, "priority", 1), QOS_KEY(s, "min_bandwidth", 2), \
		QOS_KEY(s, "max_bandwidth", 3), QOS_KEY(s, "min_iops", 4), \
		QOS_KEY(s, "max_iops", 5), QOS_KEY(s, "burst", 6), QOS_KEY(s, "depth", 7)

static const cyaml_strval_t kinds[] = {{"guest", SV_PROFILE_GUEST}, {"node", SV_PROFILE_NODE_KIND}};
static const cyaml_strval_t policies[] = {{"locality", SV_PROFILE_LOCALITY},
	{"spread", SV_PROFILE_SPREAD}, {"smt-sibling", SV_PROFILE_SMT_SIBLING}};
static const cyaml_strval_t consoles[] = {
	{"stdio", SV_PROFILE_STDIO}, {"serial", SV_PROFILE_SERIAL}, {"none", SV_PROFILE_NONE}};
static const cyaml_strval_t isolates[] = {{"auto", SV_PROFILE_ISOLATE_AUTO},
	{"require", SV_PROFILE_ISOLATE_REQUIRE}, {"none", SV_PROFILE_ISOLATE_NONE}};
static const cyaml_strval_t backings[] = {{"auto", SV_PROFILE_BACKING_AUTO},
	{"4k", SV_PROFILE_BACKING_4K}, {"thp", SV_PROFILE_BACKING_THP},
	{"2m", SV_PROFILE_BACKING_2M}, {"1g", SV_PROFILE_BACKING_1G}};
static const cyaml_strval_t pagings[] = {
	{"auto", SV_PROFILE_PAGING_AUTO}, {"off", SV_PROFILE_PAGING_OFF}};
static const cyaml_strval_t stage2s[] = {{"before", SV_PROFILE_BEFORE},
	{"running", SV_PROFILE_RUNNING}, {"demand", SV_PROFILE_DEMAND}};
static const cyaml_strval_t uplinks[] = {
	{"tap", SV_PROFILE_TAP}, {"packet", SV_PROFILE_PACKET}, {"slirp", SV_PROFILE_SLIRP}};
static const cyaml_strval_t irqchips[] = {{"split", SV_PROFILE_SPLIT}, {"full", SV_PROFILE_FULL}};

static const cyaml_schema_field_t guest_disk_fields[] = {
	CYAML_FIELD_STRING_PTR("path", CYAML_FLAG_POINTER, D, path, 1, 4095),
	BOOL(D, readonly), BOOL(D, direct), BOOL(D, writethrough), BOOL(D, nodiscard),
	BOOL(D, pinned), BOOL(D, iopoll),
	NUMBER(D, queues), TEXT(D, serial), NUMBER(D, sidecore), TEXT(D, format), TEXT(D, filters),
	NUMBER(D, deadline), QOS(D), CYAML_FIELD_END};
static const cyaml_schema_value_t guest_disk = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, D, guest_disk_fields)};

static const cyaml_schema_field_t node_disk_fields[] = {
	CYAML_FIELD_STRING_PTR("path", CYAML_FLAG_POINTER, D, path, 1, 4095),
	CYAML_FIELD_STRING_PTR("socket", CYAML_FLAG_POINTER, D, socket, 1, 107),
	BOOL(D, readonly), BOOL(D, direct), BOOL(D, discard), BOOL(D, writethrough),
	BOOL(D, pinned), BOOL(D, iopoll),
	NUMBER(D, queues), TEXT(D, serial), TEXT(D, format), TEXT(D, filters),
	NUMBER(D, deadline), QOS(D), CYAML_FIELD_END};
static const cyaml_schema_value_t node_disk = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, D, node_disk_fields)};

static const cyaml_schema_field_t guest_net_fields[] = {
	CYAML_FIELD_STRING_PTR("switch", CYAML_FLAG_POINTER, I, sw, 1, 15),
	TEXT(I, mac), NUMBER(I, vlan), NUMBER(I, mtu), BOOL(I, spoof), BOOL(I, trunk),
	TEXT(I, filter),
	NUMBER(I, queues), QOS(I), CYAML_FIELD_END};
static const cyaml_schema_value_t guest_net = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, I, guest_net_fields)};

static const cyaml_schema_field_t node_net_fields[] = {
	CYAML_FIELD_STRING_PTR("switch", CYAML_FLAG_POINTER, I, sw, 1, 15),
	TEXT(I, mac), NUMBER(I, vlan), NUMBER(I, mtu), BOOL(I, spoof), BOOL(I, trunk),
	TEXT(I, filter),
	NUMBER(I, queues), CYAML_FIELD_STRING_PTR("socket", CYAML_FLAG_POINTER, I, socket, 1, 107),
	QOS(I), CYAML_FIELD_END};
static const cyaml_schema_value_t node_net = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, I, node_net_fields)};

static const cyaml_schema_field_t node_uplink_fields[] = {
	CYAML_FIELD_ENUM_PTR("type", CYAML_FLAG_POINTER | CYAML_FLAG_STRICT, U, type, uplinks,
		COUNT(uplinks)),
	CYAML_FIELD_STRING_PTR("switch", CYAML_FLAG_POINTER, U, sw, 1, 15),
	TEXT(U, dev), NUMBER(U, queues), NUMBER(U, vlan), TEXT(U, filter), TEXT(U, net),
	CYAML_FIELD_BOOL_PTR("restrict", OPTIONAL, U, restrict_), BOOL(U, host_loopback),
	TEXT(U, forward), CYAML_FIELD_END};
static const cyaml_schema_value_t node_uplink = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, U, node_uplink_fields)};

static const cyaml_schema_field_t guest_fields[] = {
	CHOICE(G, kind, kinds), TEXT(G, inherits), TEXT(G, description), TEXT(G, name),
	TEXT(G, kernel), TEXT(G, initrd), TEXT(G, cmdline), TEXT(G, memory), NUMBER(G, vcpus),
	TEXT(G, topology), NUMBER(G, numa),
	CYAML_FIELD_SEQUENCE("disks", OPTIONAL, G, disks, &guest_disk, 0, SV_PROFILE_GUEST_DISKS),
	CYAML_FIELD_SEQUENCE("nets", OPTIONAL, G, nets, &guest_net, 0, SV_PROFILE_GUEST_NETS),
	CHOICE(G, console, consoles), TEXT(G, cpus), TEXT(G, sidecore), BOOL(G, smt_sibling),
	BOOL(G, overcommit), CHOICE(G, isolate, isolates), TEXT(G, placement),
	TEXT(G, keep_placement),
	TEXT(G, node), BOOL(G, private), NUMBER(G, rejoin), TEXT(G, idle), CHOICE(G, irqchip, irqchips),
	BOOL(G, exit_port), BOOL(G, fw_cfg), BOOL(G, boot32), BOOL(G, populate),
	CHOICE(G, backing, backings), CHOICE(G, stage2, stage2s), CHOICE(G, paging, pagings),
	BOOL(G, balloon), BOOL(G, track_dirty), BOOL(G, rng), NUMBER(G, vsock), TEXT(G, vhost_user),
	TEXT(G, uplink),
	TEXT(G, memory_source), TEXT(G, memory_hot), BOOL(G, memory_prefetch),
	NUMBER(G, memory_timeout), NUMBER(G, ring_entries), BOOL(G, allow_bench),
	BOOL(G, direct_paging), BOOL(G, quiet),
	BOOL(G, json), BOOL(G, smt), TEXT(G, near), BOOL(G, share_cores), BOOL(G, untrusted),
	TEXT(G, sidecores), CHOICE(G, sidecore_policy, policies), CYAML_FIELD_END};
static const cyaml_schema_value_t guest_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, G, guest_fields)};

static const cyaml_schema_field_t node_fields[] = {
	CHOICE(N, kind, kinds), TEXT(N, inherits), TEXT(N, description), TEXT(N, sidecores),
	NUMBER(N, guest_cores_per_sidecore), CHOICE(N, policy, policies), TEXT(N, near),
	TEXT(N, housekeeping), TEXT(N, exclude), TEXT(N, cpus), NUMBER(N, control_cpu),
	TEXT(N, socket), TEXT(N, idle), CHOICE(N, isolate, isolates), BOOL(N, supervise), BOOL(N, share_cores),
	BOOL(N, allow_bench),
	CYAML_FIELD_SEQUENCE("disks", OPTIONAL, N, disks, &node_disk, 0, SV_PROFILE_NODE_DISKS),
	CYAML_FIELD_SEQUENCE("nets", OPTIONAL, N, nets, &node_net, 0, SV_PROFILE_NODE_NETS),
	CYAML_FIELD_SEQUENCE("uplinks", OPTIONAL, N, uplinks, &node_uplink, 0,
		SV_PROFILE_NODE_UPLINKS),
	CYAML_FIELD_END};
static const cyaml_schema_value_t node_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, N, node_fields)};

const struct cyaml_schema_value *schema_of(enum sv_profile_kind kind)
{
	return kind == SV_PROFILE_NODE_KIND ? &node_schema : &guest_schema;
}

const struct rule *schema_rules(const struct cyaml_schema_field *fields, size_t *n)
{
	static const struct {
		const struct cyaml_schema_field *fields;
		const struct rule *rules;
		const size_t *n;
	} all[] = {
		{guest_fields, rules_guest, &n_rules_guest},
		{node_fields, rules_node, &n_rules_node},
		{guest_net_fields, rules_guest_net, &n_rules_guest_net},
		{node_net_fields, rules_node_net, &n_rules_node_net},
		{node_uplink_fields, rules_node_uplink, &n_rules_node_uplink},
		{guest_disk_fields, rules_guest_disk, &n_rules_guest_disk},
		{node_disk_fields, rules_node_disk, &n_rules_node_disk},
	};

	for (size_t i = 0; i < COUNT(all); i++)
		if (all[i].fields == fields) {
			*n = *all[i].n;
			return all[i].rules;
		}
	*n = 0;
	return NULL;
}

const struct rule *schema_rule(const struct cyaml_schema_field *fields, const char *key)
{
	size_t n;
	const struct rule *rules = schema_rules(fields, &n);

	for (size_t i = 0; i < n; i++)
		if (!strcmp(rules[i].key.name, key))
			return &rules[i];
	sv_bug("a key of the schema has no rule", key, 0);
}

const struct cyaml_schema_field *schema_field(const struct cyaml_schema_field *fields,
	const char *key)
{
	for (; fields->key; fields++)
		if (!strcmp(fields->key, key))
			return fields;
	return NULL;
}

const struct sv_profile_key *sv_profile_keys(enum sv_profile_kind kind, const char *list, size_t *n)
{
	static struct sv_profile_key keys[8][RULES];
	const struct cyaml_schema_field *fields = schema_of(kind)->mapping.fields, *f;
	const struct rule *rules;
	struct sv_profile_key *out = keys[kind];

	if (list) {
		f = schema_field(fields, list);
		if (!f || f->value.type != CYAML_SEQUENCE) {
			*n = 0;
			return NULL;
		}
		fields = f->value.sequence.entry->mapping.fields;
		out = keys[(!strcmp(list, "disks") ? 2 : !strcmp(list, "nets") ? 4 : 6) + kind];
	}
	rules = schema_rules(fields, n);
	for (size_t i = 0; i < *n && i < RULES; i++)
		out[i] = rules[i].key;
	return out;
}
