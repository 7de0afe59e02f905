/* SPDX-License-Identifier: BSD-3-Clause */
/* How an operation passes the filters. */
#include "blk_stack_private.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define SAY_AT_MOST 16u /* sectors that are damaged; all are counted */

static const enum sv_filter_op filter_op[] = {[BLK_READ] = SV_FILTER_READ,
	[BLK_WRITE] = SV_FILTER_WRITE,
	[BLK_FLUSH] = SV_FILTER_FLUSH,
	[BLK_DISCARD] = SV_FILTER_DISCARD,
	[BLK_ZEROES] = SV_FILTER_ZEROES};

static struct sv_filter_request request_of(const struct blk_io *io)
{
	return (struct sv_filter_request){.op = filter_op[io->op],
		.sector = io->offset / BLK_SECTOR,
		.sectors = io->bytes / BLK_SECTOR};
}

static struct sv_filter_request request_of_task(const struct task *t)
{
	return (struct sv_filter_request){.op = t->upper ? filter_op[t->upper->op] : SV_FILTER_READ,
		.sector = t->offset / BLK_SECTOR,
		.sectors = t->bytes / BLK_SECTOR,
		.data = t->data};
}

void stack_end(struct stack *s, struct blk_io *io, int result)
{
	struct sv_filter_request r = request_of(io);

	for (unsigned i = 0; i < s->layers; i++) {
		struct sv_blk_filter *f = s->layer[i].f;

		if (result)
			blk_count(&f->errors, 1);
		if (f->class->done)
			f->class->done(f, &r, result);
	}
	io->mode = result;
	io->next = NULL;
	if (s->ended_tail)
		s->ended_tail->next = io;
	else
		s->ended_head = io;
	s->ended_tail = io;
}

/* --- what a task asks of base and side files ------------------------------------------------- */

static void advance(struct task *t);

static void part_done(struct blk_io *io, int result)
{
	struct task *t = ((struct part *)io)->task;

	if (result && !t->result)
		t->result = result;
	if (!--t->pending)
		advance(t);
}

static void issue(struct task *t, struct part *p, struct blk_store *to, enum blk_op op, uint32_t flags,
	uint64_t at, void *data, uint64_t bytes)
{
	p->task = t;
	p->iov = (struct iovec){.iov_base = data, .iov_len = bytes};
	p->io = (struct blk_io){.op = op,
		.flags = flags,
		.offset = at,
		.bytes = bytes,
		.iov = &p->iov,
		.niov = data ? 1 : 0,
		.done = part_done};
	to->ops->begin(to, &p->io);
}

/* The piece and its tags: from below, or down. */
static void transfer(struct task *t, enum blk_op op)
{
	uint32_t flags = t->upper ? t->upper->flags : 0;
	struct stack *s = t->stack;

	t->pending = 1;
	for (unsigned i = 0; i < s->layers; i++)
		t->pending += s->layer[i].tagged;
	for (unsigned i = 0; i < s->layers; i++)
		if (s->layer[i].tagged)
			issue(t, &t->side[i], s->layer[i].tags.side, op, flags,
				blk_tags_at(t->offset), t->tags[i], t->bytes / BLK_SECTOR * 8);
	issue(t, &t->base, s->base, op, flags, t->offset, t->data, t->bytes);
}

/* --- ends ------------------------------------------------------------------------------------ */

static void next_piece(struct task *t);

static void finish(struct task *t, int result)
{
	struct stack *s = t->stack;
	struct blk_io *io = t->upper;

	t->busy = false;
	t->next = s->free;
	s->free = t;
	s->ended = true;
	if (io) {
		stack_end(s, io, result);
		return;
	}
	if (result)
		return; /* and none is looked at any more */
	s->scrubbing = false;
	blk_tags_cleared(&s->layer[t->marking].tags, t->from);
}

static void piece_done(struct task *t)
{
	struct blk_io *io = t->upper;
	uint64_t end = io ? io->offset + io->bytes : t->from + t->length;

	if (io && io->op == BLK_READ)
		blk_pieces_move(&io->iov, &io->niov, t->data, t->bytes, BLK_TO_PIECES);
	if (t->offset + t->bytes == end) {
		finish(t, 0);
		return;
	}
	if (!io && t->stack->closing) { /* the region stays suspect */
		finish(t, -ECANCELED);
		return;
	}
	t->offset += t->bytes;
	next_piece(t);
}

/* --- reads ----------------------------------------------------------------------------------- */

static void say_damage(struct stack *s, const struct layer *l, uint64_t sector)
{
	if (s->said++ < SAY_AT_MOST)
		blk_notice_say(s->notice, "%s: sector %llu is not what was written; reads of it fail",
			l->f->class->name, (unsigned long long)sector);
}

/* A tag does not fit. Return: 0 it was replaced, in *heal; else -errno. */
static int mismatch(struct task *t, unsigned i, struct sv_filter_request *r, bool *heal)
{
	struct stack *s = t->stack;
	struct layer *l = &s->layer[i];

	if (!blk_tags_is_suspect(&l->tags, r->bad * BLK_SECTOR) || l->tags.readonly) {
		say_damage(s, l, r->bad);
		return -EIO;
	}
	blk_count(&s->replaced, 1);
	l->f->class->tag(l->f, r);
	*heal = true;
	return 0;
}

