/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control protocol against a whole node in a process of its own: what works, what is refused,
 * what ends a connection, and that none of it harms another VM or leaves a descriptor behind.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/fdpass.h>

#include "node_by_hand.h"

static struct node_by_hand node;
static struct node_client good, bad;
static unsigned quiet; /* descriptors of the node with only the good client */

/* A node, and a VM on it that has to stay well whatever the other one does. */
static void start(void)
{
	node_start(&node, -1);
	client_connect(&good, &node);
	client_attach(&good, "good");
	cr_assert(client_served(&good));
	quiet = node_descriptors(&node);
	client_connect(&bad, &node);
	cr_assert_eq(client_simple(&bad, SV_CONTROL_STATS), 0);
}

static void end(void)
{
	if (bad.mem)
		client_close(&bad);
	node_settles(&node, quiet);
	cr_expect(client_served(&good), "the other VM is not served any more");
	cr_expect_eq(client_simple(&good, SV_CONTROL_STATS), 0);
	client_close(&good);
	cr_expect_eq(node_stop(&node), 0);
}

TestSuite(control, .init = start, .fini = end, .timeout = 120);

static void expect_refused(int status, const char *what)
{
	cr_expect_gt(status, 0, "%s: %s", what,
		status ? "ended the connection" : "was accepted");
}

/* --- what works ---------------------------------------------------------------------------------- */

Test(control, a_vm_is_attached_served_and_accounted)
{
	int front_end;

	cr_assert_eq(client_hello(&bad, "second", 1), 0);
	cr_assert_eq(client_memory(&bad), 0, "%s", bad.reply.text);
	cr_assert_eq(client_channel(&bad), 0, "%s", bad.reply.text);
	cr_assert_eq(client_console(&bad), 0, "%s", bad.reply.text);
	cr_assert_eq(client_disk(&bad, &front_end), 0, "%s", bad.reply.text);
	cr_assert_eq(client_simple(&bad, SV_CONTROL_START), 0, "%s", bad.reply.text);
	for (unsigned i = 0; i < 100; i++)
		cr_assert(client_served(&bad));
	cr_assert_eq(client_simple(&bad, SV_CONTROL_STATS), 0);
	cr_expect(strstr(bad.text, "\"good\"") && strstr(bad.text, "\"second\""));
	cr_expect(strstr(bad.text, "\"disk0\"") && strstr(bad.text, "\"blk\""), "%s", bad.text);
	close(front_end);
}

Test(control, a_vm_that_ends_is_forgotten)
{
	cr_assert_eq(client_hello(&bad, "shortlived", 1), 0);
	client_close(&bad);
	node_settles(&node, quiet);
	cr_assert_eq(client_simple(&good, SV_CONTROL_STATS), 0);
	cr_expect_null(strstr(good.text, "shortlived"));
}

Test(control, a_name_with_control_characters_is_told_without_them)
{
	cr_assert_eq(client_hello(&bad, "a\nb\"\x1b[31m\xff", 1), 0);
	cr_assert_eq(client_simple(&bad, SV_CONTROL_STATS), 0);
	cr_expect(strstr(bad.text, "a?b"), "%s", bad.text);
	cr_expect_null(strchr(bad.text, '\x1b'));
}

Test(private_node, ends_with_its_client, .timeout = 120)
{
	struct node_by_hand mine = {0};
	struct node_client c;
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	node_start(&mine, pair[1]);
	client_take(&c, pair[0]);
	client_attach(&c, "mine");
	cr_expect(client_served(&c));
	client_close(&c);
	cr_expect_eq(node_wait(&mine), 0);
}

/* --- order ----------------------------------------------------------------------------------------- */

Test(control, nothing_comes_before_hello)
{
	expect_refused(client_memory(&bad), "MEMORY");
	expect_refused(client_channel(&bad), "CHANNEL");
	expect_refused(client_console(&bad), "CONSOLE");
	expect_refused(client_disk(&bad, NULL), "DEVICE");
	expect_refused(client_simple(&bad, SV_CONTROL_START), "START");
	cr_expect_eq(client_simple(&bad, SV_CONTROL_STATS), 0);
	client_attach(&bad, "late");
	cr_expect(client_served(&bad));
}

