/* SPDX-License-Identifier: BSD-3-Clause */
/* Filters over a disk: data right, encrypted below, damage found, crashes forgiven, budgets kept. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <base/disk.h>

#include "blk_stack_private.h"

#define BYTES (4u << 20)
#define SLOTS 32u
#define AREA (BYTES / SLOTS)

static char dir[] = "/tmp/sidevisor-stack-XXXXXX", image[64], side[64], key[64];
static struct blk_store *store;
static struct sv_disk disk;

static void write_file(const char *path, const void *data, size_t n, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	cr_assert(fd >= 0 && write(fd, data, n) == (ssize_t)n);
	fchmod(fd, mode);
	close(fd);
}

static void up(void)
{
	uint8_t bytes[64];

	srand(1);
	cr_assert(mkdtemp(dir));
	snprintf(image, sizeof(image), "%s/image", dir);
	snprintf(side, sizeof(side), "%s/side", dir);
	snprintf(key, sizeof(key), "%s/key", dir);
	write_file(image, "", 0, 0600);
	cr_assert_eq(truncate(image, BYTES), 0);
	for (int i = 0; i < 64; i++)
		bytes[i] = (uint8_t)rand();
	write_file(key, bytes, 64, 0600);
}

static void shut(void)
{
	if (store)
		store->ops->close(store);
	store = NULL;
	sv_disk_detach(&disk);
}

static void down(void)
{
	char command[80];

	if (store)
		shut();
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert_eq(system(command), 0);
}

TestSuite(stack, .init = up, .fini = down, .timeout = 60);

static const char *both(void)
{
	static char text[160];

	snprintf(text, sizeof(text), "xts:%s+integrity:%s", key, side);
	return text;
}

static const char *only_integrity(void)
{
	static char text[100];

	snprintf(text, sizeof(text), "integrity:%s", side);
	return text;
}

static int try(const char *filters, bool readonly, struct sv_error *err)
{
	struct sv_disk_spec spec = {.path = image, .filters = filters, .readonly = readonly};
	int rc = sv_disk_attach(&spec, &disk, err), fds[SV_DISK_FDS], n;
	uint32_t flags = readonly ? BLK_RAW_READONLY : BLK_RAW_DISCARD;

	if (rc < 0)
		return rc;
	n = (int)sv_disk_fds(&disk, fds);
	for (int i = 0; i < n; i++)
		fds[i] = dup(fds[i]);
	rc = blk_raw_open(&store, fds[0], flags, "test", err);
	cr_assert_eq(rc, 0, "%s", err->text);
	rc = blk_stack_open(&store, disk.filters, fds + 1, (unsigned)n - 1, NULL, err);
	for (int i = 1; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (rc < 0)
		shut();
	return rc;
}

static void open_stack(const char *filters)
{
	struct sv_error err = {""};

	cr_assert_eq(try(filters, false, &err), 0, "%s", err.text);
}

struct op {
	struct blk_io io; /* first */
	struct iovec iov[16];
	bool begun, done;
	int result;
};

static void on_done(struct blk_io *io, int result)
{
	struct op *o = (struct op *)io;

	cr_assert(!o->done);
	o->done = true;
	o->result = result;
}

static void begin(struct op *o, enum blk_op kind, uint64_t at, void *data, uint32_t bytes,
	unsigned pieces, uint32_t flags)
{
	uint32_t left = bytes, n = 0;
	uint8_t *from = data;

	*o = (struct op){.begun = true,
		.io = {.op = kind, .flags = flags, .offset = at, .bytes = bytes, .done = on_done}};
	while (data && left) {
		uint32_t k = n + 1 >= pieces ? left : 1 + (uint32_t)rand() % left;

		o->iov[n++] = (struct iovec){from, k};
		from += k;
		left -= k;
	}
	o->io.iov = o->iov;
	o->io.niov = n;
	store->ops->begin(store, &o->io);
}

static void step(void)
{
	store->ops->submit(store);
	store->ops->reap(store);
}

/* The suite's limit ends one that waits for ever. */
static int wait_for(struct op *o)
{
	while (!o->done)
		step();
	return o->result;
}

static int ask(enum blk_op kind, uint64_t at, void *data, uint32_t bytes)
{
	struct op o;

	begin(&o, kind, at, data, bytes, 1, 0);
	return wait_for(&o);
}