/* Check and decode, from the storage up. Return: 0, or -errno; *heal: tags are to be written. */
static int ascend(struct task *t, bool *heal)
{
	struct stack *s = t->stack;
	int rc = 0;

	for (unsigned i = s->layers; i-- && rc == 0;) {
		struct sv_blk_filter *f = s->layer[i].f;
		struct sv_filter_request r = request_of_task(t);

		if (s->layer[i].tagged) {
			r.tags = t->tags[i];
			rc = f->class->check(f, &r);
			if (rc == -EBADMSG)
				rc = mismatch(t, i, &r, heal);
		}
		if (rc == 0 && f->class->decode)
			rc = f->class->decode(f, &r);
	}
	return rc;
}

static void came_up(struct task *t)
{
	struct stack *s = t->stack;
	bool heal = false;
	int rc = ascend(t, &heal);

	if (rc < 0) {
		finish(t, rc);
		return;
	}
	if (!heal) {
		piece_done(t);
		return;
	}
	t->stage = STAGE_HEAL;
	t->pending = 0;
	for (unsigned i = 0; i < s->layers; i++)
		t->pending += s->layer[i].tagged;
	for (unsigned i = 0; i < s->layers; i++)
		if (s->layer[i].tagged)
			issue(t, &t->side[i], s->layer[i].tags.side, BLK_WRITE, 0,
				blk_tags_at(t->offset), t->tags[i], t->bytes / BLK_SECTOR * 8);
}

/* --- writes ---------------------------------------------------------------------------------- */

static int descend(struct task *t)
{
	struct stack *s = t->stack;
	int rc = 0;

	for (unsigned i = 0; i < s->layers && rc == 0; i++) {
		struct sv_blk_filter *f = s->layer[i].f;
		struct sv_filter_request r = request_of_task(t);

		if (f->class->encode)
			rc = f->class->encode(f, &r);
		if (rc == 0 && s->layer[i].tagged) {
			r.tags = t->tags[i];
			f->class->tag(f, &r);
		}
	}
	return rc;
}

static void marked(struct blk_tags_wait *w, int result);

/* Every tagged layer's regions are on its map before anything is written. */
static void mark_and_write(struct task *t)
{
	struct stack *s = t->stack;

	for (; t->marking < s->layers; t->marking++) {
		if (!s->layer[t->marking].tagged)
			continue;
		t->wait = (struct blk_tags_wait){
			.offset = t->offset, .bytes = t->bytes, .ready = marked};
		if (!blk_tags_mark(&s->layer[t->marking].tags, &t->wait))
			return;
	}
	transfer(t, BLK_WRITE);
}

static void written(struct task *t, unsigned layers)
{
	for (unsigned i = 0; i < layers; i++)
		if (t->stack->layer[i].tagged)
			blk_tags_written(&t->stack->layer[i].tags, t->offset, t->bytes, t->result);
}

static void marked(struct blk_tags_wait *w, int result)
{
	struct task *t = (struct task *)(void *)((char *)w - offsetof(struct task, wait));

	if (!result) {
		t->marking++;
		mark_and_write(t);
		return;
	}
	t->result = 0;
	written(t, t->marking); /* of the layers before */
	finish(t, result);
}

/* --- stages ---------------------------------------------------------------------------------- */

static void flushed(struct task *t)
{
	struct stack *s = t->stack;

	for (unsigned i = 0; i < s->layers && !t->result; i++)
		if (s->layer[i].tagged)
			blk_tags_flushed(&s->layer[i].tags, t->flush[i]);
	finish(t, t->result);
}

/* Nothing is known of these sectors any more, whatever becomes of them now. */
static void range(struct task *t)
{
	struct blk_io *io = t->upper;

	t->stage = STAGE_RANGE;
	t->pending = 1;
	issue(t, &t->base, t->stack->base, io->op, io->flags, io->offset, NULL, io->bytes);
}

static void advance(struct task *t)
{
	if (t->stage == STAGE_WRITE)
		written(t, t->stack->layers);
	if (t->stage == STAGE_FLUSH)
		flushed(t);
	else if (t->result)
		finish(t, t->result);
	else if (t->stage == STAGE_READ)
		came_up(t);
	else if (t->stage == STAGE_RANGE_TAGS)
		range(t);
	else if (t->stage == STAGE_RANGE)
		finish(t, 0);
	else
		piece_done(t);
}

