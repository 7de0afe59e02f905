/* SPDX-License-Identifier: BSD-3-Clause */
#include <io/net_export.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <io/net_filter.h>
#include <io/qos.h>

#include "export.h"
#include "net.h"
#include "number.h"

struct sv_net_export {
	struct export export;
};

static struct sv_session *open_one(struct export *e, int sock, struct sv_error *err)
{
	struct sv_device_request req = {.device = &e->device,
		.fds = &sock,
		.nfds = 1,
		.vm = e->device.name,
		.host = e->host};
	struct net *n;

	return net_open(&req, true, &n, err) < 0 ? NULL : &n->session;
}

static void close_one(struct sv_session *s)
{
	net_close((struct net *)s);
}

static int keep(struct sv_control_device *d, const char *key, const char *value, struct sv_error *err)
{
	bool down;

	if (strcmp(key, "link") != 0)
		return -ENOENT;
	if (net_link_parse(value, &down, err) < 0)
		return -EINVAL;
	d->flags = (d->flags & ~SV_DEVICE_F_LINK_DOWN) | (down ? SV_DEVICE_F_LINK_DOWN : 0);
	return 0;
}

static const struct export_type type = {
	.open = open_one, .close = close_one, .stats = net_stats, .set = net_set, .keep = keep};

int sv_net_export_open(struct sv_net_export **out, const struct sv_net_export_config *config,
	struct sv_poller_host *host, struct sv_error *err)
{
	struct sv_net_export *e = calloc(1, sizeof(*e));
	int rc;

	if (!e)
		return sv_fail(err, ENOMEM, "out of memory");
	e->export = (struct export){.type = &type,
		.host = host,
		.device = {.kind = SV_DEVICE_NET,
			.flags = config->flags,
			.queues = config->pairs ? config->pairs : 1,
			.net = config->net,
			.qos = config->qos}};
	export_name(&e->export.device, config->socket);
	rc = export_open(&e->export, config->socket, err);
	if (rc < 0) {
		free(e);
		return rc;
	}
	*out = e;
	return 0;
}

void sv_net_export_close(struct sv_net_export *e)
{
	export_close(&e->export);
	free(e);
}

const char *sv_net_export_name(const struct sv_net_export *e)
{
	return e->export.device.name;
}

const struct sv_device_class sv_net_export_class = {
	.kind = SV_DEVICE_NET, .name = "net", .stats = export_stats, .set = export_set};

/* --- the argument ---------------------------------------------------------------------------- */

static int parse_switch(const char *what, const char *name, char sw[16], struct sv_error *err)
{
	if (!net_switch_name_valid(name))
		return sv_fail(err, EINVAL,
			"%s: switch=%s: a name has 1 to 15 letters, digits, '-', '_' and '.'", what,
			name);
	strcpy(sw, name);
	return 0;
}

static int parse_mac(const char *what, const char *text, uint8_t mac[6], struct sv_error *err)
{
	uint8_t bytes[6];

	if (sv_mac_parse(text, bytes) < 0 || (bytes[0] & 1))
		return sv_fail(err, EINVAL, "%s: mac=%s: not an address of one interface, such as "
			"52:54:00:12:34:56", what, text);
	memcpy(mac, bytes, sizeof(bytes));
	return 0;
}

/*
 * As the node will, which opens no files: what has to be looked up, as names of hosts and services, is
 * not found. Nobody else opens a file meanwhile: arguments are read before there are threads.
 */
static int open_filter_without_files(struct sv_net_filter **f, const char *text, struct sv_error *err)
{
	struct rlimit was, none;
	int rc;

	if (getrlimit(RLIMIT_NOFILE, &was) < 0)
		return sv_fail(err, errno, "RLIMIT_NOFILE: %s", strerror(errno));
	none = was;
	none.rlim_cur = 0;
	setrlimit(RLIMIT_NOFILE, &none);
	rc = sv_net_filter_open(f, text, err);
	setrlimit(RLIMIT_NOFILE, &was);
	return rc;
}

/* Tried here, so that a mistake shows where it was made. */
static int parse_filter(const char *what, const char *text, char filter[SV_CONTROL_FILTER],
	struct sv_error *err)
{
	struct sv_error why = {""};
	struct sv_net_filter *f;
	int rc;

	if (strlen(text) >= SV_CONTROL_FILTER)
		return sv_fail(err, EINVAL, "%s: filter=: at most %u bytes", what,
			SV_CONTROL_FILTER - 1);
	rc = open_filter_without_files(&f, text, &why);
	if (rc < 0)
		return sv_fail(err, EINVAL, "%s: %.400s", what, why.text);
	sv_net_filter_close(f);
	strcpy(filter, text);
	return 0;
}

int sv_net_key(const char *what, const char *key, const char *value, struct sv_control_net *c,
	unsigned *pairs, struct sv_error *err)
{
	unsigned long n = 0;
	int rc;

	if (!strcmp(key, "switch"))
		return parse_switch(what, value, c->sw, err);
	if (!strcmp(key, "mac"))
		return parse_mac(what, value, c->mac, err);
	if (!strcmp(key, "filter"))
		return parse_filter(what, value, c->filter, err);
	if (!strcmp(key, "vlan")) {
		rc = number_parse(what, key, value, 1, 4094, &n, err);
		if (rc == 0)
			c->vlan = (uint16_t)n;
		return rc;
	}
	if (!strcmp(key, "mtu")) {
		rc = number_parse(what, key, value, NET_MTU_MIN, NET_MTU_MAX, &n, err);
		if (rc == 0)
			c->mtu = (uint16_t)n;
		return rc;
	}
	if (!strcmp(key, "queues")) {
		rc = number_parse(what, key, value, 1, NET_PAIRS, &n, err);
		if (rc == 0)
			*pairs = (unsigned)n;
		return rc;
	}
	return -ENOENT;
}

int sv_net_export_parse(char *text, struct sv_net_export_config *config, struct sv_error *err)
{
	enum { PATH, SPOOF, TRUNK };
	static char *const key[] = {"path", "spoof", "trunk", "switch", "mac", "vlan", "mtu", "queues",
		"filter", NULL};
	char *value;

	*config = (struct sv_net_export_config){.pairs = 1};
	while (*text) {
		int k = getsubopt(&text, key, &value), rc = 0;

		if (k < 0) {
			rc = sv_qos_wish_text(&config->qos, value, err);
			if (rc == 0)
				continue;
			if (rc != -ENOENT)
				return rc;
		}
		if ((k == SPOOF || k == TRUNK) && value)
			return sv_fail(err, EINVAL, "--net: %s=%s: %s takes no value: write it alone, or "
				"leave it out", key[k], value, key[k]);
		if (k < 0 || (k != SPOOF && k != TRUNK && !value))
			return sv_fail(err, EINVAL, "--net: '%s': path=, switch=, mac=, vlan=, mtu=, "
				"queues=, filter=, spoof, trunk and the keys of quality of service are known",
				value ? value : key[k]);
		if (k == SPOOF)
			config->flags |= SV_DEVICE_F_SPOOF;
		else if (k == TRUNK)
			config->flags |= SV_DEVICE_F_TRUNK;
		else if (k == PATH)
			config->socket = value;
		else
			rc = sv_net_key("--net", key[k], value, &config->net, &config->pairs, err);
		if (rc < 0)
			return rc;
	}
	if (!config->socket || !config->net.sw[0])
		return sv_fail(err, EINVAL, "--net: path= and switch= are needed");
	return sv_qos_check_wish(&config->qos, err);
}
