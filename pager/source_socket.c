/* SPDX-License-Identifier: BSD-3-Clause */
/* A source that is another process: channels/memory_source.h. It is not trusted to keep to that. */
#include "private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xxhash.h>

#define BYTES_PER_LOOK (256u << 10)

struct remote {
	struct sv_source_request out[FETCHES];
	unsigned out_n;	 /* requests that wait for the socket */
	size_t out_done; /* bytes of the first */
	uint32_t serial; /* makes tags of the same fetch differ */
	uint64_t tag[FETCHES];
	struct sv_source_reply head;
	size_t head_have;
	struct fetch *into; /* whose data comes; NULL: a header */
	XXH3_state_t *hash;
};

static int gone(int e, struct sv_error *err)
{
	if (e == 0 || e == ECONNRESET || e == EPIPE)
		return sv_fail(err, ECONNRESET, "it closed the connection");
	return sv_fail(err, e, "its connection: %s", strerror(e));
}

/* Requests into the socket, as far as it takes them. */
static int push(struct unit *u, struct remote *s, struct sv_error *err)
{
	while (s->out_n) {
		ssize_t n = send(u->source_fd, (const char *)&s->out[0] + s->out_done,
			sizeof(s->out[0]) - s->out_done, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS))
			return 0;
		if (n < 0)
			return gone(errno, err);
		s->out_done += (size_t)n;
		if (s->out_done < sizeof(s->out[0]))
			continue;
		s->out_done = 0;
		memmove(&s->out[0], &s->out[1], --s->out_n * sizeof(s->out[0]));
	}
	return 0;
}

static int remote_begin(struct unit *u, struct fetch *f, struct sv_error *err)
{
	struct remote *s = u->source_data;
	unsigned slot = (unsigned)(f - u->fetch);

	if (s->out_n == FETCHES)
		return -EAGAIN;
	s->tag[slot] = (uint64_t)++s->serial << 8 | slot;
	s->out[s->out_n++] = (struct sv_source_request){.magic = SV_SOURCE_MAGIC,
		.version = SV_SOURCE_VERSION,
		.op = SV_SOURCE_READ,
		.tag = s->tag[slot],
		.offset = u->offset + f->page * PAGE,
		.bytes = (uint32_t)(f->pages * PAGE)};
	return push(u, s, err);
}

/* Header of a reply, whole: whose is it? */
static int take_head(struct unit *u, struct remote *s, struct sv_error *err)
{
	const struct sv_source_reply *h = &s->head;
	unsigned slot = h->tag & 0xff;
	struct fetch *f = &u->fetch[slot < FETCHES ? slot : 0];
	unsigned long long at = h->offset;

	if (h->magic != SV_SOURCE_MAGIC || h->version != SV_SOURCE_VERSION ||
		h->op != SV_SOURCE_READ || slot >= FETCHES ||
		f->state != FETCH_READING || h->tag != s->tag[slot] ||
		h->offset != u->offset + f->page * PAGE)
		return sv_fail(err, EPROTO, "it answers what nobody asked");
	if (h->status)
		return sv_fail(err, EIO, "it cannot give what lies at offset %#llx: %s", at,
			strerror((int)(h->status & 0xffff)));
	if (h->generation != u->generation)
		return sv_fail(err, ESTALE, "its memory is another one than in the beginning");
	if (h->bytes != f->pages * PAGE)
		return sv_fail(err, EPROTO, "it gives %u bytes at offset %#llx, asked for %llu", h->bytes,
			at, (unsigned long long)(f->pages * PAGE));
	s->into = f;
	f->have = 0;
	XXH3_64bits_reset_withSeed(s->hash, h->offset);
	return 0;
}

static int take_piece(struct unit *u, struct remote *s, struct sv_error *err)
{
	struct fetch *f = s->into;
	int rc;

	s->into = NULL;
	s->head_have = 0;
	if (XXH3_64bits_digest(s->hash) == s->head.check) {
		fetch_arrived(u, f);
		return 1;
	}
	if (++f->tries == TRIES)
		return sv_fail(err, EBADMSG, "what it gives at offset %#llx does not match its checksum, "
			"%u times", (unsigned long long)s->head.offset, TRIES);
	f->since_ns = now_ns();
	rc = remote_begin(u, f, err);
	return rc == -EAGAIN ? sv_fail(err, EAGAIN, "no room to ask again") : rc;
}

/* One recv() into where it belongs. Return: bytes, 0: nothing now, or -errno. */
static ssize_t pull(struct unit *u, struct remote *s, size_t most, struct sv_error *err)
{
	struct fetch *f = s->into;
	uint8_t *to = f ? f->buffer + f->have : (uint8_t *)&s->head + s->head_have;
	size_t want = f ? f->pages * PAGE - f->have : sizeof(s->head) - s->head_have;
	ssize_t n = recv(u->source_fd, to, want < most ? want : most, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return gone(n < 0 ? errno : 0, err);
	if (f) {
		XXH3_64bits_update(s->hash, to, (size_t)n);
		f->have += (uint64_t)n;
	} else {
		s->head_have += (size_t)n;
	}
	return n;
}

static int remote_look(struct unit *u, struct sv_error *err)
{
	struct remote *s = u->source_data;
	size_t left = BYTES_PER_LOOK;
	int rc = push(u, s, err), did = 0;

	while (rc >= 0 && left) {
		ssize_t n = pull(u, s, left, err);

		if (n <= 0) {
			rc = (int)n;
			break;
		}
		did = 1;
		left -= (size_t)n < left ? (size_t)n : left;
		if (!s->into && s->head_have == sizeof(s->head))
			rc = take_head(u, s, err);
		else if (s->into && s->into->have == s->into->pages * PAGE)
			rc = take_piece(u, s, err);
	}
	return rc < 0 ? rc : did;
}

/* Every reply named its generation. */
static int remote_same(struct unit *u, struct sv_error *err)
{
	(void)u;
	(void)err;
	return 1;
}

static int remote_close(struct unit *u)
{
	struct remote *s = u->source_data;

	XXH3_freeState(s->hash);
	free(s);
	return 0;
}

static const struct source_ops remote_ops = {
	.begin = remote_begin, .look = remote_look, .same = remote_same, .close = remote_close};

int source_socket_open(struct unit *u, int fd, struct sv_error *err)
{
	struct remote *s = calloc(1, sizeof(*s));
	int domain = 0, type = 0;
	socklen_t dlen = sizeof(domain), tlen = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &dlen) < 0 || domain != AF_UNIX ||
		getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &tlen) < 0 || type != SOCK_STREAM) {
		free(s);
		return sv_fail(err, EINVAL, "PAGER: its source is not a Unix stream socket");
	}
	if (s)
		s->hash = XXH3_createState();
	if (!s || !s->hash) {
		free(s);
		return sv_fail(err, ENOMEM, "the node is out of memory");
	}
	u->source = &remote_ops;
	u->source_data = s;
	u->source_wake = fd;
	return 0;
}