static void next_piece(struct task *t)
{
	struct blk_io *io = t->upper;
	uint64_t end = io ? io->offset + io->bytes : t->from + t->length;
	uint64_t most = SV_FILTER_PIECE - t->offset % SV_FILTER_PIECE; /* so none is of two regions */
	int rc;

	t->bytes = end - t->offset < most ? end - t->offset : most;
	t->result = 0;
	if (!io || io->op == BLK_READ) {
		t->stage = STAGE_READ;
		transfer(t, BLK_READ);
		return;
	}
	t->stage = STAGE_WRITE;
	blk_pieces_move(&io->iov, &io->niov, t->data, t->bytes, BLK_FROM_PIECES);
	rc = descend(t);
	if (rc < 0) {
		finish(t, rc);
		return;
	}
	t->marking = 0;
	mark_and_write(t);
}

/* A flush, or a range that is discarded or zeroed: its tags go first, and for good. */
static void whole(struct task *t)
{
	struct stack *s = t->stack;
	struct blk_io *io = t->upper;
	bool flush = io->op == BLK_FLUSH;

	t->stage = flush ? STAGE_FLUSH : STAGE_RANGE_TAGS;
	t->result = 0;
	t->pending = flush;
	for (unsigned i = 0; i < s->layers; i++)
		t->pending += s->layer[i].tagged;
	if (!t->pending) {
		range(t);
		return;
	}
	for (unsigned i = 0; i < s->layers; i++) {
		struct layer *l = &s->layer[i];

		if (!l->tagged)
			continue;
		if (flush)
			t->flush[i] = blk_tags_flush_begun(&l->tags);
		issue(t, &t->side[i], l->tags.side, flush ? BLK_FLUSH : BLK_ZEROES,
			flush ? 0 : BLK_IO_FUA | BLK_IO_UNMAP, flush ? 0 : blk_tags_at(io->offset),
			NULL, flush ? 0 : io->bytes / BLK_SECTOR * 8);
	}
	if (flush)
		issue(t, &t->base, s->base, BLK_FLUSH, io->flags, 0, NULL, 0);
}

/* --- beginning ------------------------------------------------------------------------------- */

static bool overlap(uint64_t a, uint64_t an, uint64_t b, uint64_t bn)
{
	return an && bn && a < b + bn && b < a + an;
}

/* Data and tags of a sector are changed together, or read together. */
static bool must_wait(const struct stack *s, const struct blk_io *io, const struct blk_io *before)
{
	if (!s->free)
		return true;
	if (!s->tagged || io->op == BLK_FLUSH)
		return false;
	for (unsigned i = 0; i < STACK_TASKS; i++)
		if (s->task[i].busy &&
			overlap(io->offset, io->bytes, s->task[i].from, s->task[i].length))
			return true;
	for (const struct blk_io *w = s->wait_head; w && w != before; w = w->next)
		if (overlap(io->offset, io->bytes, w->offset, w->bytes))
			return true;
	return false;
}

static void start(struct stack *s, struct blk_io *io)
{
	struct task *t = s->free;

	s->free = t->next;
	t->upper = io;
	t->busy = true;
	t->from = t->offset = io ? io->offset : 0;
	t->length = io ? io->bytes : 0;
	if (io && io->op != BLK_READ && io->op != BLK_WRITE)
		whole(t);
	else if (io)
		next_piece(t);
}

static int admit(struct stack *s, const struct blk_io *io)
{
	struct sv_filter_request r = request_of(io);
	int rc = 0;

	for (unsigned i = 0; i < s->layers && rc == 0; i++) {
		struct sv_blk_filter *f = s->layer[i].f;

		blk_count(&f->requests, 1);
		if (f->class->admit)
			rc = f->class->admit(f, &r);
		if (rc < 0)
			blk_count(&f->refused, 1);
	}
	return rc;
}

void stack_begin(struct stack *s, struct blk_io *io)
{
	int rc = admit(s, io);

	io->next = NULL;
	if (rc < 0) {
		stack_end(s, io, rc);
	} else if (must_wait(s, io, NULL)) {
		if (s->wait_tail)
			s->wait_tail->next = io;
		else
			s->wait_head = io;
		s->wait_tail = io;
	} else {
		start(s, io);
	}
}

static void begin_scrub(struct stack *s)
{
	for (unsigned i = 0; i < s->layers; i++) {
		uint64_t offset, bytes;
		struct blk_io probe;
		struct task *t = s->free;

		if (!s->layer[i].tagged)
			continue;
		bytes = blk_tags_next_suspect(&s->layer[i].tags, &offset);
		probe = (struct blk_io){.op = BLK_READ, .offset = offset, .bytes = bytes};
		if (!bytes || must_wait(s, &probe, NULL))
			continue;
		s->scrubbing = true;
		start(s, NULL);
		t->from = t->offset = offset;
		t->length = bytes;
		t->marking = i;
		next_piece(t);
		return;
	}
}

void stack_continue(struct stack *s)
{
	struct blk_io **at = &s->wait_head, *last = NULL;

	if (!s->ended)
		return;
	s->ended = false;
	while (*at) {
		struct blk_io *io = *at;

		if (must_wait(s, io, io)) {
			last = io;
			at = &io->next;
			continue;
		}
		*at = io->next;
		if (s->wait_tail == io)
			s->wait_tail = last;
		start(s, io);
	}
	if (!s->scrubbing && !s->closing)
		begin_scrub(s);
}