static void poke(const char *path, uint64_t at, uint8_t xor)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t b = 0;

	cr_assert_eq(pread(fd, &b, 1, (off_t)at), 1);
	b ^= xor;
	cr_assert_eq(pwrite(fd, &b, 1, (off_t)at), 1);
	close(fd);
}

/* --- data ------------------------------------------------------------------------------------ */

static uint8_t model[BYTES], data[SLOTS][AREA];
static struct op op[SLOTS];

static void fill(void *at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((uint8_t *)at)[i] = (uint8_t)rand();
}

static void begin_any(unsigned s)
{
	unsigned kind = (unsigned)rand() % 10;
	uint32_t bytes = 512 * (1 + (uint32_t)rand() % (rand() % 3 ? 8 : AREA / 512)), at;

	at = 512 * ((uint32_t)rand() % ((AREA - bytes) / 512 + 1));
	if (kind < 4) {
		begin(&op[s], BLK_READ, s * AREA + at, data[s], bytes, 1 + (unsigned)rand() % 16, 0);
	} else if (kind < 8) {
		fill(data[s], bytes);
		begin(&op[s], BLK_WRITE, s * AREA + at, data[s], bytes, 1 + (unsigned)rand() % 16,
			rand() % 3 ? 0 : BLK_IO_FUA);
	} else if (kind == 8 && store->geometry.zeroes) {
		begin(&op[s], BLK_ZEROES, s * AREA + at, NULL, bytes, 0,
			rand() % 2 ? BLK_IO_UNMAP : 0);
	} else {
		begin(&op[s], BLK_FLUSH, 0, NULL, 0, 0, 0);
	}
}

static void check(unsigned s)
{
	const struct blk_io *io = &op[s].io;

	cr_assert_eq(op[s].result, 0);
	if (io->op == BLK_READ)
		cr_assert_arr_eq(data[s], model + io->offset, io->bytes);
	else if (io->op == BLK_WRITE)
		memcpy(model + io->offset, data[s], io->bytes);
	else if (io->op == BLK_ZEROES)
		memset(model + io->offset, 0, io->bytes);
}

static void run_model(unsigned operations)
{
	unsigned begun = 0, ended = 0;

	memset(op, 0, sizeof(op));
	for (unsigned s = 0; s < SLOTS; s++, begun++)
		begin_any(s);
	while (ended < begun) {
		step();
		for (unsigned s = 0; s < SLOTS; s++) {
			if (!op[s].done)
				continue;
			op[s].done = false;
			check(s);
			ended++;
			if (begun < operations) {
				begin_any(s);
				begun++;
			}
		}
	}
}

static void read_all(void)
{
	static uint8_t all[BYTES];

	cr_assert_eq(ask(BLK_READ, 0, all, BYTES), 0);
	cr_assert_arr_eq(all, model, BYTES);
}

/* An encrypted disk begins with what its key makes of zeroes. */
static void clear(void)
{
	cr_assert_eq(ask(BLK_WRITE, 0, model, BYTES), 0);
}

Test(stack, every_stack_gives_back_what_was_written)
{
	const char *stacks[] = {both(), only_integrity(), NULL};
	static char xts[80], other[160];

	snprintf(xts, sizeof(xts), "xts:%s", key);
	snprintf(other, sizeof(other), "integrity:%s2+xts:%s", side, key);
	for (unsigned i = 0; i < 4; i++) {
		unlink(side);
		memset(model, 0, sizeof(model));
		open_stack(i < 2 ? stacks[i] : i == 2 ? xts : other);
		clear();
		run_model(3000);
		read_all();
		shut();
		open_stack(i < 2 ? stacks[i] : i == 2 ? xts : other);
		read_all();
		shut();
	}
}

/* Overlapping operations in flight: whatever comes out of it, data and checksums fit. */
Test(stack, racing_writes_leave_no_sector_whose_checksum_is_wrong)
{
	static uint8_t out[2 * AREA];

	open_stack(only_integrity());
	for (unsigned round = 0; round < 300; round++) {
		for (unsigned s = 0; s < SLOTS; s++) {
			uint32_t bytes = 512 * (1 + (uint32_t)rand() % 64);

			fill(data[s], 512);
			begin(&op[s], rand() % 3 ? BLK_WRITE : BLK_READ, 512 * ((uint32_t)rand() % 64),
				data[s], bytes, 3, 0);
		}
		for (unsigned s = 0; s < SLOTS; s++)
			cr_assert_eq(wait_for(&op[s]), 0);
	}
	cr_assert_eq(ask(BLK_READ, 0, out, sizeof(out)), 0);
}

