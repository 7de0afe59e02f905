/* SPDX-License-Identifier: BSD-3-Clause */
/* One VM on several sidecores: who polls what, what is counted where, and how it ends. */
#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sidevisor/services.h>
#include <vmm/vmm.h>

#include "node_by_hand.h"

#define CHANNEL(i) (0x1000u + (i) * 0x1000u)

static struct node_by_hand node = {.sidecores = 2};
static struct node_client vm;
static uint32_t cpu[2];

static void start(void)
{
	if (node_cpu(1) < 0)
		cr_skip_test("SKIPPED BECAUSE this machine has one CPU: two sidecores");
	cpu[0] = (uint32_t)node_cpu(0);
	cpu[1] = (uint32_t)node_cpu(1);
	node_start(&node, -1);
	client_connect(&vm, &node);
}

static void end(void)
{
	if (!node.pid)
		return;
	client_close(&vm);
	cr_expect_eq(node_stop(&node), 0);
}

TestSuite(sidecores, .init = start, .fini = end, .timeout = 120);

static json_t *stats(struct node_client *c)
{
	json_t *o;

	cr_assert_eq(client_simple(c, SV_CONTROL_STATS), 0);
	o = json_loads(c->text, 0, NULL);
	cr_assert_not_null(o, "%s", c->text);
	return o;
}

static json_int_t number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static json_t *sidecore(const json_t *o, size_t i)
{
	return json_array_get(json_object_get(o, "sidecores"), i);
}

static json_int_t pollers(const json_t *o, size_t i, const char *name, const char *service)
{
	json_t *accounts = json_object_get(json_object_get(sidecore(o, i), "accounts"), name);

	return number(json_object_get(accounts, service), "pollers");
}

/* Three channels: on the first, the second, and where HELLO said. */
static void attach(struct node_client *c, const char *name, struct sv_client channel[3])
{
	cr_assert_eq(client_hello_on(c, name, 3, cpu[1]), 0, "%s", c->reply.text);
	cr_expect_eq(c->reply.sidecore_cpu, cpu[1]);
	cr_assert_eq(client_memory(c), 0, "%s", c->reply.text);
	cr_assert_eq(client_channel_on(c, &channel[0], CHANNEL(0), 0, cpu[0]), 0);
	cr_assert_eq(client_channel_on(c, &channel[1], CHANNEL(1), 1, cpu[1]), 0);
	cr_assert_eq(client_channel_on(c, &channel[2], CHANNEL(2), 2, SV_CONTROL_ANY), 0);
	cr_assert_eq(client_simple(c, SV_CONTROL_START), 0, "%s", c->reply.text);
}

Test(sidecores, each_channel_is_polled_by_the_one_named)
{
	struct sv_client channel[3];
	json_t *o, *v;

	attach(&vm, "wide", channel);
	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k <= i; k++)
			cr_assert(channel_served(&channel[i]));
	o = stats(&vm);
	cr_expect_eq(pollers(o, 0, "wide", "channel"), 1);
	cr_expect_eq(pollers(o, 1, "wide", "channel"), 2);
	cr_expect_eq(number(sidecore(o, 0), "vms"), 1);
	cr_expect_eq(number(sidecore(o, 1), "vms"), 1);
	v = json_array_get(json_object_get(o, "vms"), 0);
	cr_expect_eq(json_array_size(json_object_get(v, "sidecore_cpus")), 2);
	cr_expect_eq(number(json_object_get(v, "services"), "core"), 6, "over all sidecores");
	for (size_t i = 0; i < 3; i++) {
		json_t *c = json_array_get(json_object_get(v, "channels"), i);

		cr_expect_eq(number(c, "requests"), (json_int_t)i + 1);
		cr_expect_eq(number(c, "sidecore_cpu"), cpu[i > 0]);
	}
	json_decref(o);
}

Test(sidecores, a_disk_is_polled_by_the_one_named)
{
	int front_end[2];
	json_t *o, *devices;

	cr_assert_eq(client_hello_on(&vm, "disks", 1, cpu[1]), 0);
	cr_assert_eq(client_memory(&vm), 0);
	cr_assert_eq(client_disk_on(&vm, &front_end[0], cpu[0]), 0, "%s", vm.reply.text);
	cr_assert_eq(client_disk_on(&vm, &front_end[1], SV_CONTROL_ANY), 0, "%s", vm.reply.text);
	o = stats(&vm);
	devices = json_object_get(json_array_get(json_object_get(o, "vms"), 0), "devices");
	cr_expect_eq(number(json_array_get(devices, 0), "sidecore_cpu"), cpu[0]);
	cr_expect_eq(number(json_array_get(devices, 1), "sidecore_cpu"), cpu[1]);
	cr_expect_eq(number(sidecore(o, 0), "vms"), 1);
	json_decref(o);
	close(front_end[0]);
	close(front_end[1]);
}

