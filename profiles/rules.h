/* SPDX-License-Identifier: BSD-3-Clause */
/* The rules of each mapping of the schema. */
#ifndef PROFILES_RULES_H
#define PROFILES_RULES_H

#include "schema.h"

extern const struct rule rules_guest[];
extern const size_t n_rules_guest;
extern const struct rule rules_node[];
extern const size_t n_rules_node;
extern const struct rule rules_guest_net[];
extern const size_t n_rules_guest_net;
extern const struct rule rules_node_net[];
extern const size_t n_rules_node_net;
extern const struct rule rules_node_uplink[];
extern const size_t n_rules_node_uplink;
extern const struct rule rules_guest_disk[];
extern const size_t n_rules_guest_disk;
extern const struct rule rules_node_disk[];
extern const size_t n_rules_node_disk;

#endif