Test(stack, more_operations_than_a_store_takes_wait_for_their_turn)
{
	static struct op many[BLK_STORE_DEPTH + 40];
	static uint8_t sector[512];
	const unsigned n = sizeof(many) / sizeof(many[0]);

	open_stack(only_integrity());
	for (unsigned i = 0; i < n; i++)
		begin(&many[i], i % 3 ? BLK_WRITE : BLK_FLUSH, i % 3 ? 512 * i : 0, i % 3 ? sector : NULL,
			i % 3 ? 512 : 0, 1, 0);
	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(wait_for(&many[i]), 0, "%u", i);
}

/* --- encryption ------------------------------------------------------------------------------ */

/* IEEE 1619-2007, annex B, vector 10: data unit 255. */
Test(stack, xts_is_that_of_the_standard)
{
	static const char hex[] =
		"2718281828459045235360287471352662497757247093699959574966967627"
		"3141592653589793238462643383279502884197169399375105820974944592\n";
	static const uint8_t want[32] = {0x1c, 0x3b, 0x3a, 0x10, 0x2f, 0x77, 0x03, 0x86, 0xe4, 0x83,
		0x6c, 0x99, 0xe3, 0x70, 0xcf, 0x9b, 0xea, 0x00, 0x80, 0x3f, 0x5e, 0x48, 0x23, 0x57, 0xa4,
		0xae, 0x12, 0xd4, 0x14, 0xa3, 0xe6, 0x3b};
	uint8_t sector[512], below[512];
	char text[80];
	int fd;

	write_file(key, hex, sizeof(hex) - 1, 0600);
	snprintf(text, sizeof(text), "xts:%s", key);
	open_stack(text);
	cr_assert(!store->geometry.zeroes);
	for (int i = 0; i < 512; i++)
		sector[i] = (uint8_t)i;
	cr_assert_eq(ask(BLK_WRITE, 255 * 512, sector, 512), 0);
	fd = open(image, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(pread(fd, below, 512, 255 * 512), 512);
	close(fd);
	cr_assert_arr_eq(below, want, sizeof(want));
	cr_assert_eq(ask(BLK_READ, 255 * 512, below, 512), 0);
	cr_assert_arr_eq(below, sector, 512);
}

/* --- integrity ------------------------------------------------------------------------------- */

Test(stack, damage_is_an_error_of_that_sector_alone)
{
	uint8_t some[4096], out[4096];

	open_stack(only_integrity());
	fill(some, sizeof(some));
	cr_assert_eq(ask(BLK_WRITE, 8192, some, sizeof(some)), 0);
	cr_assert_eq(ask(BLK_FLUSH, 0, NULL, 0), 0);
	shut();
	poke(image, 8192 + 1024 + 7, 0x10);
	open_stack(only_integrity());
	cr_assert_eq(ask(BLK_READ, 8192 + 1024, out, 512), -EIO);
	cr_assert_eq(ask(BLK_READ, 8192, out, 4096), -EIO);
	cr_assert_eq(ask(BLK_READ, 8192, out, 1024), 0);
	cr_assert_eq(ask(BLK_READ, 8192 + 1536, out, 1024), 0);
	cr_assert_eq(ask(BLK_WRITE, 8192 + 1024, some, 512), 0); /* written anew it is whole */
	cr_assert_eq(ask(BLK_READ, 8192, out, 4096), 0);
}

/* A sector that another one was written over, or whose write never arrived. */
Test(stack, misplaced_and_lost_writes_are_noticed)
{
	uint8_t one[512], two[512], old[512];
	int fd;

	fill(one, 512);
	fill(two, 512);
	open_stack(only_integrity());
	cr_assert_eq(ask(BLK_WRITE, 0, one, 512), 0);
	cr_assert_eq(ask(BLK_WRITE, 512, two, 512), 0);
	memcpy(old, one, 512);
	fill(one, 512);
	cr_assert_eq(ask(BLK_WRITE, 0, one, 512), 0);
	fd = open(image, O_RDWR | O_CLOEXEC);
	cr_assert_eq(pwrite(fd, old, 512, 0), 512);
	cr_assert_eq(ask(BLK_READ, 0, old, 512), -EIO);
	cr_assert_eq(pwrite(fd, two, 512, 0), 512);
	cr_assert_eq(ask(BLK_READ, 0, old, 512), -EIO);
	cr_assert_eq(pwrite(fd, one, 512, 0), 512);
	cr_assert_eq(ask(BLK_READ, 0, old, 512), 0);
	close(fd);
}

Test(stack, what_was_discarded_or_never_written_has_no_checksum)
{
	uint8_t some[4096];

	open_stack(only_integrity());
	fill(some, sizeof(some));
	cr_assert_eq(ask(BLK_READ, 1 << 20, some, sizeof(some)), 0);
	cr_assert_eq(ask(BLK_WRITE, 0, some, sizeof(some)), 0);
	cr_assert_eq(ask(BLK_DISCARD, 0, NULL, sizeof(some)), 0);
	poke(image, 100, 1);
	cr_assert_eq(ask(BLK_READ, 0, some, sizeof(some)), 0);
}

/* A crash: the side file as it was while the disk was in use, data and checksum of one write apart. */
static void copy_side(const char *from, const char *to)
{
	char command[200];

	snprintf(command, sizeof(command), "cp %s %s", from, to);
	cr_assert_eq(system(command), 0);
}

static void settle(void)
{
	uint8_t sector[512];

	for (int i = 0; i < 2000; i++)
		step();
	cr_assert_eq(ask(BLK_READ, BYTES - 512, sector, 512), 0);
}

Test(stack, after_a_crash_recent_writes_are_believed_and_old_ones_are_not)
{
	uint8_t some[512], out[512];
	char crashed[80];

	fill(some, 512);
	open_stack(only_integrity());
	cr_assert_eq(ask(BLK_WRITE, 0, some, 512), 0);		/* region 0: long ago */
	cr_assert_eq(ask(BLK_WRITE, 3u << 20, some, 512), 0); /* region 3: just now */
	for (int i = 0; i < 8; i++) {
		cr_assert_eq(ask(BLK_FLUSH, 0, NULL, 0), 0);
		cr_assert_eq(ask(BLK_WRITE, (3u << 20) + 512, some, 512), 0);
	}
	for (int i = 0; i < 100; i++)
		step(); /* the map goes out */
	snprintf(crashed, sizeof(crashed), "%s/crashed", dir);
	copy_side(side, crashed);
	shut();
	copy_side(crashed, side);
	poke(image, 5, 0x40);
	poke(image, (3u << 20) + 5, 0x40);
	open_stack(only_integrity());
	cr_assert_eq(ask(BLK_READ, 3u << 20, out, 512), 0);
	cr_assert_eq(ask(BLK_READ, 0, out, 512), -EIO);
	settle(); /* suspect regions have been read */
	poke(image, (3u << 20) + 5, 0x40);
	cr_assert_eq(ask(BLK_READ, 3u << 20, out, 512), -EIO);
	poke(image, (3u << 20) + 5, 0x40);
	shut();
	open_stack(only_integrity());
	cr_assert_eq(ask(BLK_READ, 3u << 20, out, 512), 0);
}

/* A write just below 3 MiB is old, one just above it is not; the crash leaves both damaged. */
Test(stack, what_is_believed_after_a_crash_ends_with_its_region)
{
	uint8_t some[1024], out[1024];
	char crashed[80];

	fill(some, sizeof(some));
	open_stack(only_integrity());
	cr_assert_eq(ask(BLK_WRITE, (3u << 20) - 512, some, 1024), 0);
	shut();
	open_stack(only_integrity());
	cr_assert_eq(ask(BLK_WRITE, 3u << 20, some + 512, 512), 0);
	snprintf(crashed, sizeof(crashed), "%s/crashed", dir);
	copy_side(side, crashed);
	shut();
	copy_side(crashed, side);
	poke(image, (3u << 20) - 512, 0x40);
	poke(image, 3u << 20, 0x40);
	open_stack(only_integrity());
	cr_assert_eq(ask(BLK_READ, (3u << 20) - 512, out, 1024), -EIO);
	cr_assert_eq(ask(BLK_READ, (3u << 20) - 512, out, 512), -EIO);
	cr_assert_eq(ask(BLK_READ, 3u << 20, out, 512), 0);
}

/* --- a store below that holds operations back, or fails them --------------------------------- */

static struct twist {
	struct blk_store_ops ops;
	const struct blk_store_ops *real;
	enum blk_op kind; /* which */
	struct blk_io *held[8];
	unsigned n, seen;
	bool hold;
} twist;

static void twisted_begin(struct blk_store *s, struct blk_io *io)
{
	twist.seen++;
	if (twist.hold && io->op == twist.kind)
		twist.held[twist.n++] = io;
	else
		twist.real->begin(s, io);
}

static void twist_store(struct blk_store *s, enum blk_op kind)
{
	twist = (struct twist){.ops = *s->ops, .real = s->ops, .kind = kind, .hold = true};
	twist.ops.begin = twisted_begin;
	s->ops = &twist.ops;
}

/* What was held ends. */
static void end_held(int result)
{
	unsigned n = twist.n;

	twist.n = 0;
	for (unsigned i = 0; i < n; i++)
		twist.held[i]->done(twist.held[i], result);
}

static struct stack *stack(void)
{
	return (struct stack *)store;
}

Test(stack, a_discard_whose_checksums_cannot_be_cleared_leaves_the_data)
{
	uint8_t some[512], out[512];
	struct op o;

	fill(some, 512);
	open_stack(only_integrity());
	cr_assert_eq(ask(BLK_WRITE, 0, some, 512), 0);
	twist_store(stack()->layer[0].tags.side, BLK_ZEROES);
	begin(&o, BLK_DISCARD, 0, NULL, 512, 0, 0);
	for (int i = 0; i < 100; i++)
		step();
	cr_assert_eq(twist.n, 1);
	end_held(-EIO);
	cr_assert_eq(wait_for(&o), -EIO);
	twist.hold = false;
	cr_assert_eq(ask(BLK_READ, 0, out, 512), 0);
	cr_assert_arr_eq(out, some, 512);
	stack()->layer[0].tags.side->ops = twist.real;
}

static void count(struct blk_tags_wait *w, int result)
{
	w->offset = UINT64_MAX; /* it was called */
	w->bytes = (uint64_t)-result;
}

static struct blk_tags_wait wait_at(uint64_t offset)
{
	return (struct blk_tags_wait){.offset = offset, .bytes = 512, .ready = count};
}

/* The map that takes a region off is under way, or it failed: nothing is written there meanwhile. */
Test(stack, a_region_that_leaves_the_map_is_marked_again_before_a_write)
{
	for (int fails = 0; fails < 2; fails++) {
		struct blk_tags_wait a = wait_at(0), b = wait_at(512), c = wait_at(1024);
		struct blk_tags *t;

		open_stack(only_integrity());
		t = &stack()->layer[0].tags;
		twist_store(t->side, BLK_WRITE);
		cr_assert_not(blk_tags_mark(t, &a));
		end_held(0);
		cr_assert_eq(a.offset, UINT64_MAX);
		blk_tags_written(t, 0, 512, false);
		while (!twist.n)
			blk_tags_flushed(t, blk_tags_flush_begun(t));
		cr_assert_not(blk_tags_mark(t, &b));
		cr_assert_not(blk_tags_mark(t, &c), "its bit is on the way out");
		end_held(fails ? -EIO : 0);
		cr_assert_eq(b.offset == UINT64_MAX && b.bytes == EIO, fails);
		cr_assert_eq(c.offset == UINT64_MAX && c.bytes == EIO, fails);
		if (fails) {
			b = wait_at(0);
			cr_assert_not(blk_tags_mark(t, &b), "its bit may be out");
		}
		end_held(0);
		cr_assert_eq(b.offset, UINT64_MAX);
		cr_assert_eq(b.bytes, 0);
		blk_tags_written(t, 0, 512, false);
		if (!fails)
			blk_tags_written(t, 1024, 512, false);
		t->side->ops = twist.real;
		shut();
	}
}

Test(stack, flushes_do_not_take_back_what_a_write_waits_for)
{
	struct blk_tags_wait a = wait_at(0);
	struct blk_tags *t;

	open_stack(only_integrity());
	t = &stack()->layer[0].tags;
	twist_store(t->side, BLK_WRITE);
	cr_assert_not(blk_tags_mark(t, &a));
	for (int i = 0; i < 20; i++)
		blk_tags_flushed(t, blk_tags_flush_begun(t));
	end_held(0);
	cr_assert_eq(a.offset, UINT64_MAX);
	blk_tags_written(t, 0, 512, false);
	t->side->ops = twist.real;
}

static void crash_after_a_write_at(uint64_t at)
{
	uint8_t some[512];
	char crashed[80];

	fill(some, 512);
	open_stack(only_integrity());
	cr_assert_eq(ask(BLK_WRITE, at, some, 512), 0);
	snprintf(crashed, sizeof(crashed), "%s/crashed", dir);
	copy_side(side, crashed);
	shut();
	copy_side(crashed, side);
}

Test(stack, closing_waits_for_a_piece_and_not_for_its_suspect_region)
{
	unsigned before;

	crash_after_a_write_at(0);
	open_stack(only_integrity());
	twist_store(stack()->base, BLK_READ);
	step();
	cr_assert_eq(twist.n, 1);
	twist.hold = false;
	twist.real->begin(stack()->base, twist.held[0]);
	before = twist.seen;
	shut();
	cr_assert_leq(twist.seen - before, 1, "a flush");
	poke(image, 5, 0x40);
	open_stack(only_integrity()); /* suspect it is still */
	cr_assert_eq(ask(BLK_READ, 0, data[0], 512), 0);
}

/* --- what is said ---------------------------------------------------------------------------- */

static void (*notice_ready)(void *ctx);

static int add_fd(struct sv_poller_host *h, int fd, void (*ready)(void *ctx), void *ctx)
{
	(void)h;
	(void)fd;
	(void)ctx;
	notice_ready = ready;
	return 0;
}

static void del_fd(struct sv_poller_host *h, int fd)
{
	(void)h;
	(void)fd;
}

Test(stack, lines_that_were_not_said_are_counted_once)
{
	struct sv_poller_host host = {.add_fd = add_fd, .del_fd = del_fd};
	struct blk_notice n;
	char text[1024] = "";
	int out[2], old = dup(2);

	cr_assert_eq(pipe(out), 0);
	cr_assert_eq(blk_notice_open(&n, &host, "d", "v"), 0);
	dup2(out[1], 2);
	blk_notice_say(&n, "one");
	blk_notice_say(&n, "two");
	blk_notice_say(&n, "three");
	notice_ready(&n);
	for (int i = 0; i < 2; i++) {
		blk_notice_say(&n, "after");
		notice_ready(&n);
	}
	blk_notice_say(&n, "four");
	blk_notice_say(&n, "five");
	blk_notice_close(&n);
	dup2(old, 2);
	cr_assert_gt(read(out[0], text, sizeof(text) - 1), 0);
	cr_assert_str_eq(text,
		"sidevisor: disk d of v: one (2 other lines were not said)\n"
		"sidevisor: disk d of v: after\n"
		"sidevisor: disk d of v: after\n"
		"sidevisor: disk d of v: four (1 other lines were not said)\n");
}

/* --- refusals -------------------------------------------------------------------------------- */

static void expect(const char *filters, int rc, const char *words)
{
	struct sv_error err = {""};
	int got = try(filters, false, &err);

	cr_expect_eq(got, rc, "%s: %d", filters, got);
	cr_expect(strstr(err.text, words), "%s: '%s' has no '%s'", filters, err.text, words);
	if (got == 0)
		shut();
}

Test(stack, what_is_wrong_is_said)
{
	struct sv_error err = {""};
	char text[400], hex[129];
	struct sv_disk second;

	expect("zip:/x", -EINVAL, "no filter is called 'zip'");
	expect("xts", -EINVAL, "xts:FILE");
	expect("xts:/nonexistent", -ENOENT, "the key /nonexistent cannot be opened");
	snprintf(text, sizeof(text), "xts:%s", key);
	chmod(key, 0644);
	expect(text, -EPERM, "chmod 600");
	write_file(key, "short", 5, 0600);
	expect(text, -EINVAL, "64 random bytes");
	memset(hex, 'g', sizeof(hex));
	write_file(key, hex, 128, 0600);
	expect(text, -EINVAL, "128 hexadecimal");
	memset(hex, 'a', sizeof(hex));
	write_file(key, hex, 128, 0600);
	expect(text, -EINVAL, "halves must differ");
	snprintf(text, sizeof(text), "integrity:%s/no/such", dir);
	expect(text, -ENOENT, "cannot be opened");
	snprintf(text, sizeof(text), "integrity:%s", image);
	expect(text, -EBUSY, "in use by another");
	snprintf(text, sizeof(text), "integrity:%s", key);
	expect(text, -EINVAL, "is no side file of it");
	snprintf(text, sizeof(text), "integrity:%s1+integrity:%s2+integrity:%s3+integrity:%s4+integrity:%s5",
		side, side, side, side, side);
	expect(text, -EINVAL, "at most 4");
	cr_assert_eq(try(only_integrity(), true, &err), -ENOENT);
	open_stack(only_integrity());
	struct sv_disk_spec spec = {.path = key, .filters = only_integrity()};
	cr_assert_eq(sv_disk_attach(&spec, &second, &err), -EBUSY);
	cr_assert(strstr(err.text, "in use by another disk"), "%s", err.text);
	shut();
	truncate(image, BYTES / 2);
	expect(only_integrity(), -EINVAL, "is of a disk of 4194304 bytes, this one has 2097152");
	truncate(image, BYTES);
	truncate(side, 20000);
	expect(only_integrity(), -EINVAL, "damaged or cut off");
}

Test(stack, a_disk_that_grows_takes_its_checksums_along)
{
	struct sv_error err = {""};
	uint8_t some[512], out[512];

	fill(some, 512);
	open_stack(only_integrity());
	cr_assert_eq(ask(BLK_WRITE, 0, some, 512), 0);
	cr_assert_eq(store->ops->resize(store, 2 * BYTES, &err), 0, "%s", err.text);
	cr_assert_eq(store->geometry.bytes, 2 * BYTES);
	cr_assert_eq(ask(BLK_WRITE, 2 * BYTES - 512, some, 512), 0);
	shut();
	poke(image, 2 * BYTES - 1, 1);
	open_stack(only_integrity());
	cr_assert_eq(ask(BLK_READ, 0, out, 512), 0);
	cr_assert_eq(ask(BLK_READ, 2 * BYTES - 512, out, 512), -EIO);
}

/* As a crash between the growth of the two leaves it, or somebody who made the image larger. */
Test(stack, a_disk_that_has_grown_alone_is_opened_and_its_checksums_follow)
{
	struct sv_error err = {""};
	uint8_t some[512], out[512];

	fill(some, 512);
	open_stack(only_integrity());
	cr_assert_eq(ask(BLK_WRITE, 0, some, 512), 0);
	shut();
	cr_assert_eq(truncate(image, 2 * BYTES), 0);
	cr_assert_eq(try(only_integrity(), true, &err), -EINVAL);
	cr_assert(strstr(err.text, "it grows when the disk is opened for writing"), "%s", err.text);
	open_stack(only_integrity());
	cr_assert_eq(ask(BLK_READ, 0, out, 512), 0);
	cr_assert_eq(ask(BLK_WRITE, 2 * BYTES - 512, some, 512), 0);
	shut();
	poke(image, 2 * BYTES - 1, 1);
	cr_assert_eq(try(only_integrity(), true, &err), 0, "%s", err.text);
	cr_assert_eq(ask(BLK_READ, 2 * BYTES - 512, out, 512), -EIO);
}

Test(stack, a_size_that_the_checksums_cannot_follow_is_refused_before_anything_grows)
{
	const uint64_t most = (uint64_t)BLK_TAGS_REGIONS << 20;
	struct sv_error err = {""};
	struct stat st;

	open_stack(only_integrity());
	cr_assert_eq(store->ops->resize(store, most + 512, &err), -EFBIG);
	cr_assert(strstr(err.text, "made for disks of at most"), "%s", err.text);
	cr_assert_eq(stat(image, &st), 0);
	cr_assert_eq(st.st_size, BYTES);
	cr_assert_eq(truncate(image, (off_t)(most + 512)), 0);
	cr_assert_eq(store->ops->resize(store, 0, &err), -EFBIG);
	cr_assert_eq(store->geometry.bytes, BYTES);
	cr_assert_eq(stack()->base->geometry.bytes, BYTES);
	cr_assert_eq(store->ops->resize(store, 2 * BYTES, &err), 0, "%s", err.text);
}
