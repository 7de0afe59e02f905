/* SPDX-License-Identifier: BSD-3-Clause */
/* What a VM gets from a whole node, and what the node tells about it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sidevisor/services.h>

#include "node_by_hand.h"

static struct node_by_hand node;
static struct node_client vm;

static int set_own(void *handle, const char *key, const char *value, struct sv_error *err)
{
	(void)handle;
	(void)key;
	(void)value;
	(void)err;
	return 0;
}

static char *own_stats(void *handle)
{
	(void)handle;
	return strdup("{}");
}

static const struct sv_device_class own = {
	.kind = SV_DEVICE_BLK, .name = "own", .stats = own_stats, .set = set_own};

static void start(void)
{
	node_own = &own;
	node_start(&node, -1);
	client_connect(&vm, &node);
	client_attach(&vm, "alpha");
}

static void end(void)
{
	client_close(&vm);
	cr_expect_eq(node_stop(&node), 0);
}

TestSuite(node_service, .init = start, .fini = end, .timeout = 120);

static int ask(unsigned service, unsigned opcode, const uint64_t *arg, struct sv_cpl *cpl)
{
	struct sv_req req = {.service = (uint16_t)service, .opcode = (uint16_t)opcode};

	if (arg)
		memcpy(req.arg, arg, sizeof(req.arg));
	cr_assert_eq(sv_client_submit(&vm.channel, &req, 1), 1);
	while (sv_client_reap(&vm.channel, cpl, 1) != 1)
		usleep(100);
	return (int)cpl->status;
}

static json_t *stats(void)
{
	json_t *o;

	cr_assert_eq(client_simple(&vm, SV_CONTROL_STATS), 0);
	o = json_loads(vm.text, 0, NULL);
	cr_assert_not_null(o, "%s", vm.text);
	return o;
}

static json_int_t number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* Ticks of all accounts of a sidecore. */
static json_int_t sum_accounts(const json_t *sidecore, const char *key)
{
	json_t *accounts = json_object_get(sidecore, "accounts"), *of_vm, *service;
	json_int_t sum = 0;
	const char *k1, *k2;

	json_object_foreach(accounts, k1, of_vm) {
		json_object_foreach(of_vm, k2, service)
			sum += number(service, key);
	}
	return sum;
}

Test(node_service, requests_and_ticks_are_accounted_by_vm_and_service)
{
	json_t *o, *sidecore, *alpha, *account;
	struct node_client beta;

	client_connect(&beta, &node);
	client_attach(&beta, "beta");
	for (unsigned i = 0; i < 50; i++)
		cr_assert(client_served(&vm) && client_served(&beta));
	cr_assert(client_served(&vm));
	o = stats();
	sidecore = json_array_get(json_object_get(o, "sidecores"), 0);
	alpha = json_object_get(json_object_get(sidecore, "accounts"), "alpha");
	account = json_object_get(alpha, "channel");
	cr_expect_eq(number(account, "pollers"), 1);
	cr_expect_gt(number(account, "busy_ticks"), 0);
	cr_expect_gt(number(sidecore, "turns"), 0);
	cr_expect_gt(number(o, "ticks_per_us"), 0);
	for (size_t i = 0; i < 2; i++) {
		json_t *v = json_array_get(json_object_get(o, "vms"), i);
		bool is_alpha = !strcmp(json_string_value(json_object_get(v, "vm")), "alpha");
		json_t *channel = json_array_get(json_object_get(v, "channels"), 0);

		cr_expect_eq(number(json_object_get(v, "services"), "core"), is_alpha ? 51 : 50);
		cr_expect_eq(number(channel, "requests"), is_alpha ? 51 : 50);
		cr_expect_eq(number(channel, "bad_seq"), 0);
	}
	json_decref(o);
	client_close(&beta);
}

/* While the sidecore sleeps nothing moves, and the accounts add up to its own. */
Test(node_service, the_accounts_are_the_whole_of_the_busy_time)
{
	bool equal = false;

	for (unsigned i = 0; i < 50; i++)
		cr_assert(client_served(&vm));
	while (!equal) {
		json_t *o = stats(), *sidecore = json_array_get(json_object_get(o, "sidecores"), 0);

		equal = sum_accounts(sidecore, "busy_ticks") == number(sidecore, "busy_ticks") &&
			sum_accounts(sidecore, "idle_ticks") <= number(sidecore, "idle_ticks");
		json_decref(o);
	}
}

