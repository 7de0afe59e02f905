/* SPDX-License-Identifier: BSD-3-Clause */
#include "node_by_hand.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <base/fdpass.h>
#include <io/devices.h>
#include <sidevisor/services.h>

#define PATIENCE_MS 20000
#define CHANNEL_GPA 0x1000u

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* --- the node ------------------------------------------------------------------------------------ */

int node_cpu(unsigned i)
{
	cpu_set_t set;

	sched_getaffinity(0, sizeof(set), &set);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set) && !i--)
			return cpu;
	return -1;
}

const struct sv_service_class *node_service;
const struct sv_device_class *node_own;

static const struct sv_device_class *own_device(void *ctx, unsigned i, const char **name, void **handle)
{
	(void)ctx;
	*name = "own";
	*handle = NULL;
	return i ? NULL : node_own;
}

static int run(const char *path, int private_fd, unsigned sidecores, struct sv_error *err)
{
	struct sv_node_config config = {.sidecores = sidecores,
		.control_cpu = -1,
		.socket = path,
		.private_fd = private_fd,
		.idle_spin_us = 200,
		.class = {&sv_blk_class, &sv_console_class},
		.classes = 2,
		.service = {node_service},
		.services = node_service != NULL,
		.own_device = own_device};

	for (unsigned i = 0; i < sidecores; i++)
		config.cpu[i] = node_cpu(i);
	return sv_node_run(&config, err);
}

int node_refuses(const char *path, struct sv_error *err)
{
	return run(path, -1, 1, err);
}

/* Return: a connection, or -1: nobody listens yet. */
static int try_connect(const struct node_by_hand *n)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, n->path);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* It listens, it has answered, and it has forgotten who asked: its descriptors can be counted. */
static void wait_until_quiet(const struct node_by_hand *n)
{
	struct node_client c;
	unsigned with_client;
	int sock;

	for (int ms = 0; (sock = try_connect(n)) < 0; ms++) {
		cr_assert(ms < PATIENCE_MS && waitpid(n->pid, NULL, WNOHANG) == 0);
		nap();
	}
	client_take(&c, sock);
	cr_assert_eq(client_simple(&c, SV_CONTROL_STATS), 0);
	with_client = node_descriptors(n);
	client_close(&c);
	node_settles(n, with_client - 1);
}

void node_start(struct node_by_hand *n, int private_fd)
{
	struct sv_error err = {""};

	if (!n->dir[0]) {
		strcpy(n->dir, "/tmp/sidevisor-node-XXXXXX");
		cr_assert(mkdtemp(n->dir));
		snprintf(n->path, sizeof(n->path), "%s/sock", n->dir);
	}
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	setenv("SIDEVISOR_NO_SECCOMP", "1", 1);
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
	setenv("SIDEVISOR_NO_SECCOMP", "1", 1);
#endif
#endif
	fflush(NULL);
	n->pid = fork();
	cr_assert(n->pid >= 0);
	if (n->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int fd = 3; fd < 256; fd++)
			if (fd != private_fd)
				close(fd);
		if (run(n->path, private_fd, n->sidecores ? n->sidecores : 1, &err) == 0)
			exit(0);
		fprintf(stderr, "the node: %s\n", err.text);
		exit(1);
	}
	if (private_fd >= 0) {
		close(private_fd);
		return;
	}
	wait_until_quiet(n);
}

int node_wait(struct node_by_hand *n)
{
	int status = 0;

	for (int ms = 0; waitpid(n->pid, &status, WNOHANG) == 0; ms++) {
		if (ms >= PATIENCE_MS) {
			kill(n->pid, SIGKILL);
			waitpid(n->pid, &status, 0);
			cr_assert_fail("the node does not end");
		}
		nap();
	}
	n->pid = 0;
	cr_expect(unlink(n->path) < 0 && errno == ENOENT, "a node that ends takes its socket away");
	rmdir(n->dir);
	n->dir[0] = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int node_stop(struct node_by_hand *n)
{
	kill(n->pid, SIGTERM);
	return node_wait(n);
}

unsigned node_descriptors(const struct node_by_hand *n)
{
	char path[40];
	unsigned count = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)n->pid);
	d = opendir(path);
	while (d && readdir(d))
		count++;
	if (d)
		closedir(d);
	return count;
}