Test(control, nothing_is_said_twice)
{
	client_attach(&bad, "twice");
	expect_refused(client_hello(&bad, "twice", 1), "HELLO");
	expect_refused(client_memory(&bad), "MEMORY");
	expect_refused(client_simple(&bad, SV_CONTROL_START), "START");
	cr_expect(client_served(&bad));
}

Test(control, a_channel_needs_memory)
{
	cr_assert_eq(client_hello(&bad, "no memory", 1), 0);
	expect_refused(client_channel(&bad), "CHANNEL");
}

Test(control, hello_needs_a_name_and_a_sane_number_of_vcpus)
{
	expect_refused(client_hello(&bad, "", 1), "no name");
	expect_refused(client_hello(&bad, "none", 0), "no vCPU");
	expect_refused(client_hello(&bad, "many", UINT32_MAX), "too many vCPUs");
	cr_expect_eq(client_hello(&bad, "right", 1), 0);
}

/* --- malformed messages ----------------------------------------------------------------------------- */

static void expect_end(const void *bytes, size_t n, const char *what)
{
	if (!bad.mem)
		client_connect(&bad, &node);
	cr_expect_eq(client_say_bytes(&bad, bytes, n, (int[]){bad.memfd, bad.doorbell}, 2), -1, "%s",
		what);
	client_close(&bad);
	node_settles(&node, quiet);
}

Test(control, garbage_ends_the_connection)
{
	static const char zeros[4096];
	struct sv_control_request r = request_of(SV_CONTROL_STATS);

	expect_end("x", 1, "one byte");
	expect_end(zeros, sizeof(r), "zeros");
	expect_end(zeros, sizeof(zeros), "a long message");
	expect_end(&r, sizeof(r) - 1, "a message that is too short");
	r.magic++;
	expect_end(&r, sizeof(r), "another magic");
	r = request_of(SV_CONTROL_STATS);
	r.version++;
	expect_end(&r, sizeof(r), "another version");
}

Test(control, unknown_requests_are_refused)
{
	cr_assert_eq(client_hello(&bad, "odd", 1), 0);
	expect_refused(client_simple(&bad, 0), "request 0");
	expect_refused(client_simple(&bad, 8), "request 8");
	expect_refused(client_simple(&bad, 0xffff), "request 65535");
	cr_expect_eq(client_simple(&bad, SV_CONTROL_STATS), 0);
}

Test(control, descriptors_that_nobody_asked_for_are_closed)
{
	struct sv_control_request r = request_of(SV_CONTROL_STATS);
	int many[200];
	unsigned before = node_descriptors(&node);

	for (unsigned i = 0; i < 200; i++)
		many[i] = bad.memfd;
	cr_expect_eq(client_say(&bad, &r, many, SV_FDPASS_MAX), 0);
	node_settles(&node, before);
}

static void send_descriptors(unsigned n)
{
	struct sv_control_request r = request_of(SV_CONTROL_STATS);
	char control[CMSG_SPACE(sizeof(int) * 200)] = {0};
	struct iovec iov = {.iov_base = &r, .iov_len = sizeof(r)};
	struct msghdr m = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = CMSG_SPACE(sizeof(int) * n)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * n);
	for (unsigned i = 0; i < n; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &bad.memfd, sizeof(int));
	cr_assert_eq(sendmsg(bad.sock, &m, MSG_NOSIGNAL), (ssize_t)sizeof(r));
}

Test(control, more_descriptors_than_fit_end_the_connection)
{
	char byte;

	send_descriptors(200);
	cr_expect_leq(recv(bad.sock, &byte, 1, 0), 0);
}

Test(control, a_client_that_reads_no_answers_is_dropped)
{
	struct sv_control_request r = request_of(SV_CONTROL_STATS);

	for (unsigned i = 0; i < 100000; i++)
		if (sv_fd_send(bad.sock, &r, sizeof(r), NULL, 0, 20000) < 0)
			return;
	cr_assert_fail("it was answered 100000 times");
}

/* --- memory ------------------------------------------------------------------------------------------ */

#define PAGE 4096ull

/* The first two of @n regions are given. */
static int say_regions(uint32_t n, const struct sv_control_region region[2], int fd, unsigned nfds)
{
	struct sv_control_request r = request_of(SV_CONTROL_MEMORY);
	int fds[16];

	r.u.memory.n = n;
	memcpy(r.u.memory.region, region, 2 * sizeof(region[0]));
	for (unsigned i = 0; i < nfds; i++)
		fds[i] = fd;
	return client_say(&bad, &r, fds, nfds);
}