Test(node_service, the_sidecore_sleeps_and_a_doorbell_wakes_it)
{
	json_t *o, *sidecore;

	for (unsigned i = 0; i < 20; i++) {
		while (!sv_load_full(&vm.channel.shared->wake.sleeping))
			usleep(100);
		cr_assert(client_served(&vm));
	}
	cr_expect_geq(vm.channel.doorbells, 20);
	o = stats();
	sidecore = json_array_get(json_object_get(o, "sidecores"), 0);
	cr_expect_geq(number(sidecore, "sleeps"), 20);
	cr_expect_geq(number(sidecore, "wakes"), 20);
	json_decref(o);
}

Test(node_service, what_no_service_answers_is_told_by_status)
{
	struct sv_cpl cpl;

	cr_expect_eq(ask(5, 0, NULL, &cpl), SV_STATUS_NO_SERVICE);
	cr_expect_eq(ask(65535, 0, NULL, &cpl), SV_STATUS_NO_SERVICE);
	cr_expect_eq(ask(SV_SERVICE_CORE, 77, NULL, &cpl), SV_STATUS_NO_OPCODE);
	cr_expect_eq(ask(SV_SERVICE_BENCH, 0, NULL, &cpl), SV_STATUS_NO_SERVICE, "not allowed here");
	cr_expect_eq(ask(SV_SERVICE_CORE, SV_CORE_INFO, NULL, &cpl), SV_STATUS_OK);
	cr_expect_eq(cpl.value[1], 3);
}

Test(node_service, a_defect_is_counted)
{
	union sv_slot *ring = (union sv_slot *)(void *)(vm.channel.shared + 1);
	uint64_t one = 1;
	bool counted = false;

	cr_assert(client_served(&vm));
	sv_store_release(&ring[1].word[SV_SLOT_SEQ], 12345);
	while (!counted) {
		json_t *o = stats(), *channel;

		channel = json_array_get(json_object_get(o, "vms"), 0);
		channel = json_array_get(json_object_get(channel, "channels"), 0);
		counted = number(channel, "bad_seq") == 1;
		json_decref(o);
		cr_assert_eq(write(vm.doorbell, &one, sizeof(one)), 8);
	}
}

/* --- console --------------------------------------------------------------------------------- */

static int say_console(int in, int out)
{
	struct sv_control_request r = request_of(SV_CONTROL_CONSOLE);

	return client_say(&vm, &r, (int[]){in, out}, 2);
}

Test(node_service, the_console_goes_where_it_was_last_told)
{
	static const uint64_t hi[5] = {2, 0x6968};
	struct sv_cpl cpl;
	int one[2], two[2];
	char buf[8];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, one), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, two), 0);
	cr_assert_eq(ask(SV_SERVICE_CONSOLE, SV_CONSOLE_WRITE, hi, &cpl), SV_STATUS_OK);
	cr_assert_eq(say_console(one[0], one[0]), 0);
	cr_assert_eq(ask(SV_SERVICE_CONSOLE, SV_CONSOLE_WRITE, hi, &cpl), SV_STATUS_OK);
	cr_assert_eq(read(one[1], buf, sizeof(buf)), 2);
	cr_assert_eq(say_console(two[0], two[0]), 0);
	close(one[0]);
	cr_assert_eq(read(one[1], buf, sizeof(buf)), 0, "the node kept the first one");
	cr_assert_eq(ask(SV_SERVICE_CONSOLE, SV_CONSOLE_WRITE, hi, &cpl), SV_STATUS_OK);
	cr_assert_eq(read(two[1], buf, sizeof(buf)), 2);
	cr_assert_eq(write(two[1], "yes", 3), 3);
	cr_assert_eq(ask(SV_SERVICE_CONSOLE, SV_CONSOLE_READ, NULL, &cpl), SV_STATUS_OK);
	cr_assert_eq(cpl.value[0], 3);
	cr_assert_eq(memcmp(&cpl.value[1], "yes", 3), 0);
}

Test(node_service, a_console_that_could_block_is_refused)
{
	int pipes[2], datagram[2], null = open("/dev/null", O_RDWR);

	cr_assert_eq(pipe(pipes), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagram), 0);
	cr_expect_eq(say_console(pipes[0], pipes[1]), EINVAL);
	cr_expect_eq(say_console(datagram[0], datagram[1]), EINVAL);
	cr_expect_eq(say_console(null, null), EINVAL);
	cr_assert(client_served(&vm));
}

