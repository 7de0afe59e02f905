/* SPDX-License-Identifier: BSD-3-Clause */
/* Uplinks with traffic of the kernel's own stack, and what is said when one cannot be had. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/landlock.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "slirp_confine.h"
#include "switch_by_hand.h"
#include "uplink.h"
#include "uplink_rig.h"

#define MANY (4u << 20)

static uint64_t drops(const struct sv_port *p, enum sv_drop why)
{
	return p->counters.drops[why];
}

static void two_taps(struct rig *r, uint32_t offloads)
{
	rig_open(r, offloads);
	rig_uplink(r, 0, 0, "tap:dev=t0");
	rig_uplink(r, 1, 1, "tap:dev=t0,queues=2");
	rig_ip(r, 0, "addr add 10.9.0.1/24 dev t0");
	rig_ip(r, 1, "addr add 10.9.0.2/24 dev t0");
}

Test(uplink, a_stream_between_two_taps_goes_in_frames_larger_than_the_wire_allows)
{
	struct rig r;

	two_taps(&r, SV_OFFLOAD_ALL);
	cr_assert(rig_tcp(&r, 0, 1, "10.9.0.2", 7000, "10.9.0.2", 7000, MANY));
	cr_assert_gt(r.longest, 1514);
	rig_close(&r);
}

Test(uplink, whoever_takes_no_offloads_gets_them_done)
{
	struct rig r;

	two_taps(&r, 0);
	cr_assert(rig_tcp(&r, 0, 1, "10.9.0.2", 7000, "10.9.0.2", 7000, MANY));
	cr_assert_leq(r.longest, 1514);
	rig_close(&r);
}

/* A wire: one end the uplink's, the other in namespace 1. */
static void veth_and_tap(struct rig *r, const char *tap)
{
	char command[64];

	rig_open(r, SV_OFFLOAD_ALL);
	rig_ip(r, -1, "link add v0 type veth peer name v1");
	rig_ip(r, -1, "link set v0 up");
	/* The namespace by the number of its descriptor in this process. */
	snprintf(command, sizeof(command), "link set v1 netns /proc/%d/fd/%d", getpid(), r->ns[1]);
	rig_ip(r, -1, command);
	rig_ip(r, 1, "link set v1 up");
	rig_uplink(r, 0, 0, tap);
	rig_uplink(r, 1, -1, "packet:dev=v0");
}

Test(uplink, a_packet_socket_puts_guests_on_the_wire_of_an_interface)
{
	struct rig r;

	veth_and_tap(&r, "tap:dev=t0");
	rig_ip(&r, 0, "addr add 10.9.0.1/24 dev t0");
	rig_ip(&r, 1, "addr add 10.9.0.2/24 dev v1");
	cr_assert(rig_tcp(&r, 0, 1, "10.9.0.2", 7000, "10.9.0.2", 7000, MANY));
	cr_assert(rig_tcp(&r, 1, 0, "10.9.0.1", 7000, "10.9.0.1", 7000, MANY));
	rig_close(&r);
}

/* One UDP datagram from 10.0.0.1 to 10.0.0.2 in VLAN 5, from a socket that knows no VLANs. */
static void send_tagged(struct rig *r, const char *dev)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_halen = 6};
	struct virtio_net_hdr_v1 hdr;
	uint8_t frame[256];
	uint32_t len = make_udp(frame + 4, 0xff, 1, false, 5, &hdr);
	int s;

	frame[4 + 40] = frame[4 + 41] = 0; /* no checksum */
	memmove(frame, frame + 4, 12);
	memcpy(frame + 12, (uint8_t[]){0x81, 0, 0, 5}, 4);
	rig_enter(r, 1);
	s = socket(AF_PACKET, SOCK_RAW, 0);
	at.sll_ifindex = (int)if_nametoindex(dev);
	cr_assert_eq(
		sendto(s, frame, len + 4, 0, (struct sockaddr *)&at, sizeof(at)), (ssize_t)len + 4);
	close(s);
	rig_enter(r, -1);
}

Test(uplink, a_tag_that_the_kernel_took_out_is_put_back)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(2000)};
	char text[16] = "";
	ssize_t got = -1;
	struct rig r;
	int s;

	veth_and_tap(&r, "tap:dev=t0,vlan=5");
	rig_ip(&r, 0, "addr add 10.0.0.2/24 dev t0");
	rig_enter(&r, 0);
	s = socket(AF_INET, SOCK_DGRAM, 0);
	cr_assert_eq(bind(s, (struct sockaddr *)&any, sizeof(any)), 0);
	for (unsigned i = 0; i < 1000 && got != 5; i++) {
		if (i % 100 == 0)
			send_tagged(&r, "v1");
		rig_turn(&r);
		got = recv(s, text, sizeof(text), MSG_DONTWAIT);
		usleep(1000);
	}
	close(s);
	cr_assert_eq(got, 5);
	rig_close(&r);
}