static void refuse_region(uint64_t gpa, uint64_t size, uint64_t offset, int fd, const char *what)
{
	struct sv_control_region r[2] = {{.gpa = gpa, .size = size, .fd_offset = offset}};

	expect_refused(say_regions(1, r, fd, 1), what);
}

Test(control, memory_that_cannot_be_is_refused)
{
	static const struct sv_control_region two[] = {
		{.size = 2 * PAGE}, {.gpa = PAGE, .size = 2 * PAGE}};
	int unsealed = memfd_create("unsealed", MFD_CLOEXEC), pipes[2];

	cr_assert(ftruncate(unsealed, NODE_MEMORY) == 0 && pipe2(pipes, O_CLOEXEC) == 0);
	cr_assert_eq(client_hello(&bad, "memory", 1), 0);
	refuse_region(0, NODE_MEMORY, 0, unsealed, "a memfd that may shrink");
	refuse_region(0, NODE_MEMORY + PAGE, 0, bad.memfd, "larger than the memfd");
	refuse_region(0, NODE_MEMORY, PAGE, bad.memfd, "beyond the memfd");
	refuse_region(0, 0, 0, bad.memfd, "nothing");
	refuse_region(0, PAGE / 2, 0, bad.memfd, "half a page");
	refuse_region(1, PAGE, 0, bad.memfd, "an odd guest address");
	refuse_region(0, PAGE, 1, bad.memfd, "an odd offset");
	refuse_region(-PAGE, 2 * PAGE, 0, bad.memfd, "a guest address that wraps");
	refuse_region(0, 2 * PAGE, -PAGE, bad.memfd, "an offset that wraps");
	refuse_region(0, -PAGE, PAGE, bad.memfd, "a size that wraps");
	refuse_region(0, PAGE, 0, pipes[0], "a pipe");
	refuse_region(0, PAGE, 0, bad.doorbell, "an eventfd");
	expect_refused(say_regions(2, two, bad.memfd, 2), "regions that overlap");
	expect_refused(say_regions(1, two, bad.memfd, 2), "more descriptors than regions");
	expect_refused(say_regions(1, two, bad.memfd, 0), "no descriptor");
	expect_refused(say_regions(0, two, bad.memfd, 0), "no region");
	expect_refused(say_regions(SV_CONTROL_REGIONS + 1, two, bad.memfd, SV_CONTROL_REGIONS + 1),
		"too many regions");
	/* What was refused left nothing behind: it can be said right now. */
	cr_expect_eq(client_memory(&bad), 0, "%s", bad.reply.text);
	cr_expect_eq(client_channel(&bad), 0, "%s", bad.reply.text);
	close(unsealed);
	close(pipes[0]);
	close(pipes[1]);
}

/* --- channels, devices ---------------------------------------------------------------------------------- */

static void refuse_channel(struct sv_control_channel ch, unsigned nfds, const char *what)
{
	struct sv_control_request r = request_of(SV_CONTROL_CHANNEL);

	r.u.channel = ch;
	expect_refused(client_say(&bad, &r, (int[]){bad.doorbell, bad.doorbell, bad.doorbell}, nfds),
		what);
}

Test(control, channels_that_cannot_be_are_refused)
{
	const struct sv_control_channel right = {
		.gpa = 0x2000, .bytes = 0x2000, .req_entries = 8, .cpl_entries = 8,
		.sidecore = SV_CONTROL_ANY};
	struct sv_control_channel c = right;

	cr_assert_eq(client_hello(&bad, "channel", 1), 0);
	cr_assert_eq(client_memory(&bad), 0);
	for (unsigned n = 0; n < 4; n++)
		if (n != 2)
			refuse_channel(right, n, "wrong number of descriptors");
	c.gpa = NODE_MEMORY;
	refuse_channel(c, 2, "outside the memory");
	c.gpa = NODE_MEMORY - 64;
	refuse_channel(c, 2, "half outside the memory");
	c.gpa = -64ull;
	refuse_channel(c, 2, "an address that wraps");
	c.gpa = 0x2004;
	refuse_channel(c, 2, "an odd address");
	c = right;
	c.bytes = 64;
	refuse_channel(c, 2, "too few bytes");
	c = right;
	c.flags = 1;
	refuse_channel(c, 2, "an unknown flag");
	for (uint32_t n = 0; n < 34; n++) {
		static const uint32_t odd[] = {0, 3, 6, 0x80000000u, UINT32_MAX};

		c = right;
		c.req_entries = odd[n % 5];
		if (n % 2)
			c.cpl_entries = odd[(n + 1) % 5];
		refuse_channel(c, 2, "an odd number of entries");
	}
	cr_assert_eq(client_channel(&bad), 0, "%s", bad.reply.text);
	refuse_channel(right, 2, "more channels than vCPUs");
	cr_assert_eq(client_simple(&bad, SV_CONTROL_START), 0);
	cr_expect(client_served(&bad));
}

