/* SPDX-License-Identifier: BSD-3-Clause */
#include "blk_stack_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include <channels/atomics.h>

#define TAGS_BYTES (SV_FILTER_PIECE / BLK_SECTOR * 8)
#define CLOSE_MS 5000u

static struct stack *stack_of(struct blk_store *s)
{
	return (struct stack *)s;
}

/* --- the store ------------------------------------------------------------------------------- */

static void begin(struct blk_store *store, struct blk_io *io)
{
	stack_begin(stack_of(store), io);
}

static bool submit(struct blk_store *store)
{
	struct stack *s = stack_of(store);
	bool left = s->base->ops->submit(s->base);

	for (unsigned i = 0; i < s->layers; i++)
		if (s->layer[i].tagged)
			left |= s->layer[i].tags.side->ops->submit(s->layer[i].tags.side);
	return left;
}

static void reap_below(struct stack *s)
{
	s->base->ops->reap(s->base);
	for (unsigned i = 0; i < s->layers; i++)
		if (s->layer[i].tagged)
			s->layer[i].tags.side->ops->reap(s->layer[i].tags.side);
	stack_continue(s);
}

static unsigned reap(struct blk_store *store)
{
	struct stack *s = stack_of(store);
	struct blk_io *io;
	unsigned n = 0;

	reap_below(s);
	while ((io = s->ended_head)) {
		s->ended_head = io->next;
		if (!io->next)
			s->ended_tail = NULL;
		io->done(io, io->mode);
		n++;
	}
	submit(store); /* what was read may be written to a side file, and so on */
	return n;
}

static bool pending(struct blk_store *store)
{
	struct stack *s = stack_of(store);
	bool more;

	reap_below(s);
	more = submit(store) || s->ended_head;
	more |= s->base->ops->pending(s->base);
	for (unsigned i = 0; i < s->layers; i++)
		if (s->layer[i].tagged)
			more |= s->layer[i].tags.side->ops->pending(s->layer[i].tags.side);
	return more;
}

static int hold(struct blk_store *store, int sock)
{
	struct stack *s = stack_of(store);

	return s->base->ops->hold ? s->base->ops->hold(s->base, sock) : 0;
}

static int layers_fit(const struct stack *s, uint64_t bytes, struct sv_error *err)
{
	int rc = 0;

	for (unsigned i = 0; i < s->layers && rc == 0; i++)
		if (s->layer[i].tagged)
			rc = blk_tags_fit(&s->layer[i].tags, bytes, err);
	return rc;
}

/* Where it fails halfway the base is the largest, which the next start makes good. */
static int resize(struct blk_store *store, uint64_t bytes, struct sv_error *err)
{
	struct stack *s = stack_of(store);
	uint64_t before = s->base->geometry.bytes;
	int rc = bytes ? layers_fit(s, bytes, err) : 0;

	if (rc == 0)
		rc = s->base->ops->resize(s->base, bytes, err);
	if (rc == 0 && !bytes) {
		rc = layers_fit(s, s->base->geometry.bytes, err);
		if (rc < 0) /* nothing but this has changed */
			s->base->geometry.bytes = before;
	}
	for (unsigned i = 0; i < s->layers && rc == 0; i++)
		if (s->layer[i].tagged)
			rc = blk_tags_grow(&s->layer[i].tags, s->base->geometry.bytes, err);
	if (rc == 0)
		store->geometry.bytes = s->base->geometry.bytes;
	return rc;
}

static void flush_done(struct blk_io *io, int result)
{
	*(int *)io->iov->iov_base = result;
	io->niov = 0;
}

/* Nothing is in flight. Return: all of the disk is durable. */
static bool flush_base(struct stack *s)
{
	static const struct timespec nap = {.tv_nsec = 1000000};
	int result = -ETIMEDOUT;
	struct iovec to = {.iov_base = &result};
	struct blk_io io = {.op = BLK_FLUSH, .iov = &to, .niov = 1, .done = flush_done};

	s->base->ops->begin(s->base, &io);
	for (unsigned ms = 0; ms < CLOSE_MS && io.niov; ms++) {
		s->base->ops->submit(s->base);
		nanosleep(&nap, NULL);
		s->base->ops->reap(s->base);
	}
	return !io.niov && result == 0;
}