void node_settles(const struct node_by_hand *n, unsigned descriptors)
{
	for (int ms = 0; node_descriptors(n) != descriptors; ms++) {
		cr_assert(ms < PATIENCE_MS, "%u descriptors are open instead of %u",
			node_descriptors(n), descriptors);
		nap();
	}
}

/* --- a client ------------------------------------------------------------------------------------ */

int sealed_memfd(uint64_t bytes)
{
	int fd = memfd_create("vm", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	cr_assert(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	return fd;
}

void client_take(struct node_client *c, int sock)
{
	memset(c, 0, sizeof(*c));
	c->sock = sock;
	c->memfd = sealed_memfd(NODE_MEMORY);
	c->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	c->mem = mmap(NULL, NODE_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, c->memfd, 0);
	cr_assert(c->doorbell >= 0 && c->mem != MAP_FAILED);
}

void client_connect(struct node_client *c, const struct node_by_hand *n)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, n->path);
	cr_assert_eq(connect(sock, (struct sockaddr *)&a, sizeof(a)), 0, "%s", strerror(errno));
	client_take(c, sock);
}

void client_close(struct node_client *c)
{
	close(c->sock);
	close(c->memfd);
	close(c->doorbell);
	munmap(c->mem, NODE_MEMORY);
	free(c->text);
	memset(c, 0, sizeof(*c));
}

int client_say_bytes(struct node_client *c, const void *bytes, size_t n, const int *fds,
	unsigned nfds)
{
	static _Thread_local char in[sizeof(struct sv_control_reply) + (1u << 18)];
	ssize_t got;

	if (sv_fd_send(c->sock, bytes, n, fds, nfds, PATIENCE_MS) < 0)
		return -1;
	got = sv_fd_recv(c->sock, in, sizeof(in), NULL, NULL, PATIENCE_MS);
	cr_assert_neq(got, -ETIMEDOUT, "the node does not answer");
	if (got <= 0)
		return -1;
	cr_assert_geq(got, (ssize_t)sizeof(c->reply));
	memcpy(&c->reply, in, sizeof(c->reply));
	cr_assert_eq(c->reply.magic, SV_CONTROL_MAGIC);
	cr_assert_eq(c->reply.text_bytes, got - sizeof(c->reply));
	cr_assert_eq(c->reply.text[SV_CONTROL_TEXT - 1], 0);
	cr_assert(!c->reply.status || c->reply.text[0], "a refusal comes with a sentence");
	free(c->text);
	c->text = strndup(in + sizeof(c->reply), c->reply.text_bytes);
	return (int)c->reply.status;
}

int client_say(struct node_client *c, const struct sv_control_request *r, const int *fds,
	unsigned nfds)
{
	return client_say_bytes(c, r, sizeof(*r), fds, nfds);
}

struct sv_control_request request_of(enum sv_control_op op)
{
	struct sv_control_request r;

	memset(&r, 0, sizeof(r));
	r.magic = SV_CONTROL_MAGIC;
	r.version = SV_CONTROL_VERSION;
	r.op = (uint16_t)op;
	return r;
}

int client_simple(struct node_client *c, enum sv_control_op op)
{
	struct sv_control_request r = request_of(op);

	return client_say(c, &r, NULL, 0);
}

int client_hello(struct node_client *c, const char *vm, uint32_t vcpus)
{
	return client_hello_on(c, vm, vcpus, SV_CONTROL_ANY);
}

int client_hello_on(struct node_client *c, const char *vm, uint32_t vcpus, uint32_t sidecore)
{
	struct sv_control_request r = request_of(SV_CONTROL_HELLO);

	strncpy(r.u.hello.vm, vm, sizeof(r.u.hello.vm) - 1);
	r.u.hello.vcpus = vcpus;
	r.u.hello.sidecore = sidecore;
	return client_say(c, &r, NULL, 0);
}

int client_memory(struct node_client *c)
{
	struct sv_control_request r = request_of(SV_CONTROL_MEMORY);

	r.u.memory.n = 1;
	r.u.memory.region[0] = (struct sv_control_region){
		.size = NODE_MEMORY, .user_addr = (uint64_t)(uintptr_t)c->mem};
	return client_say(c, &r, &c->memfd, 1);
}

