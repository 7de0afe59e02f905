/* SPDX-License-Identifier: BSD-3-Clause */
#include "dial_private.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT "10809"

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* @n bytes of @from with %XX resolved. Return: 0, or -EINVAL: malformed, too long, or a zero byte. */
static int decode(char *to, size_t max, const char *from, size_t n)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		int c = (unsigned char)from[i];

		if (c == '%') {
			int high = i + 2 < n ? hex(from[i + 1]) : -1;
			int low = i + 2 < n ? hex(from[i + 2]) : -1;

			if (high < 0 || low < 0)
				return -EINVAL;
			c = high * 16 + low;
			i += 2;
		}
		if (!c || at + 1 >= max)
			return -EINVAL;
		to[at++] = (char)c;
	}
	to[at] = 0;
	return 0;
}

/* HOST, [ADDRESS], either with :PORT. */
static int parse_host(struct dial_address *a, const char *at, size_t n, struct sv_error *err)
{
	const char *end = at + n, *host = at, *host_end, *port;

	if (n && *at == '[') {
		host++;
		host_end = memchr(at, ']', n);
		port = host_end ? host_end + 1 : end;
	} else {
		host_end = memchr(at, ':', n);
		host_end = host_end ? host_end : end;
		port = host_end;
	}
	if (!host_end || host_end == host || decode(a->host, sizeof(a->host), host,
						     (size_t)(host_end - host)) < 0)
		return sv_fail(err, EINVAL, "no host name; write nbd://HOST[:PORT]/EXPORT");
	if (port == end)
		strcpy(a->port, PORT);
	else if (*port != ':' || end - port < 2 || end - port > 6 ||
		 decode(a->port, sizeof(a->port), port + 1, (size_t)(end - port - 1)) < 0 ||
		 a->port[strspn(a->port, "0123456789")])
		return sv_fail(err, EINVAL, "its port is not a number; write nbd://HOST[:PORT]/EXPORT");
	return 0;
}

static int parse_query(struct dial_address *a, const char *query, struct sv_error *err)
{
	static const char key[] = "socket=";

	a->un.sun_family = AF_UNIX;
	if (!query || strncmp(query, key, sizeof(key) - 1) != 0 || strchr(query, '&') ||
		decode(a->un.sun_path, sizeof(a->un.sun_path), query + sizeof(key) - 1,
			strlen(query) - sizeof(key) + 1) < 0 || !a->un.sun_path[0])
		return sv_fail(err, EINVAL,
			"write nbd+unix:///EXPORT?socket=PATH, the path of at most %zu characters",
			sizeof(a->un.sun_path) - 1);
	return 0;
}

int dial_parse(struct dial_address *a, const char *text, struct sv_error *err)
{
	static const char tcp[] = "nbd://", local[] = "nbd+unix://";
	const char *at, *slash, *query, *end;
	int rc;

	*a = (struct dial_address){.unix_socket = !strncmp(text, local, sizeof(local) - 1)};
	if (!a->unix_socket && strncmp(text, tcp, sizeof(tcp) - 1) != 0)
		return sv_fail(err, EPROTONOSUPPORT,
			"only nbd:// and nbd+unix:// are known; for TLS put a tunnel or `nbdkit nbd` on "
			"this host in between");
	at = text + (a->unix_socket ? sizeof(local) : sizeof(tcp)) - 1;
	query = strchr(at, '?');
	end = query ? query : at + strlen(at);
	slash = memchr(at, '/', (size_t)(end - at));
	if (slash && decode(a->name, sizeof(a->name), slash + 1, (size_t)(end - slash - 1)) < 0)
		return sv_fail(err, EINVAL, "the name of its export is malformed or longer than %u",
			SV_DIAL_EXPORT - 1);
	slash = slash ? slash : end;
	if (a->unix_socket)
		return slash == at ? parse_query(a, query ? query + 1 : NULL, err)
				   : sv_fail(err, EINVAL, "nbd+unix:// has no host; write "
							  "nbd+unix:///EXPORT?socket=PATH");
	rc = parse_host(a, at, (size_t)(slash - at), err);
	return rc == 0 && query ? sv_fail(err, EINVAL, "nbd:// knows no '%s'", query) : rc;
}

/* --- connecting ------------------------------------------------------------------------------ */

static int finish(int sock)
{
	struct pollfd p = {.fd = sock, .events = POLLOUT};
	int error = 0;
	socklen_t n = sizeof(error);

	if (poll(&p, 1, DIAL_CONNECT_MS) != 1)
		return -ETIMEDOUT;
	return getsockopt(sock, SOL_SOCKET, SO_ERROR, &error, &n) < 0 ? -errno : -error;
}

static int connect_one(int family, int type, const struct sockaddr *to, socklen_t bytes)
{
	int sock = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1, rc = 0;

	if (sock < 0)
		return -errno;
	if (connect(sock, to, bytes) < 0)
		rc = errno == EINPROGRESS ? finish(sock) : -errno;
	if (rc < 0) {
		close(sock);
		return rc;
	}
	if (family != AF_UNIX) {
		setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		setsockopt(sock, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	}
	return sock;
}

static int connect_host(const struct dial_address *a, struct sv_error *err)
{
	struct addrinfo want = {.ai_socktype = SOCK_STREAM}, *list;
	int rc = getaddrinfo(a->host, a->port, &want, &list), sock = -EHOSTUNREACH;

	if (rc)
		return sv_fail(err, EHOSTUNREACH, "host %s: %s", a->host, gai_strerror(rc));
	for (struct addrinfo *i = list; i && sock < 0; i = i->ai_next)
		sock = connect_one(i->ai_family, i->ai_socktype, i->ai_addr, i->ai_addrlen);
	freeaddrinfo(list);
	return sock < 0 ? sv_fail(err, -sock, "no server at %s, port %s: %s", a->host, a->port,
				  strerror(-sock))
			: sock;
}

int dial_connect(const struct dial_address *a, struct sv_error *err)
{
	int sock;

	if (!a->unix_socket)
		return connect_host(a, err);
	sock = connect_one(AF_UNIX, SOCK_STREAM, (const struct sockaddr *)&a->un, sizeof(a->un));
	return sock < 0 ? sv_fail(err, -sock, "no server at %s: %s", a->un.sun_path, strerror(-sock))
			: sock;
}