Test(control, devices_that_cannot_be_are_refused)
{
	struct sv_control_request r = request_of(SV_CONTROL_DEVICE);
	int pair[2], image = memfd_create("image", MFD_CLOEXEC);

	cr_assert_eq(client_hello(&bad, "device", 1), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	r.u.device = (struct sv_control_device){
		.kind = 77, .queues = 1, .sidecore = SV_CONTROL_ANY};
	expect_refused(client_say(&bad, &r, (int[]){pair[1], image}, 2), "an unknown kind");
	r.u.device.kind = SV_DEVICE_BLK;
	expect_refused(client_say(&bad, &r, NULL, 0), "no descriptor");
	expect_refused(client_say(&bad, &r, pair, 1), "a disk without an image");
	expect_refused(client_say(&bad, &r, (int[]){pair[1], image}, 2), "an empty image");
	expect_refused(client_say(&bad, &r, (int[]){pair[1], bad.doorbell}, 2), "no image");
	cr_assert_eq(ftruncate(image, 4096), 0);
	r.u.device.queues = 0;
	expect_refused(client_say(&bad, &r, (int[]){pair[1], image}, 2), "no queue");
	r.u.device.queues = 17;
	expect_refused(client_say(&bad, &r, (int[]){pair[1], image}, 2), "17 queues");
	r.u.device.kind = SV_DEVICE_CONSOLE;
	r.u.device.queues = 2;
	expect_refused(client_say(&bad, &r, (int[]){pair[1], image}, 2), "a console without output");
	r.u.device.kind = SV_DEVICE_BLK;
	r.u.device.queues = 1;
	cr_expect_eq(client_say(&bad, &r, (int[]){pair[1], image}, 2), 0, "%s", bad.reply.text);
	close(pair[0]);
	close(pair[1]);
	close(image);
}

Test(control, the_number_of_devices_is_bounded)
{
	unsigned n = 0;

	cr_assert_eq(client_hello(&bad, "devices", 1), 0);
	while (n < 1000 && client_disk(&bad, NULL) == 0)
		n++;
	cr_expect_lt(n, 1000);
	cr_expect_geq(n, 8, "%u devices: %s", n, bad.reply.text);
}

Test(control, garbage_on_a_disks_connection_ends_that_device_alone)
{
	int front_end;
	char byte;

	client_attach(&bad, "garbage");
	cr_assert_eq(client_disk(&bad, &front_end), 0);
	cr_assert_eq(write(front_end, "garbage that is no vhost-user at all", 36), 36);
	cr_expect_leq(recv(front_end, &byte, 1, 0), 0, "the device hangs up");
	cr_expect(client_served(&bad));
	close(front_end);
}

/* --- going away, standing in the way ---------------------------------------------------------------- */

static const char *const step_name[] = {
	"connect", "HELLO", "MEMORY", "CHANNEL", "CONSOLE", "DEVICE", "START", "a request"};

static void step(struct node_client *c, unsigned i, int *front_end)
{
	switch (i) {
	case 0:
		client_connect(c, &node);
		break;
	case 1:
		cr_assert_eq(client_hello(c, "vanishing", 1), 0);
		break;
	case 2:
		cr_assert_eq(client_memory(c), 0);
		break;
	case 3:
		cr_assert_eq(client_channel(c), 0);
		break;
	case 4:
		cr_assert_eq(client_console(c), 0);
		break;
	case 5:
		cr_assert_eq(client_disk(c, front_end), 0);
		break;
	case 6:
		cr_assert_eq(client_simple(c, SV_CONTROL_START), 0);
		break;
	default:
		cr_assert(client_served(c));
	}
}

Test(control, a_client_may_vanish_after_every_step)
{
	client_close(&bad);
	for (unsigned last = 0; last < sizeof(step_name) / sizeof(step_name[0]); last++) {
		int front_end = -1;

		for (unsigned i = 0; i <= last; i++)
			step(&bad, i, &front_end);
		client_close(&bad);
		if (front_end >= 0)
			close(front_end);
		node_settles(&node, quiet);
		cr_assert(client_served(&good), "after %s", step_name[last]);
	}
}

Test(control, a_client_may_vanish_with_an_answer_on_its_way)
{
	struct sv_control_request r = request_of(SV_CONTROL_STATS);

	for (unsigned i = 0; i < 50; i++) {
		cr_assert_gt(sv_fd_send(bad.sock, &r, sizeof(r), NULL, 0, 20000), 0);
		client_close(&bad);
		client_connect(&bad, &node);
	}
}

/* The descriptor is shared with the client, which can make it blocking again at any time. */
Test(control, a_doorbell_made_blocking_holds_nobody_up)
{
	client_attach(&bad, "blocking");
	cr_assert(client_served(&bad));
	cr_assert_eq(fcntl(bad.doorbell, F_SETFL, 0), 0);
	for (unsigned i = 0; i < 20; i++) {
		usleep(5000); /* long enough for the sidecore to fall asleep: this is not asserted */
		cr_assert(client_served(&good), "request %u of another VM hangs", i);
	}
}

Test(control, a_channel_full_of_garbage_harms_nobody)
{
	client_attach(&bad, "garbage");
	memset(bad.mem + 0x1000, 0xff, 0x1000);
	for (unsigned i = 0; i < 20; i++)
		cr_assert(client_served(&good));
}

/* --- the socket -------------------------------------------------------------------------------------- */

static void bind_there(const char *path, int *fd)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	strcpy(a.sun_path, path);
	*fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(*fd, (struct sockaddr *)&a, sizeof(a)), 0);
}

