/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM's connection, message by message, and the lease that ends with it.
 */
#include "node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/memtrap.h>

/* Who does not read its answers loses its connection: nobody waits for it. */
static int send_reply(struct sv_lease *l, struct sv_control_reply *reply, char *text)
{
	size_t len = text ? strlen(text) : 0;
	char *buf = malloc(sizeof(*reply) + len);
	ssize_t n = -ENOMEM;

	if (buf) {
		reply->text_bytes = (uint32_t)len;
		memcpy(buf, reply, sizeof(*reply));
		if (len)
			memcpy(buf + sizeof(*reply), text, len);
		n = sv_fd_send(l->sock, buf, sizeof(*reply) + len, NULL, 0, 0);
	}
	free(buf);
	return n < 0 ? (int)n : 0;
}

static void tell_sidecores(const struct sv_node *n, struct sv_control_reply *reply)
{
	reply->sidecores = n->config.sidecores;
	for (unsigned i = 0; i < n->config.sidecores; i++)
		reply->sidecore[i] = (struct sv_control_sidecore){
			.cpu = (uint32_t)sv_reactor_cpu(n->sidecore[i].reactor),
			.vms = n->sidecore[i].vms};
}

/* One message is waiting. What is malformed as a message ends the lease; what is wrong is answered. */
static void on_message(void *ctx)
{
	struct sv_control_reply reply = {.magic = SV_CONTROL_MAGIC};
	struct sv_message m = {.nfds = SV_FDPASS_MAX};
	struct sv_error err = {""};
	struct sv_lease *l = ctx;
	char *text = NULL;
	ssize_t n;
	int rc;

	if (l->gone)
		return;
	n = sv_fd_recv(l->sock, &m.req, sizeof(m.req), m.fd, &m.nfds, 0);
	if (n != sizeof(m.req) || m.req.magic != SV_CONTROL_MAGIC ||
		m.req.version != SV_CONTROL_VERSION) {
		l->gone = n != -EAGAIN && n != -ETIMEDOUT;
	} else {
		rc = m.req.op == SV_CONTROL_DEVICE_SET
			     ? sv_lease_set_device(l, &m.req.u.device_set, &text, &err)
			     : sv_lease_serve(l, &m, &reply, &err);
		tell_sidecores(l->node, &reply);
		if (rc == 0 && m.req.op == SV_CONTROL_STATS)
			text = sv_node_stats_json(l->node);
		reply.status = (uint32_t)-rc;
		memcpy(reply.text, err.text, sizeof(reply.text));
		l->gone = send_reply(l, &reply, text) < 0;
		free(text);
	}
	for (unsigned i = 0; i < m.nfds; i++)
		if (m.fd[i] >= 0)
			close(m.fd[i]);
}

static struct sv_lease *lease_new(const struct sv_node *n)
{
	struct sv_lease *l = n->nleases < SV_NODE_VMS ? calloc(1, sizeof(*l)) : NULL;

	if (l)
		l->share = calloc(n->config.sidecores, sizeof(l->share[0]));
	if (l && l->share)
		return l;
	free(l);
	return NULL;
}

int sv_lease_open(struct sv_node *n, int sock)
{
	struct sv_lease *l = lease_new(n);
	int rc = l ? sv_node_watch(n, sock, on_message, l) : -ENOMEM;

	if (rc < 0) {
		if (l)
			free(l->share);
		free(l);
		close(sock);
		return rc;
	}
	l->node = n;
	l->sock = sock;
	l->next = n->leases;
	n->leases = l;
	n->nleases++;
	return 0;
}

void sv_console_free(struct sv_console_service *c)
{
	if (!c)
		return;
	close(c->in);
	close(c->out);
	free(c);
}

bool sv_lease_lost_memory(const struct sv_lease *l)
{
	for (unsigned i = 0; i < l->gmem.n; i++)
		if (sv_memtrap_lost(l->trap[i]))
			return true;
	return false;
}

void sv_lease_close(struct sv_lease *l)
{
	struct sv_node *n = l->node;

	for (struct sv_lease **at = &n->leases; *at; at = &(*at)->next) {
		if (*at == l) {
			*at = l->next;
			break;
		}
	}
	n->nleases--;
	sv_node_unwatch(n, l->sock);
	while (l->devices--)
		l->device[l->devices].class->detach(l->device[l->devices].handle);
	for (unsigned i = 0; i < l->channels; i++) {
		if (l->attached)
			sv_reactor_detach(l->polled_by[i]->reactor, &l->endpoint[i].poller);
		close(l->endpoint[i].doorbell);
	}
	if (l->pager)
		n->config.pager->destroy(l->pager);
	while (l->services--)
		l->service[l->services].class->close(l->service[l->services].ctx);
	for (unsigned i = 0; i < l->gmem.n; i++) {
		munmap(l->gmem.region[i].host, l->gmem.region[i].size);
		sv_memtrap_remove(l->trap[i]);
	}
	sv_console_free(l->console);
	for (unsigned i = 0; i < n->config.sidecores; i++) {
		n->sidecore[i].vms -= l->share[i].used;
		free(l->share[i].services);
	}
	close(l->sock);
	free(l->endpoint);
	free(l->polled_by);
	free(l->share);
	free(l);
}
