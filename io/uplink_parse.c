/* SPDX-License-Identifier: BSD-3-Clause */
/* What users say about uplinks. Control thread. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "number.h"
#include "uplink.h"

static int parse_type(
	const char *what, const char *text, enum sv_uplink_type *type, struct sv_error *err)
{
	for (unsigned t = SV_UPLINK_TAP; t <= SV_UPLINK_SLIRP; t++) {
		if (strcmp(uplink_ops_of((enum sv_uplink_type)t)->name, text) != 0)
			continue;
		*type = (enum sv_uplink_type)t;
		return 0;
	}
	return sv_fail(err, EINVAL,
		"%s: '%s' is no kind of uplink; there are tap, packet and slirp", what, text);
}

/* ADDRESS/BITS. */
static int parse_net(
	const char *what, const char *text, struct sv_uplink_config *c, struct sv_error *err)
{
	const char *slash = strchr(text, '/');
	char address[INET_ADDRSTRLEN];
	struct in_addr a;
	unsigned long bits;

	if (!slash || (size_t)(slash - text) >= sizeof(address))
		goto bad;
	memcpy(address, text, (size_t)(slash - text));
	address[slash - text] = 0;
	if (inet_pton(AF_INET, address, &a) != 1 ||
		number_parse(what, "net", slash + 1, 8, 27, &bits, err) < 0)
		goto bad;
	c->mask = UINT32_MAX << (32 - bits);
	c->net = ntohl(a.s_addr);
	if (c->net && !(c->net & ~c->mask))
		return 0;
bad:
	return sv_fail(err, EINVAL,
		"%s: net=%s: write the network as ADDRESS/BITS with 8 to 27 bits, such as "
		"10.0.2.0/24",
		what, text);
}

/* tcp|udp:[ADDRESS:]PORT:[ADDRESS:]PORT; the text is cut. */
static bool take_forward(char *text, struct sv_uplink_forward *f)
{
	char *save = NULL, *word = strtok_r(text, ":", &save);

	if (!word || (strcmp(word, "tcp") && strcmp(word, "udp")))
		return false;
	*f = (struct sv_uplink_forward){.udp = word[0] == 'u'};
	while ((word = strtok_r(NULL, ":", &save)) && !f->guest_port) {
		char *end;
		unsigned long port = strtoul(word, &end, 10);
		struct in_addr a;

		if (inet_pton(AF_INET, word, &a) == 1)
			*(f->host_port ? &f->guest : &f->host) = ntohl(a.s_addr);
		else if (*word < '0' || *word > '9' || *end || !port || port > 65535)
			return false;
		else
			*(f->host_port ? &f->guest_port : &f->host_port) = (uint16_t)port;
	}
	return f->guest_port && !word;
}

static int parse_forwards(
	const char *what, const char *text, struct sv_uplink_config *c, struct sv_error *err)
{
	while (*(text += strspn(text, " "))) {
		size_t n = strcspn(text, " ");
		char one[64] = "";

		if (c->forwards == SV_UPLINK_FORWARDS)
			return sv_fail(err, EINVAL, "%s: forward=%s: at most %u of them", what,
				text, SV_UPLINK_FORWARDS);
		if (n < sizeof(one))
			memcpy(one, text, n);
		if (!take_forward(one, &c->forward[c->forwards]))
			return sv_fail(err, EINVAL,
				"%s: forward=%.*s: write tcp|udp:[HOST:]PORT:[GUEST:]PORT, such as "
				"tcp:127.0.0.1:2222:22",
				what, (int)n, text);
		c->forwards++;
		text += n;
	}
	return 0;
}

int sv_uplink_key(const char *what, const char *key, const char *value, struct sv_uplink_config *c,
	struct sv_error *err)
{
	bool is_flag = !strcmp(key, "restrict") || !strcmp(key, "host-loopback");
	unsigned long n = 0;
	int rc;

	if (is_flag != !value)
		return sv_fail(err, EINVAL, "%s: %s %s", what, key,
			is_flag ? "takes no value" : "needs a value");
	if (is_flag) {
		*(key[0] == 'r' ? &c->restricted : &c->host_loopback) = true;
		return 0;
	}
	if (!strcmp(key, "switch")) {
		c->sw = value;
		return 0;
	}
	if (!strcmp(key, "dev")) {
		c->dev = value;
		return 0;
	}
	if (!strcmp(key, "filter")) {
		c->filter = value;
		return 0;
	}
	if (!strcmp(key, "type"))
		return parse_type(what, value, &c->type, err);
	if (!strcmp(key, "net"))
		return parse_net(what, value, c, err);
	if (!strcmp(key, "forward"))
		return parse_forwards(what, value, c, err);
	if (!strcmp(key, "queues")) {
		rc = number_parse(what, key, value, 1, SV_UPLINK_QUEUES, &n, err);
		c->queues = (unsigned)n;
		return rc;
	}
	if (!strcmp(key, "vlan")) {
		rc = number_parse(what, key, value, 1, 4094, &n, err);
		c->vlan = (uint16_t)n;
		return rc;
	}
	return -ENOENT;
}

int sv_uplink_check(const char *what, const struct sv_uplink_config *c, struct sv_error *err)
{
	bool slirp = c->type == SV_UPLINK_SLIRP;

	if (!c->sw || !*c->sw || strlen(c->sw) >= SV_SWITCH_NAME)
		return sv_fail(err, EINVAL, "%s: switch=NAME is needed, with at most %u bytes",
			what, SV_SWITCH_NAME - 1);
	if (!c->type)
		return sv_fail(err, EINVAL, "%s: the kind is needed: tap, packet or slirp", what);
	if (!slirp && (!c->dev || !*c->dev || strlen(c->dev) > 15 || strpbrk(c->dev, "/ %")))
		return sv_fail(
			err, EINVAL, "%s: dev=INTERFACE is needed, with at most 15 bytes", what);
	if (slirp && (c->dev || c->vlan))
		return sv_fail(err, EINVAL, "%s: dev= and vlan= are not for slirp", what);
	if (!slirp && (c->net || c->forwards || c->restricted || c->host_loopback))
		return sv_fail(err, EINVAL,
			"%s: net=, forward=, restrict and host-loopback are for slirp", what);
	if (c->queues && c->type != SV_UPLINK_TAP)
		return sv_fail(err, EINVAL, "%s: queues= is for tap", what);
	return 0;
}

int sv_uplink_parse(char *text, struct sv_uplink_config *c, struct sv_error *err)
{
	static const char what[] = "--uplink";
	char *colon = strchr(text, ':'), *save = NULL;
	int rc;

	*c = (struct sv_uplink_config){0};
	if (!colon || memchr(text, '=', (size_t)(colon - text)))
		return sv_fail(err, EINVAL,
			"%s %s: write KIND:switch=NAME[,KEY=VALUE]..., such as "
			"tap:switch=lan,dev=tap0; kinds are tap, packet and slirp",
			what, text);
	*colon = 0;
	rc = parse_type(what, text, &c->type, err);
	for (char *word = strtok_r(colon + 1, ",", &save); word && rc == 0;
		word = strtok_r(NULL, ",", &save)) {
		char *value = strchr(word, '=');

		if (value)
			*value++ = 0;
		rc = strcmp(word, "type") ? sv_uplink_key(what, word, value, c, err) : -ENOENT;
		if (rc == -ENOENT)
			rc = sv_fail(err, EINVAL,
				"%s: '%s': switch=, dev=, queues=, vlan=, filter=, net=, forward=, "
				"restrict, host-loopback are known",
				what, word);
	}
	return rc < 0 ? rc : sv_uplink_check(what, c, err);
}
