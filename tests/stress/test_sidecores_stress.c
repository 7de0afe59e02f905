/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A node with several sidecores, and VMs that come and go on all of them at once, each with channels
 * on every sidecore, a console that changes while requests are under way, and an end that leaves
 * some unanswered. The node runs in this process, so that ThreadSanitizer sees both sides.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <sidevisor/services.h>

#include "node_by_hand.h"

#define VMS 3u
#define ROUNDS 25u
#define CHANNELS 4u

static struct node_by_hand node;
static unsigned sidecores;
static uint64_t answered[VMS];

static void *node_thread(void *arg)
{
	struct sv_node_config config = {.sidecores = sidecores,
		.control_cpu = -1,
		.socket = node.path,
		.private_fd = -1,
		.idle_spin_us = 20,
		.allow_bench = true};
	struct sv_error err = {""};

	(void)arg;
	for (unsigned i = 0; i < sidecores; i++)
		config.cpu[i] = node_cpu(i);
	cr_assert_eq(sv_node_run(&config, &err), 0, "%s", err.text);
	return NULL;
}

static void change_console(struct node_client *c)
{
	struct sv_control_request r = request_of(SV_CONTROL_CONSOLE);
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	cr_assert_eq(client_say(c, &r, (int[]){pair[0], pair[0]}, 2), 0, "%s", c->reply.text);
	close(pair[0]);
	close(pair[1]);
}

static unsigned submit(struct sv_client *channel)
{
	struct sv_req req = {.service = SV_SERVICE_CORE, .opcode = SV_CORE_NOP, .arg = {4711}};

	return sv_client_submit(channel, &req, 1);
}

static void one_life(unsigned number, unsigned round)
{
	struct sv_client channel[CHANNELS];
	struct node_client c;
	char name[16];

	snprintf(name, sizeof(name), "vm-%u", number);
	client_connect(&c, &node);
	cr_assert_eq(client_hello(&c, name, CHANNELS), 0, "%s", c.reply.text);
	cr_assert_eq(client_memory(&c), 0, "%s", c.reply.text);
	for (unsigned i = 0; i < CHANNELS; i++)
		cr_assert_eq(client_channel_on(&c, &channel[i], 0x1000 * (i + 1), i,
				     (uint32_t)node_cpu((i + round) % sidecores)),
			0, "%s", c.reply.text);
	cr_assert_eq(client_simple(&c, SV_CONTROL_START), 0, "%s", c.reply.text);
	for (unsigned i = 0; i < CHANNELS; i++) {
		cr_assert(channel_served(&channel[i]));
		answered[number]++;
	}
	for (unsigned i = 0; i < CHANNELS; i++)
		cr_assert_eq(submit(&channel[i]), 1);
	change_console(&c);
	if (round % 3 == 0)
		cr_assert_eq(client_simple(&c, SV_CONTROL_STATS), 0);
	client_close(&c);
}

static void *vm_thread(void *arg)
{
	unsigned number = (unsigned)(uintptr_t)arg;

	for (unsigned round = 0; round < ROUNDS; round++)
		one_life(number, round);
	return NULL;
}

static void wait_for_node(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, node.path);
	for (unsigned ms = 0; connect(sock, (struct sockaddr *)&a, sizeof(a)) < 0; ms++) {
		cr_assert_lt(ms, 20000);
		usleep(1000);
	}
	close(sock);
}

Test(sidecores_stress, vms_come_and_go_on_all_sidecores, .timeout = 280)
{
	pthread_t served, vm[VMS];
	sigset_t term;

	sidecores = node_cpu(1) < 0 ? 1 : node_cpu(2) < 0 ? 2 : 3;
	setenv("SIDEVISOR_NO_SECCOMP", "1", 1); /* this process does more than a node */
	strcpy(node.dir, "/tmp/sidevisor-node-XXXXXX");
	cr_assert(mkdtemp(node.dir));
	snprintf(node.path, sizeof(node.path), "%s/sock", node.dir);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &term, NULL);
	cr_assert_eq(pthread_create(&served, NULL, node_thread, NULL), 0);
	wait_for_node();
	for (uintptr_t i = 0; i < VMS; i++)
		cr_assert_eq(pthread_create(&vm[i], NULL, vm_thread, (void *)i), 0);
	for (unsigned i = 0; i < VMS; i++) {
		pthread_join(vm[i], NULL);
		cr_expect_eq(answered[i], ROUNDS * CHANNELS);
	}
	kill(getpid(), SIGTERM);
	pthread_join(served, NULL);
	cr_expect_neq(access(node.path, F_OK), 0, "a node that ends takes its socket away");
	rmdir(node.dir);
}