static void ring(void *ctx)
{
	uint64_t one = 1;

	cr_assert_eq(write(*(int *)ctx, &one, sizeof(one)), (ssize_t)sizeof(one));
}

int client_channel(struct node_client *c)
{
	return client_channel_on(c, &c->channel, CHANNEL_GPA, 0, SV_CONTROL_ANY);
}

int client_channel_on(struct node_client *c, struct sv_client *channel, uint64_t gpa, uint32_t vcpu,
	uint32_t sidecore)
{
	struct sv_control_request r = request_of(SV_CONTROL_CHANNEL);
	struct sv_channel *shared = (void *)(c->mem + gpa);
	uint32_t bytes = sizeof(*shared) + 2 * 64 * NODE_ENTRIES;
	int irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), rc;

	shared->info = (struct sv_channel_info){.magic = SV_CHANNEL_MAGIC,
		.version = SV_CHANNEL_VERSION,
		.size = bytes,
		.features = SV_CHANNEL_F_DOORBELL,
		.req_entries = NODE_ENTRIES,
		.cpl_entries = NODE_ENTRIES,
		.req_offset = sizeof(*shared),
		.cpl_offset = sizeof(*shared) + 64 * NODE_ENTRIES};
	r.u.channel = (struct sv_control_channel){.gpa = gpa,
		.bytes = bytes,
		.req_entries = NODE_ENTRIES,
		.cpl_entries = NODE_ENTRIES,
		.vcpu = vcpu,
		.sidecore = sidecore};
	rc = client_say(c, &r, (int[]){c->doorbell, irq}, 2);
	close(irq);
	if (rc == 0)
		cr_assert_eq(sv_client_open(channel, shared, bytes, ring, &c->doorbell),
			SV_CLIENT_OK);
	return rc;
}

int client_console(struct node_client *c)
{
	struct sv_control_request r = request_of(SV_CONTROL_CONSOLE);
	int pair[2], rc;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	rc = client_say(c, &r, (int[]){pair[1], pair[1]}, 2);
	close(pair[0]);
	close(pair[1]);
	return rc;
}

int client_disk(struct node_client *c, int *front_end)
{
	return client_disk_on(c, front_end, SV_CONTROL_ANY);
}

int client_disk_on(struct node_client *c, int *front_end, uint32_t sidecore)
{
	struct sv_control_request r = request_of(SV_CONTROL_DEVICE);
	int image = memfd_create("image", MFD_CLOEXEC), pair[2], rc;

	cr_assert(image >= 0 && ftruncate(image, 1 << 20) == 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	r.u.device = (struct sv_control_device){
		.kind = SV_DEVICE_BLK, .queues = 1, .sidecore = sidecore, .name = "disk0"};
	rc = client_say(c, &r, (int[]){pair[1], image}, 2);
	close(pair[1]);
	close(image);
	if (front_end)
		*front_end = pair[0];
	else
		close(pair[0]);
	return rc;
}

void client_attach(struct node_client *c, const char *vm)
{
	cr_assert_eq(client_hello(c, vm, 1), 0, "%s", c->reply.text);
	cr_assert_eq(client_memory(c), 0, "%s", c->reply.text);
	cr_assert_eq(client_channel(c), 0, "%s", c->reply.text);
	cr_assert_eq(client_simple(c, SV_CONTROL_START), 0, "%s", c->reply.text);
}

bool client_served(struct node_client *c)
{
	return channel_served(&c->channel);
}

bool channel_served(struct sv_client *channel)
{
	struct sv_req req = {.service = SV_SERVICE_CORE, .opcode = SV_CORE_NOP, .arg = {4711}};
	struct sv_cpl cpl;

	for (int ms = 0; ms < PATIENCE_MS; ms++) {
		/* In small waits: the sidecore may need this very CPU. */
		enum sv_client_result r = ms ? sv_client_wait(channel, sv_tsc() + 100000)
					     : (enum sv_client_result)0;

		if (!ms && sv_client_submit(channel, &req, 1) != 1)
			return false;
		if ((!ms || r == SV_CLIENT_OK) && sv_client_reap(channel, &cpl, 1) == 1)
			return cpl.status == SV_STATUS_OK && cpl.value[0] == 4711;
		nap();
	}
	return false;
}
