/* SPDX-License-Identifier: BSD-3-Clause */
/* sidevisor run: options, sidecores, placement, the VM, how it ended. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <jansson.h>

#include <base/disk.h>
#include <vmm/vmm.h>

#include "balloon.h"
#include "node_process.h"
#include "paging.h"
#include "enforce.h"
#include "run_options.h"

static int make_signalfd(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* The node's sidecores: those named, or the one that it gives us, and then where the vCPUs go. */
static int join_service(struct run_options *o, struct node_process *np, struct enforcement *e,
	struct sv_error *err)
{
	int rc;

	o->service = true;
	if (o->sidecores) {
		rc = enforce_guest(e, o, false, err);
		return rc < 0 ? rc : sv_node_hello(np->sock, o->name, o->vm.vcpus,
						  o->vm.vcpu_sidecore_cpu[0], NULL, err);
	}
	rc = sv_node_hello(np->sock, o->name, o->vm.vcpus, -1, &o->sidecore[0], err);
	if (rc < 0)
		return rc;
	o->sidecores = 1;
	return enforce_guest(e, o, false, err);
}

/* The sidecore process loads what only these need. */
static bool has_remote_disk(const struct sv_vm_config *c)
{
	for (unsigned i = 0; i < c->ndisks; i++)
		if (sv_disk_is_remote(c->disk[i].path, c->disk[i].format) || c->disk[i].filters)
			return true;
	return false;
}

/* Where the sidecore comes from, and then where the vCPUs go. */
static int join_node(struct run_options *o, struct node_process *np, struct enforcement *e,
	struct sv_error *err)
{
	int rc = -ENOENT;

	if (!o->private_node)
		rc = node_connect(np, o->node, err);
	if (rc == 0 && o->uplink) {
		node_leave(np);
		return sv_fail(err, EINVAL,
			"--uplink: this guest's switches are those of the node service; say it to `sidevisor "
			"serve`, or run with --private");
	}
	if (rc == 0)
		return join_service(o, np, e, err);
	if (rc != -ENOENT || o->node)
		return rc;
	rc = enforce_guest(e, o, true, err);
	if (rc < 0)
		return rc;
	/* It comes up while the VM is being made: the greeting waits until it is needed. */
	o->vm.say_hello = true;
	return node_spawn(np, o->sidecore, o->sidecores, o->vm.control_cpu, o->idle, o->uplink,
		o->allow_bench, has_remote_disk(&o->vm),
		enforce_join_fd(e, o->sidecore[0]), err);
}

struct rejoin {
	struct node_process *np;
	const struct run_options *o;
};

static int rejoin(void *ctx, struct sv_error *err)
{
	const struct rejoin *r = ctx;
	int rc = node_connect_again(r->np, r->o->node, err);

	return rc < 0 ? rc : r->np->sock;
}

static void print_json(const struct sv_vmm_result *res, const struct run_options *o)
{
	json_t *j = json_pack("{s:s, s:s, s:b, s:i, s:s, s:I, s:i, s:i}", "name", o->name, "end",
		res->kind, "ok", res->ok, "status", res->status, "text", res->text,
		"first_run_monotonic_ns", (json_int_t)sv_vmm_first_run_ns(), "sidecore_cpu",
		o->vm.vcpu_sidecore_cpu[0], "vcpu0_cpu", o->vm.vcpu_cpu[0]);
	char *text = json_dumps(j, JSON_SORT_KEYS);

	fprintf(stderr, "%s\n", text);
	free(text);
	json_decref(j);
}

static int last_guest_cpu = -1, last_sidecore_cpu = -1;

int cli_run_guest_cpu(void)
{
	return last_guest_cpu;
}

int cli_run_sidecore_cpu(void)
{
	return last_sidecore_cpu;
}

int cli_run(int argc, char **argv)
{
	struct node_process np = {.sock = -1};
	struct sv_vmm_result res = {0};
	struct run_options *o = malloc(sizeof(*o));
	struct rejoin again = {&np, o};
	struct enforcement e;
	struct sv_error err = {""};
	int rc, sigfd;

	if (!o)
		return EXIT_FAILED;
	rc = run_options_parse(o, argc, argv);
	if (rc >= 0) {
		sv_profile_free(o->profile);
		free(o->source_text);
		free(o);
		return rc;
	}
	o->vm.rejoin = rejoin;
	o->vm.rejoin_ctx = &again;
	sv_vmm_set_paging(&cli_paging_hooks);
	sv_vmm_set_balloon(&cli_balloon_hooks);
	sigfd = make_signalfd();
	rc = enforce_open(&e, &err);
	if (rc == 0)
		rc = join_node(o, &np, &e, &err);
	if (rc == 0)
		rc = sv_vmm_run(&o->vm, np.sock, sigfd, &res, &err);
	node_leave(&np);
	enforce_close(&e);
	last_guest_cpu = o->vm.vcpu_cpu[0];
	last_sidecore_cpu = o->vm.vcpu_sidecore_cpu[0];
	if (rc < 0) {
		rc = cli_fail(&err, rc);
	} else if (o->json) {
		print_json(&res, o);
	} else if (!res.ok || !o->quiet) {
		fprintf(stderr, "sidevisor: %s: %s\n", o->name, res.text);
	}
	if (rc == 0)
		rc = res.ok ? EXIT_DONE : EXIT_FAILED;
	if (sigfd >= 0)
		close(sigfd);
	sv_profile_free(o->profile);
	free(o->source_text);
	free(o->vm.paging_choice);
	free(o);
	return rc;
}