Test(uplink, an_access_vlan_is_untagged_outside)
{
	struct rig r;

	rig_open(&r, SV_OFFLOAD_ALL);
	rig_uplink(&r, 0, 0, "tap:dev=t0,vlan=7");
	rig_uplink(&r, 1, 1, "tap:dev=t0,vlan=7");
	rig_ip(&r, 0, "addr add 10.9.0.1/24 dev t0");
	rig_ip(&r, 1, "addr add 10.9.0.2/24 dev t0");
	cr_assert(rig_tcp(&r, 0, 1, "10.9.0.2", 7000, "10.9.0.2", 7000, MANY / 4));
	sv_uplink_close(r.uplink[1]);
	rig_uplink(&r, 1, 1, "tap:dev=t0,vlan=8");
	rig_ip(&r, 1, "addr add 10.9.0.2/24 dev t0");
	cr_assert(!rig_udp(&r, 0, 1, "10.9.0.2", 7001));
	rig_close(&r);
}

Test(uplink, a_filter_decides_what_passes)
{
	struct rig r;

	rig_open(&r, SV_OFFLOAD_ALL);
	rig_uplink(&r, 0, 0, "tap:dev=t0,filter=pcap:not udp port 7001;count:");
	rig_uplink(&r, 1, 1, "tap:dev=t0");
	rig_ip(&r, 0, "addr add 10.9.0.1/24 dev t0");
	rig_ip(&r, 1, "addr add 10.9.0.2/24 dev t0");
	cr_assert(rig_udp(&r, 0, 1, "10.9.0.2", 7002));
	cr_assert(!rig_udp(&r, 0, 1, "10.9.0.2", 7001));
	cr_assert_gt(drops(rig_port(&r, 0), SV_DROP_FILTER_IN), 0);
	cr_assert(rig_tcp(&r, 0, 1, "10.9.0.2", 7000, "10.9.0.2", 7000, 65536));
	rig_close(&r);
}

/* --- without privileges ------------------------------------------------------------------------
 */

static void slirp_and_tap(struct rig *r, const char *slirp)
{
	rig_open(r, SV_OFFLOAD_ALL);
	rig_uplink(r, 0, 0, "tap:dev=t0");
	rig_uplink(r, 1, -1, slirp);
	rig_ip(r, 0, "addr add 10.0.2.15/24 dev t0");
}

Test(uplink, slirp_connects_with_the_users_own_sockets)
{
	struct rig r;

	slirp_and_tap(&r, "slirp:host-loopback");
	cr_assert(rig_tcp(&r, 0, -1, "10.0.2.2", 7000, "127.0.0.1", 7000, MANY / 2));
	rig_close(&r);
}

Test(uplink, slirp_forwards_a_port_of_the_host_to_a_guest)
{
	struct rig r;

	slirp_and_tap(&r, "slirp:forward=tcp:127.0.0.1:7100:7000");
	cr_assert(rig_tcp(&r, -1, 0, "127.0.0.1", 7100, "10.0.2.15", 7000, MANY / 2));
	rig_close(&r);
}

Test(uplink, slirp_keeps_guests_from_the_hosts_own_services)
{
	struct rig r;

	slirp_and_tap(&r, "slirp:");
	cr_assert(!rig_tcp(&r, 0, -1, "10.0.2.2", 7000, "127.0.0.1", 7000, 1024));
	rig_close(&r);
}

/* --- ends --------------------------------------------------------------------------------------
 */

static bool link_goes_down(struct rig *r, unsigned which)
{
	for (unsigned i = 0; i < 20000 && !rig_port(r, which)->link_down; i++) {
		rig_turn(r);
		usleep(100);
	}
	return rig_port(r, which)->link_down;
}

Test(uplink, an_interface_that_is_deleted_takes_its_link_down_and_nothing_else)
{
	struct rig r;

	two_taps(&r, SV_OFFLOAD_ALL);
	cr_assert(rig_udp(&r, 0, 1, "10.9.0.2", 7001));
	rig_ip(&r, 1, "link del t0");
	cr_assert(link_goes_down(&r, 1));
	cr_assert(!rig_port(&r, 0)->link_down);
	rig_close(&r);
}

/* Return: what is wrong, by number. */
static int confined(bool name_servers)
{
	if (slirp_confine() < 0)
		return 1;
	if (open("/proc/self/maps", O_RDONLY | O_CLOEXEC) >= 0 || errno != EACCES)
		return 2;
	if (open("/usr", O_RDONLY | O_CLOEXEC) >= 0)
		return 3;
	return name_servers && open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC) < 0 ? 4 : 0;
}

