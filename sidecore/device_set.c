/* SPDX-License-Identifier: BSD-3-Clause */
/* Settings of devices that run. */
#include "node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define OWN_DEVICES "node" /* the name that the node's own devices have instead of a VM's */

struct found {
	const struct sv_device_class *class;
	void *handle;
	const struct sv_sidecore *sidecore;
};

/*
 * A VM changes the devices of its own lease, which it described itself; all others are the operator's.
 * Names prove nothing: a VM says itself what it is called.
 */
static bool permitted(const struct sv_lease *l, const char *vm)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (l->hello)
		return !strcmp(l->vm, vm);
	return getsockopt(l->sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static bool find_in(const struct sv_lease *l, const char *device, struct found *f)
{
	for (unsigned i = 0; i < l->devices; i++) {
		if (strcmp(l->device[i].name, device) != 0)
			continue;
		*f = (struct found){l->device[i].class, l->device[i].handle, l->device[i].sidecore};
		return true;
	}
	return false;
}

static bool find_own(const struct sv_node *n, const char *device, struct found *f)
{
	const struct sv_node_config *c = &n->config;
	const char *name;

	f->sidecore = &n->sidecore[0];
	for (unsigned i = 0; c->own_device; i++) {
		f->class = c->own_device(c->devices, i, &name, &f->handle);
		if (!f->class || !strcmp(name, device))
			return f->class;
	}
	return false;
}

static bool find_any(const struct sv_node *n, const struct sv_control_device_set *c, bool *vm,
	struct found *f)
{
	*vm = !strcmp(c->vm, OWN_DEVICES);
	if (*vm && find_own(n, c->device, f))
		return true;
	for (const struct sv_lease *l = n->leases; l; l = l->next) {
		if (!l->hello || strcmp(l->vm, c->vm) != 0)
			continue;
		*vm = true;
		if (find_in(l, c->device, f))
			return true;
	}
	return false;
}

static int find(const struct sv_lease *asking, const struct sv_control_device_set *c, struct found *f,
	struct sv_error *err)
{
	bool vm = asking->hello;

	if (vm ? find_in(asking, c->device, f) : find_any(asking->node, c, &vm, f))
		return 0;
	return vm ? sv_fail(err, ENOENT, "%s has no device '%s'; `sidevisor device` lists them", c->vm,
			    c->device)
		  : sv_fail(err, ENOENT, "this node serves no VM '%s'; `sidevisor device` lists them",
			    c->vm);
}

int sv_lease_set_device(struct sv_lease *l, struct sv_control_device_set *c, char **text,
	struct sv_error *err)
{
	struct found f;
	int rc;

	c->vm[sizeof(c->vm) - 1] = c->device[sizeof(c->device) - 1] = 0;
	c->key[sizeof(c->key) - 1] = c->value[sizeof(c->value) - 1] = 0;
	if (!permitted(l, c->vm))
		return sv_fail(err, EPERM, "%s/%s: only the user whom the node belongs to, and root, may "
			"change this", c->vm, c->device);
	rc = find(l, c, &f, err);
	if (rc < 0)
		return rc;
	if (c->key[0]) {
		rc = f.class->set ? f.class->set(f.handle, c->key, c->value, err) : -ENOENT;
		if (rc == -ENOENT && !err->text[0])
			return sv_fail(err, EINVAL, "%s/%s has no setting '%s'", c->vm, c->device, c->key);
		if (rc < 0)
			return rc;
	}
	*text = sv_node_device_json(f.class, f.handle, c->device, f.sidecore);
	return *text ? 0 : sv_fail(err, ENOMEM, "the node is out of memory");
}