Test(sidecores, one_that_is_not_there_is_refused_with_those_that_are)
{
	struct sv_client channel;
	char list[32];

	snprintf(list, sizeof(list), "%u, %u", cpu[0], cpu[1]);
	cr_expect_eq(client_hello_on(&vm, "lost", 1, 4711), ENODEV);
	cr_expect(strstr(vm.reply.text, "4711") && strstr(vm.reply.text, list), "%s", vm.reply.text);
	cr_expect_eq(client_hello_on(&vm, "lost", 1, 0x80000000u), ENODEV);
	cr_assert_eq(client_hello(&vm, "found", 1), 0);
	cr_assert_eq(client_memory(&vm), 0);
	cr_expect_eq(client_channel_on(&vm, &channel, CHANNEL(0), 0, 4711), ENODEV);
	cr_expect_eq(client_disk_on(&vm, NULL, 4711), ENODEV);
	cr_expect_eq(client_channel_on(&vm, &channel, CHANNEL(0), 0, cpu[0]), 0);
	cr_expect_eq(client_simple(&vm, SV_CONTROL_START), 0);
	cr_expect(channel_served(&channel));
}

Test(sidecores, who_leaves_it_to_the_node_gets_the_least_loaded)
{
	struct node_client other[2];
	unsigned on_first = 0;

	cr_assert_eq(client_hello_on(&vm, "first", 1, cpu[0]), 0);
	for (unsigned i = 0; i < 2; i++) {
		client_connect(&other[i], &node);
		cr_assert_eq(client_hello(&other[i], i ? "third" : "second", 1), 0);
		on_first += other[i].reply.sidecore_cpu == cpu[0];
	}
	cr_expect_eq(other[0].reply.sidecore_cpu, cpu[1]);
	cr_expect_eq(on_first, 1);
	cr_assert_eq(client_simple(&vm, SV_CONTROL_STATS), 0);
	cr_assert_eq(vm.reply.sidecores, 2);
	cr_expect(vm.reply.sidecore[0].cpu == cpu[0] && vm.reply.sidecore[0].vms == 2);
	cr_expect(vm.reply.sidecore[1].cpu == cpu[1] && vm.reply.sidecore[1].vms == 1);
	client_close(&other[0]);
	client_close(&other[1]);
}

Test(sidecores, a_vm_process_asks_which_there_are_before_it_chooses)
{
	struct sv_node_sidecore have[4];
	struct sv_error err = {""};
	int got;

	cr_assert_eq(sv_node_sidecores(vm.sock, have, 4, &err), 2, "%s", err.text);
	cr_expect(have[0].cpu == (int)cpu[0] && have[1].cpu == (int)cpu[1]);
	cr_expect(have[0].vms == 0 && have[1].vms == 0);
	cr_expect_eq(sv_node_hello(vm.sock, "choosy", 1, 4711, &got, &err), -ENODEV);
	cr_expect(strstr(err.text, "CPU 4711"), "%s", err.text);
	cr_expect_eq(sv_node_hello(vm.sock, "choosy", 1, (int)cpu[1], &got, &err), 0, "%s", err.text);
	cr_expect_eq(got, (int)cpu[1]);
	cr_expect_eq(sv_node_sidecores(vm.sock, have, 1, &err), 1);
	cr_expect_eq(have[0].vms, 0);
}

static void write_console(struct sv_client *channel)
{
	struct sv_req req = {
		.service = SV_SERVICE_CONSOLE, .opcode = SV_CONSOLE_WRITE, .arg = {2, 0x6968}};
	struct sv_cpl cpl;

	cr_assert_eq(sv_client_submit(channel, &req, 1), 1);
	while (sv_client_reap(channel, &cpl, 1) != 1)
		usleep(100);
	cr_assert_eq(cpl.status, SV_STATUS_OK);
}

Test(sidecores, the_console_is_the_vms_on_all_of_them)
{
	struct sv_control_request r = request_of(SV_CONTROL_CONSOLE);
	struct sv_client channel[3];
	int pair[2];
	char buf[16];

	attach(&vm, "console", channel);
	for (unsigned round = 0; round < 3; round++) {
		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		cr_assert_eq(client_say(&vm, &r, (int[]){pair[0], pair[0]}, 2), 0);
		close(pair[0]);
		for (unsigned i = 0; i < 3; i++)
			write_console(&channel[i]);
		cr_expect_eq(recv(pair[1], buf, 6, MSG_WAITALL), 6);
		close(pair[1]);
	}
}

Test(sidecores, a_vm_that_ends_leaves_all_of_them)
{
	struct sv_client channel[3], kept[3];
	struct node_client other;
	int front_end;
	unsigned quiet;
	json_t *o;

	attach(&vm, "stays", kept);
	quiet = node_descriptors(&node);
	for (unsigned round = 0; round < 5; round++) {
		client_connect(&other, &node);
		attach(&other, "goes", channel);
		cr_assert_eq(client_disk_on(&other, &front_end, cpu[round % 2]), 0);
		cr_assert(channel_served(&channel[round % 3]));
		client_close(&other);
		close(front_end);
		node_settles(&node, quiet);
		for (unsigned i = 0; i < 3; i++)
			cr_assert(channel_served(&kept[i]));
	}
	o = stats(&vm);
	for (size_t i = 0; i < 2; i++) {
		cr_expect_eq(number(sidecore(o, i), "vms"), 1);
		cr_expect_null(json_object_get(json_object_get(sidecore(o, i), "accounts"), "goes"));
	}
	json_decref(o);
}