/* Our own reading of a suspect region ends with the piece under way. Return: nothing is in flight. */
static bool end_tasks(struct stack *s)
{
	static const struct timespec nap = {.tv_nsec = 1000000};

	s->closing = true;
	for (unsigned ms = 0; ms < CLOSE_MS; ms++) {
		bool busy = false;

		for (unsigned i = 0; i < STACK_TASKS; i++)
			busy |= s->task[i].busy;
		for (unsigned i = 0; i < s->layers; i++)
			busy |= s->layer[i].tagged && s->layer[i].tags.writing;
		if (!busy)
			return true;
		submit(&s->store);
		s->base->ops->reap(s->base);
		for (unsigned i = 0; i < s->layers; i++)
			if (s->layer[i].tagged)
				s->layer[i].tags.side->ops->reap(s->layer[i].tags.side);
		nanosleep(&nap, NULL);
	}
	return false;
}

/* Of one that is not @idle stays what the kernel may still reach. */
static void free_stack(struct stack *s, bool idle)
{
	for (unsigned i = 0; i < s->layers; i++)
		s->layer[i].f->class->destroy(s->layer[i].f);
	if (s->epoll_fd >= 0)
		close(s->epoll_fd);
	if (!idle)
		return;
	if (s->memory)
		munmap(s->memory, s->memory_bytes);
	free(s->task);
	free(s);
}

static void close_stack(struct blk_store *store)
{
	struct stack *s = stack_of(store);
	bool idle = end_tasks(s);
	bool covered = idle && s->tagged && !s->store.geometry.readonly && flush_base(s);

	if (!idle)
		blk_notice_say(s->notice, "its storage does not answer; memory that it may still write to "
			       "stays");
	for (unsigned i = 0; i < s->layers; i++)
		if (s->layer[i].tagged)
			blk_tags_close(&s->layer[i].tags, covered);
	s->base->ops->close(s->base);
	free_stack(s, idle);
}

static const struct blk_store_ops stack_ops = {.name = "stack",
	.begin = begin,
	.submit = submit,
	.reap = reap,
	.pending = pending,
	.hold = hold,
	.resize = resize,
	.close = close_stack};

/* --- life ------------------------------------------------------------------------------------ */

static int open_layer(struct stack *s, const char *name, int *file, struct sv_error *err)
{
	const struct sv_blk_filter_class *c = sv_blk_filter_find(name);
	struct layer *l = &s->layer[s->layers];
	int rc;

	if (!c)
		return sv_fail(err, ENOENT, "no filter is called '%.32s'; integrity and xts are", name);
	rc = c->create(&l->f, *file, s->base->geometry.bytes, err);
	if (rc < 0)
		return rc;
	l->f->class = c;
	if (c->tags) {
		rc = blk_tags_open(&l->tags, *file, c->name, s->base->geometry.bytes,
			s->base->geometry.readonly, err);
		if (rc < 0) {
			c->destroy(l->f);
			return rc;
		}
		*file = -1;
		l->tagged = s->tagged = true;
	}
	if (c->opaque)
		s->store.geometry.zeroes = false;
	s->layers++;
	return 0;
}

static int open_layers(struct stack *s, const char *names, int *files, unsigned nfiles,
	struct sv_error *err)
{
	char text[128], *save = NULL;
	unsigned i = 0;