Test(node_socket, one_that_nobody_listens_on_is_replaced, .timeout = 120)
{
	struct node_by_hand n = {.dir = "/tmp/sidevisor-node-XXXXXX"};
	struct stat st;
	int fd;

	cr_assert(mkdtemp(n.dir));
	snprintf(n.path, sizeof(n.path), "%s/sock", n.dir);
	bind_there(n.path, &fd);
	close(fd);
	node_start(&n, -1);
	cr_expect(stat(n.path, &st) == 0 && (st.st_mode & 0777) == 0660, "%o", st.st_mode);
	cr_expect_eq(node_stop(&n), 0);
}

Test(node_socket, one_that_a_node_listens_on_is_respected, .timeout = 120)
{
	struct node_by_hand n = {0};
	struct node_client c;
	struct sv_error err = {""};
	unsigned before;

	node_start(&n, -1);
	before = node_descriptors(&n);
	cr_expect_eq(node_refuses(n.path, &err), -EADDRINUSE, "%s", err.text);
	cr_expect(strstr(err.text, n.path), "%s", err.text);
	node_settles(&n, before);
	client_connect(&c, &n);
	client_attach(&c, "still there");
	cr_expect(client_served(&c));
	client_close(&c);
	cr_expect_eq(node_stop(&n), 0);
}

Test(node_socket, a_file_in_its_place_is_respected, .timeout = 120)
{
	char path[] = "/tmp/sidevisor-file-XXXXXX";
	struct sv_error err = {""};
	struct stat st;
	int fd = mkstemp(path);

	cr_assert_eq(write(fd, "mine", 4), 4);
	cr_expect_eq(node_refuses(path, &err), -EEXIST, "%s", err.text);
	cr_expect(fstat(fd, &st) == 0 && st.st_size == 4 && st.st_nlink == 1);
	unlink(path);
	close(fd);
}

Test(node_socket, places_that_cannot_be_are_refused_with_a_sentence, .timeout = 120)
{
	char long_path[200];
	struct sv_error err = {""};

	memset(long_path, 'x', sizeof(long_path));
	long_path[0] = '/';
	long_path[sizeof(long_path) - 1] = 0;
	cr_expect_eq(node_refuses(long_path, &err), -EINVAL);
	cr_expect(err.text[0]);
	cr_expect_lt(node_refuses("/proc/no/such/place", &err), 0);
	cr_expect(strstr(err.text, "/proc/no/such/place"), "%s", err.text);
}