Test(uplink, the_slirp_process_reads_what_says_the_name_servers_alone)
{
	int status;
	pid_t pid;

	if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 0)
		cr_skip_test("SKIPPED BECAUSE this kernel has no Landlock");
	if (getenv("SIDEVISOR_NO_SECCOMP"))
		cr_skip_test("SKIPPED BECAUSE SIDEVISOR_NO_SECCOMP is set");
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0)
		/* Not by _exit(), for which sanitizers make calls that are forbidden by now. */
		syscall(SYS_exit_group, confined(access("/etc/resolv.conf", R_OK) == 0));
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%x", (unsigned)status);
}

Test(uplink, a_slirp_process_that_ends_is_reported_and_takes_its_link_down)
{
	struct rig r;
	pid_t pid;

	slirp_and_tap(&r, "slirp:");
	pid = *(pid_t *)r.uplink[1]->kind; /* first in what the kind keeps */
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert(link_goes_down(&r, 1));
	for (unsigned i = 0; i < 1000 && r.host.fd >= 0; i++) {
		rig_turn(&r);
		usleep(1000);
	}
	cr_assert_eq(r.host.fd, -1);
	rig_close(&r);
}

/* --- what is said ------------------------------------------------------------------------------
 */

static void expect(const char *text, int rc, const char *part)
{
	struct sv_uplink_config c;
	struct sv_error err = {""};
	struct sv_uplink *u;
	char words[256];
	int got;

	snprintf(words, sizeof(words), "%s", text);
	got = sv_uplink_parse(words, &c, &err);
	if (got == 0)
		got = sv_uplink_open(&u, &c, NULL, &err);
	cr_assert_eq(got, -rc, "%s: %d: %s", text, got, err.text);
	cr_assert(strstr(err.text, part), "%s: %s", text, err.text);
}

Test(uplink, what_cannot_be_meant_is_named)
{
	expect("switch=lan,dev=t", EINVAL, "write KIND:switch=NAME");
	expect("foo:switch=lan", EINVAL, "'foo' is no kind of uplink");
	expect("tap:dev=t0", EINVAL, "switch=NAME is needed");
	expect("tap:switch=lan", EINVAL, "dev=INTERFACE is needed");
	expect("tap:switch=lan,dev=abcdefghijklmnop", EINVAL, "at most 15 bytes");
	expect("tap:switch=lan,dev=t,bogus=1", EINVAL, "'bogus'");
	expect("tap:switch=lan,dev=t,queues=5", EINVAL, "queues=5: a number from 1 to 4");
	expect("tap:switch=lan,dev=t,vlan=4095", EINVAL, "vlan=4095: a number from 1 to 4094");
	expect("tap:switch=lan,dev=t,restrict", EINVAL, "are for slirp");
	expect("packet:switch=lan,dev=t,queues=2", EINVAL, "queues= is for tap");
	expect("slirp:switch=lan,dev=t", EINVAL, "are not for slirp");
	expect("slirp:switch=lan,restrict=1", EINVAL, "restrict takes no value");
	expect("slirp:switch=lan,net=10.0.2.1/24", EINVAL, "ADDRESS/BITS");
	expect("slirp:switch=lan,net=10.0.2.0/28", EINVAL, "ADDRESS/BITS");
	expect("slirp:switch=lan,forward=tcp:22", EINVAL, "forward=tcp:22: write");
	expect("slirp:switch=lan,forward=tcp:1:2:3", EINVAL, "forward=tcp:1:2:3: write");
	expect("slirp:switch=lan,forward=sctp:1:2", EINVAL, "forward=sctp:1:2: write");
	expect("tap:switch=lan,dev=t,filter=nonsense:1", ENOENT, "'nonsense' is unknown");
	expect("tap:switch=lan,dev=t,filter=pcap:foo bar", EINVAL, "foo bar");
	expect("packet:switch=lan,dev=nosuchdevice", ENODEV,
		"packet nosuchdevice: there is no such interface");
	if (geteuid() == 0)
		expect("packet:switch=lan,dev=lo", EPFNOSUPPORT,
			"packet lo: it is not an Ethernet interface");
}

Test(uplink, a_port_that_is_taken_is_named)
{
	struct rig r;

	slirp_and_tap(&r, "slirp:forward=tcp:127.0.0.1:7100:7000");
	expect("slirp:switch=lan,forward=tcp:127.0.0.1:7100:22", EADDRINUSE,
		"7100 cannot be listened on");
	rig_close(&r);
}

Test(uplink, without_permission_the_sentence_says_how_to_get_it)
{
	if (geteuid() == 0)
		cr_assert_eq(setresuid(65534, 65534, 65534), 0);
	expect("tap:switch=lan,dev=nosuchtap", EPERM, "tap nosuchtap: not permitted");
	expect("packet:switch=lan,dev=lo", EPERM, "packet lo: not permitted");
}

Test(uplink, a_program_that_is_not_there_is_named)
{
	setenv("SIDEVISOR_SLIRP", "/nonexistent/sidevisor-slirp", 1);
	expect("slirp:switch=lan", ENOENT, "/nonexistent/sidevisor-slirp cannot be started");
}