/* --- settings of devices ----------------------------------------------------------------------- */

static int set(struct node_client *c, const char *of, const char *device)
{
	struct sv_control_request r = request_of(SV_CONTROL_DEVICE_SET);

	strcpy(r.u.device_set.vm, of);
	strcpy(r.u.device_set.device, device);
	strcpy(r.u.device_set.key, "weight");
	strcpy(r.u.device_set.value, "7");
	return client_say(c, &r, NULL, 0);
}

/* Names prove nothing: a VM says itself what it is called. */
Test(node_service, a_vm_sets_the_devices_of_its_own_lease_alone)
{
	struct node_client same, node_named, nobody;
	int front_end;

	cr_assert_eq(client_disk(&vm, &front_end), 0, "%s", vm.reply.text);
	client_connect(&same, &node);
	client_attach(&same, "alpha");
	client_connect(&node_named, &node);
	client_attach(&node_named, "node");
	cr_expect_eq(set(&vm, "alpha", "disk0"), 0, "%s", vm.reply.text);
	cr_expect_eq(set(&same, "alpha", "disk0"), ENOENT);
	cr_expect_eq(set(&node_named, "node", "own"), ENOENT);
	cr_expect_eq(set(&vm, "node", "own"), EPERM);
	client_connect(&nobody, &node);
	cr_expect_eq(set(&nobody, "alpha", "disk0"), 0, "the operator's: %s", nobody.reply.text);
	client_close(&nobody);
	client_connect(&nobody, &node);
	cr_expect_eq(set(&nobody, "node", "own"), 0, "%s", nobody.reply.text);
	client_close(&nobody);
	client_close(&node_named);
	client_close(&same);
	close(front_end);
}

/* --- bounds and garbage ---------------------------------------------------------------------- */

Test(node_service, connections_beyond_the_limit_are_closed)
{
	int sock[SV_NODE_VMS + 8];
	unsigned ended = 0;
	struct node_client c = {0};

	for (unsigned i = 0; i < SV_NODE_VMS + 8; i++) {
		struct sv_control_request r = request_of(SV_CONTROL_STATS);

		client_connect(&c, &node);
		ended += client_say(&c, &r, NULL, 0) < 0;
		sock[i] = dup(c.sock);
		client_close(&c);
	}
	cr_expect_eq(ended, 9); /* alpha is one of them */
	for (unsigned i = 0; i < SV_NODE_VMS + 8; i++)
		close(sock[i]);
	cr_assert(client_served(&vm));
}

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void mutate(struct sv_control_request *r, uint64_t *seed)
{
	uint8_t *at = (uint8_t *)&r->u;

	for (size_t i = 0; i < sizeof(r->u); i += 4)
		if (next(seed) % 3 == 0)
			memset(at + i, (int)(*seed >> 20), 1 + (*seed >> 30) % 4);
	r->op = (uint16_t)((*seed >> 40) % 9);
}

Test(node_service, mutated_requests_leave_it_and_the_others_well)
{
	uint64_t seed = 88172645463325252ull;
	unsigned quiet = node_descriptors(&node);
	struct node_client c;

	for (unsigned round = 0; round < 500; round++) {
		client_connect(&c, &node);
		client_hello(&c, "mutant", 3);
		client_memory(&c);
		for (unsigned m = 0; m < 8; m++) {
			struct sv_control_request r = request_of(SV_CONTROL_HELLO);
			int fds[4] = {c.memfd, c.doorbell, c.memfd, c.doorbell};

			mutate(&r, &seed);
			if (client_say(&c, &r, fds, (unsigned)(next(&seed) >> 50) % 5) < 0)
				break;
		}
		client_close(&c);
	}
	node_settles(&node, quiet);
	cr_assert(client_served(&vm));
}

Test(node_service, it_runs_under_a_filter)
{
	char path[64], line[128];
	int seccomp = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)node.pid);
	f = fopen(path, "r");
	cr_assert_not_null(f);
	while (fgets(line, sizeof(line), f))
		sscanf(line, "Seccomp: %d", &seccomp);
	fclose(f);
	if (!getenv("SIDEVISOR_NO_SECCOMP"))
		cr_expect_eq(seccomp, 2);
}