	snprintf(text, sizeof(text), "%s", names);
	for (char *n = strtok_r(text, "+", &save); n; n = strtok_r(NULL, "+", &save), i++) {
		int rc = i < nfiles && i < SV_FILTER_STACK
				 ? open_layer(s, n, &files[i], err)
				 : sv_fail(err, EINVAL, "%u files for the filters %s; at most %u may be "
					   "stacked", nfiles, names, SV_FILTER_STACK);

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Buffers are touched, and take memory, when an operation first needs them. */
static int make_tasks(struct stack *s)
{
	size_t each = SV_FILTER_PIECE + s->layers * TAGS_BYTES;

	s->memory_bytes = STACK_TASKS * each;
	s->task = calloc(STACK_TASKS, sizeof(*s->task));
	s->memory = mmap(NULL, s->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		0);
	if (s->memory == MAP_FAILED)
		s->memory = NULL;
	if (!s->task || !s->memory)
		return -ENOMEM;
	for (unsigned i = 0; i < STACK_TASKS; i++) {
		struct task *t = &s->task[i];

		t->stack = s;
		t->data = s->memory + (size_t)i * SV_FILTER_PIECE;
		for (unsigned k = 0; k < s->layers; k++)
			t->tags[k] = (uint64_t *)(void *)(s->memory + STACK_TASKS * (size_t)SV_FILTER_PIECE +
							  ((size_t)i * s->layers + k) * TAGS_BYTES);
		t->next = s->free;
		s->free = t;
	}
	return 0;
}

static int watch(struct stack *s, const struct blk_store *below)
{
	for (unsigned i = 0; i < 2; i++) {
		struct epoll_event ev = {.events = EPOLLIN};

		if (below->wake_fd[i] >= 0 &&
			epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, below->wake_fd[i], &ev) < 0)
			return -errno;
	}
	return 0;
}

static int make_wake(struct stack *s)
{
	int rc;

	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	rc = s->epoll_fd < 0 ? -errno : watch(s, s->base);
	for (unsigned i = 0; i < s->layers && rc == 0; i++)
		if (s->layer[i].tagged)
			rc = watch(s, s->layer[i].tags.side);
	s->store.wake_fd[0] = s->epoll_fd;
	s->store.wake_fd[1] = s->store.pin_fd = -1;
	return rc;
}

int blk_stack_open(struct blk_store **store, const char *names, int *files, unsigned nfiles,
	struct blk_notice *notice, struct sv_error *err)
{
	struct stack *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return sv_fail(err, ENOMEM, "the node is out of memory");
	s->store.ops = &stack_ops;
	s->store.geometry = (*store)->geometry;
	s->base = *store;
	s->notice = notice;
	s->ended = true; /* a suspect region may be looked at */
	s->epoll_fd = -1;
	rc = open_layers(s, names, files, nfiles, err);
	if (rc == 0 && (make_tasks(s) < 0 || make_wake(s) < 0))
		rc = sv_fail(err, ENOMEM, "the node is out of memory or descriptors");
	if (rc < 0) {
		for (unsigned i = 0; i < s->layers; i++)
			if (s->layer[i].tagged)
				blk_tags_close(&s->layer[i].tags, false);
		free_stack(s, true);
		return rc;
	}
	*store = &s->store;
	return 0;
}

char *blk_stack_json(const struct blk_store *store)
{
	const struct stack *s = (const struct stack *)store;
	json_t *all;
	char *text;

	if (store->ops != &stack_ops)
		return NULL;
	all = json_array();
	for (unsigned i = 0; i < s->layers; i++) {
		const struct sv_blk_filter *f = s->layer[i].f;

		json_array_append_new(all, json_pack("{s:s, s:I, s:I, s:I, s:I}", "name", f->class->name,
			"requests", (json_int_t)sv_load_relaxed(&f->requests), "refused",
			(json_int_t)sv_load_relaxed(&f->refused), "errors",
			(json_int_t)sv_load_relaxed(&f->errors), "replaced",
			(json_int_t)(s->layer[i].tagged ? sv_load_relaxed(&s->replaced) : 0)));
	}
	text = json_dumps(all, JSON_COMPACT);
	json_decref(all);
	return text;
}
