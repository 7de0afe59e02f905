/* SPDX-License-Identifier: BSD-3-Clause */
/* A disk on an NBD server: right data, and what becomes of requests when the server misbehaves. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <base/disk.h>
#include <base/fdpass.h>
#include <io/devices.h>

#include "blk.h"
#include "front_end.h"
#include "nbd_by_hand.h"

#define SLOTS 32u
#define AREA (NH_BYTES / SLOTS) /* each operation in flight has one: none overlap */
#define PLAIN "file file=%s"

static struct nh h;

static void up(void)
{
	nh_up(&h);
	srand(1);
}

static void down(void)
{
	nh_down(&h);
}

TestSuite(nbd, .init = up, .fini = down, .timeout = 120);

/* --- data ------------------------------------------------------------------------------------ */

static uint8_t model[NH_BYTES], data[SLOTS][AREA];
static struct nh_io op[SLOTS];
static unsigned tolerated; /* failures */

static void fill(uint8_t *at, size_t n)
{
	for (size_t i = 0; i + 4 <= n; i += 4) {
		uint32_t r = (uint32_t)rand();

		memcpy(at + i, &r, 4);
	}
}

static void begin_any(unsigned s)
{
	unsigned kind = (unsigned)rand() % 10;
	uint32_t bytes = 512 * (1 + (uint32_t)rand() % (AREA / 512)), at;
	uint32_t pieces = 1 + (uint32_t)rand() % (rand() % 2 ? 40 : 2);

	if (rand() % 2)
		bytes = bytes > 4096 ? 4096 : bytes;
	at = 512 * ((uint32_t)rand() % ((AREA - bytes) / 512 + 1));
	if (kind < 4)
		nh_begin(&h, &op[s], BLK_READ, s * AREA + at, data[s], bytes, pieces, 0);
	else if (kind < 8) {
		fill(data[s], bytes);
		nh_begin(&h, &op[s], BLK_WRITE, s * AREA + at, data[s], bytes, pieces,
			rand() % 3 ? 0 : BLK_IO_FUA);
	} else if (kind == 8) {
		nh_begin(&h, &op[s], BLK_ZEROES, s * AREA + at, NULL, bytes, 0,
			rand() % 2 ? BLK_IO_UNMAP : 0);
	} else {
		nh_begin(&h, &op[s], BLK_FLUSH, 0, NULL, 0, 0, 0);
	}
}

/* Compare, or take over. A change that failed may or may not be there: make it known again. */
static void check(unsigned s)
{
	const struct blk_io *io = &op[s].io;

	if (op[s].result) {
		tolerated++;
		if (io->op == BLK_WRITE || io->op == BLK_ZEROES) {
			struct nh_io again;

			do {
				nh_begin(&h, &again, BLK_WRITE, io->offset, model + io->offset,
					(uint32_t)io->bytes, 1, 0);
			} while (nh_wait(&h, &again));
		}
		return;
	}
	if (io->op == BLK_READ)
		cr_assert_arr_eq(data[s], model + io->offset, io->bytes);
	else if (io->op == BLK_WRITE)
		memcpy(model + io->offset, data[s], io->bytes);
	else if (io->op == BLK_ZEROES)
		memset(model + io->offset, 0, io->bytes);
}

static void run_model(unsigned operations, void (*sometimes)(unsigned turn))
{
	unsigned begun = 0, ended = 0;

	for (unsigned s = 0; s < SLOTS; s++, begun++)
		begin_any(s);
	for (unsigned turn = 0; ended < begun; turn++) {
		unsigned before = ended;

		nh_step(&h);
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
		if (sometimes)
			sometimes(turn);
		if (ended == before)
			sched_yield();
	}
}

static void check_image(void)
{
	static uint8_t image[NH_BYTES];
	int fd = open(h.image, O_RDONLY | O_CLOEXEC);

	cr_assert_eq(pread(fd, image, NH_BYTES, 0), NH_BYTES);
	cr_assert_arr_eq(image, model, NH_BYTES);
	close(fd);
}

Test(nbd, what_was_written_is_read_whatever_the_pieces)
{
	for (int trusted = 0; trusted < 2; trusted++) {
		nh_serve(&h, PLAIN);
		nh_open(&h, trusted, NH_DEADLINE_MS, BLK_RAW_DISCARD);
		cr_assert_eq(h.store->geometry.bytes, NH_BYTES);
		run_model(4000, NULL);
		check_image();
		nh_close(&h);
		nh_kill(&h, SIGKILL);
	}
	cr_assert_eq(tolerated, 0);
}

Test(nbd, large_transfers_go_in_pieces)
{
	static uint8_t big[NH_BYTES];

	nh_serve(&h, "--filter=blocksize-policy file file=%s blocksize-minimum=512 "
		     "blocksize-preferred=4096 blocksize-maximum=64K blocksize-error-policy=error");
	nh_open(&h, true, NH_DEADLINE_MS, 0);
	cr_assert_eq(h.store->geometry.min_io, 4096);
	fill(big, sizeof(big));
	memcpy(model, big, sizeof(big));
	cr_assert_eq(nh_do(&h, BLK_WRITE, 0, big, sizeof(big)), 0);
	memset(big, 0, sizeof(big));
	cr_assert_eq(nh_do(&h, BLK_READ, 0, big, sizeof(big)), 0);
	cr_assert_arr_eq(big, model, sizeof(big));
	cr_assert_geq(h.store->counts.continued, 2 * (NH_BYTES / 65536 - 1));
}

/* --- a server with troubles ------------------------------------------------------------------ */

Test(nbd, an_error_of_the_server_is_the_guests_and_the_data_stays_right)
{
	nh_serve(&h, "--filter=error file file=%s error-rate=10%% error=ENOSPC");
	nh_open(&h, false, NH_DEADLINE_MS, BLK_RAW_DISCARD);
	run_model(3000, NULL);
	cr_assert_gt(tolerated, 50);
	cr_assert_eq(h.store->counts.reconnects, 0);
	check_image();
}

Test(nbd, a_slow_server_is_waited_for)
{
	nh_serve(&h, "--filter=delay file file=%s rdelay=20ms wdelay=20ms");
	nh_open(&h, true, NH_DEADLINE_MS, BLK_RAW_DISCARD);
	run_model(300, NULL);
	cr_assert_eq(tolerated + h.store->counts.retried, 0);
}

static unsigned kills;

static void kill_sometimes(unsigned turn)
{
	static struct timespec last;
	struct timespec now;

	(void)turn;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if ((now.tv_sec - last.tv_sec) * 1000 + (now.tv_nsec - last.tv_nsec) / 1000000 < 60)
		return;
	nh_kill(&h, SIGKILL);
	nh_serve(&h, PLAIN);
	clock_gettime(CLOCK_MONOTONIC, &last);
	kills++;
}

Test(nbd, a_server_that_is_killed_and_comes_back_costs_no_request)
{
	for (int trusted = 0; trusted < 2; trusted++) {
		nh_serve(&h, PLAIN);
		nh_open(&h, trusted, 20000, BLK_RAW_DISCARD);
		kills = 0;
		for (unsigned rounds = 0; kills < 8; rounds++)
			run_model(2000, kill_sometimes);
		cr_assert_eq(tolerated, 0);
		cr_assert_gt(h.store->counts.reconnects, 0);
		check_image();
		nh_close(&h);
		nh_kill(&h, SIGKILL);
	}
}

Test(nbd, requests_fail_when_the_server_stays_away_and_work_when_it_is_back)
{
	uint8_t sector[512] = {1}, other[512];

	nh_serve(&h, PLAIN);
	nh_open(&h, true, 600, 0);
	cr_assert_eq(nh_do(&h, BLK_WRITE, 0, sector, 512), 0);
	nh_kill(&h, SIGKILL);
	cr_assert_eq(nh_do(&h, BLK_READ, 0, other, 512), -EIO);
	cr_assert_eq(nh_do(&h, BLK_READ, 0, other, 512), -EIO); /* at once */
	nh_serve(&h, PLAIN);
	for (int i = 0; nh_do(&h, BLK_READ, 0, other, 512) != 0; i++) {
		static const struct timespec ms = {.tv_nsec = 1000000};

		cr_assert_lt(i, 10000);
		nanosleep(&ms, NULL);
	}
	cr_assert_arr_eq(other, sector, 512);
}

Test(nbd, a_server_that_hangs_is_left_and_found_again)
{
	uint8_t sector[512] = {2};

	nh_serve(&h, PLAIN);
	nh_open(&h, false, 1000, 0);
	cr_assert_eq(nh_do(&h, BLK_WRITE, 0, sector, 512), 0);
	kill(h.server, SIGSTOP);
	waitpid(h.server, NULL, WUNTRACED);
	cr_assert_eq(nh_do(&h, BLK_WRITE, 0, sector, 512), -EIO);
	kill(h.server, SIGCONT);
	for (int i = 0; nh_do(&h, BLK_WRITE, 512, sector, 512) != 0; i++)
		cr_assert_lt(i, 10000000);
}

Test(nbd, another_export_in_its_place_is_not_the_disk)
{
	uint8_t sector[512];

	nh_serve(&h, PLAIN);
	nh_open(&h, true, 500, 0);
	cr_assert_eq(nh_do(&h, BLK_READ, 0, sector, 512), 0);
	nh_kill(&h, SIGKILL);
	nh_serve(&h, "memory 1M");
	cr_assert_eq(nh_do(&h, BLK_READ, 0, sector, 512), -EIO);
	nh_kill(&h, SIGKILL);
	nh_serve(&h, "-r " PLAIN);
	cr_assert_eq(nh_do(&h, BLK_WRITE, 0, sector, 512), -EIO);
}

/* --- what a flush can promise over a reconnection -------------------------------------------- */

static void write_and_lose(const char *server)
{
	uint8_t sector[512] = {3};

	nh_serve(&h, server);
	nh_open(&h, true, NH_DEADLINE_MS, 0);
	cr_assert_eq(nh_do(&h, BLK_WRITE, 0, sector, 512), 0);
	nh_kill(&h, SIGKILL);
	nh_serve(&h, server);
}

Test(nbd, a_flush_says_so_when_it_cannot_cover_what_an_earlier_connection_wrote)
{
	uint8_t sector[512];

	write_and_lose("--filter=multi-conn --filter=fua file file=%s multi-conn-mode=disable");
	cr_assert_eq(nh_do(&h, BLK_READ, 0, sector, 512), 0);
	cr_assert_eq(nh_do(&h, BLK_FLUSH, 0, NULL, 0), -EIO);
	cr_assert_eq(nh_do(&h, BLK_FLUSH, 0, NULL, 0), 0);
}

Test(nbd, where_each_write_is_durable_a_flush_has_nothing_to_lose)
{
	write_and_lose("--filter=multi-conn --filter=fua file file=%s multi-conn-mode=disable "
		       "fuamode=native");
	cr_assert_eq(nh_do(&h, BLK_FLUSH, 0, NULL, 0), 0);
}

Test(nbd, where_connections_share_a_cache_a_flush_covers_it)
{
	write_and_lose(PLAIN);
	cr_assert_eq(nh_do(&h, BLK_FLUSH, 0, NULL, 0), 0);
}

/* --- as many operations as there can be ------------------------------------------------------ */

static void stop_server(void)
{
	kill(h.server, SIGSTOP);
	waitpid(h.server, NULL, WUNTRACED);
}

static void go_on(int sig)
{
	(void)sig;
	kill(h.server, SIGCONT);
}

static void go_on_after(long us)
{
	const struct itimerval once = {.it_value = {.tv_usec = us}};

	signal(SIGALRM, go_on);
	setitimer(ITIMER_REAL, &once, NULL);
}

Test(nbd, more_operations_than_a_store_takes_wait_for_their_turn)
{
	static struct nh_io many[BLK_STORE_DEPTH + 40];
	const unsigned n = sizeof(many) / sizeof(many[0]);

	nh_serve(&h, PLAIN);
	nh_open(&h, true, NH_DEADLINE_MS, 0);
	cr_assert_eq(nh_do(&h, BLK_FLUSH, 0, NULL, 0), 0);
	stop_server();
	for (unsigned i = 0; i < n; i++)
		nh_begin(&h, &many[i], BLK_FLUSH, 0, NULL, 0, 0, 0);
	for (unsigned i = 0; i < 10; i++)
		nh_step(&h);
	go_on(0);
	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(nh_wait(&h, &many[i]), 0, "%u", i);
	cr_assert_eq(h.store->counts.retried, 0);
}

/* The device's own flush comes on top of what the driver has in flight. */
Test(nbd, the_write_cache_can_be_switched_off_with_every_slot_in_use)
{
	struct sv_dial_spec spec = {.image = h.address};
	struct sv_control_device d = {.kind = SV_DEVICE_BLK, .queues = 1, .name = "far"};
	struct vu_config c = {.offset = offsetof(struct virtio_blk_config, wce), .size = 1};
	struct virtio_blk_outhdr head = {.type = VIRTIO_BLK_T_FLUSH};
	static struct fe fe;
	union vu_payload reply;
	struct blk *b;
	int sock;

	nh_serve(&h, PLAIN);
	sock = nh_dial(&h, &spec);
	d.blk = (struct sv_control_blk){.bytes = h.ready.export.bytes,
		.preferred = h.ready.export.preferred,
		.export_flags = h.ready.export.flags};
	cr_assert_eq(fe_open(&fe, &sv_blk_class, &d, &sock, 1, false, 0), 0, "%s", fe.err.text);
	fe_start(&fe, FE_ALL, 1, 1024);
	memcpy(fe.mem + FE_DATA, &head, sizeof(head));
	for (unsigned i = 0; i <= BLK_SLOTS; i++) {
		struct vqd_buf request[2] = {{FE_DATA, sizeof(head), false}, {FE_DATA + 64 + i, 1, true}};

		if (i == 1) { /* the first has made the connection */
			vqd_kick(&fe.q[0]);
			fe_wait(&fe, 0, NULL);
			stop_server();
		}
		fe.mem[FE_DATA + 64 + i] = 0xff;
		cr_assert_geq(vqd_add(&fe.q[0], request, 2, 0), 0);
	}
	vqd_kick(&fe.q[0]);
	b = fe.handle;
	for (unsigned i = 0; i < 50 && b->free_head != BLK_NONE; i++)
		b->session.poller.ops->poll(&b->session.poller, 1024);
	cr_assert_eq(b->busy, BLK_SLOTS);
	go_on_after(100000);
	cr_assert_eq(fe_call(&fe, VU_SET_CONFIG, VU_FLAG_NEED_REPLY, &c, VU_CONFIG_HEADER + 1, NULL, 0,
			     &reply), 8);
	cr_assert_eq(reply.u64, 0);
	for (unsigned i = 0; i < BLK_SLOTS; i++)
		fe_wait(&fe, 0, NULL);
	for (unsigned i = 0; i <= BLK_SLOTS; i++)
		cr_assert_eq(fe.mem[FE_DATA + 64 + i], VIRTIO_BLK_S_OK, "%u", i);
	fe_close(&fe);
	waitpid(h.dialer, NULL, 0);
}

/* --- what cannot be a disk ------------------------------------------------------------------- */

static void expect(const char *image, const char *format, bool readonly, int status, const char *words)
{
	struct sv_dial_spec spec = {.image = image, .format = format, .readonly = readonly};
	int sock = nh_dial(&h, &spec);

	cr_expect_eq(h.ready.status, (unsigned)status, "%s: %u", image, h.ready.status);
	cr_expect(strstr(h.ready.text, words), "%s: '%s' has no '%s'", image, h.ready.text, words);
	close(sock);
}

Test(nbd, what_cannot_be_a_disk_is_refused_with_a_reason)
{
	char text[256];

	expect("nbds://host/x", NULL, false, EPROTONOSUPPORT, "TLS");
	expect("nbd+vsock://3/x", NULL, false, EPROTONOSUPPORT, "only nbd:// and nbd+unix://");
	expect("nbd:///x", NULL, false, EINVAL, "no host name");
	expect("nbd://[::1/x", NULL, false, EINVAL, "no host name");
	expect("nbd://host:x/", NULL, false, EINVAL, "port is not a number");
	expect("nbd://host/%zz", NULL, false, EINVAL, "name of its export");
	expect("nbd://host/%00", NULL, false, EINVAL, "name of its export");
	expect("nbd://host/%4", NULL, false, EINVAL, "name of its export");
	expect("nbd://host/x?y=z", NULL, false, EINVAL, "y=z");
	expect("nbd+unix:///x", NULL, false, EINVAL, "?socket=PATH");
	expect("nbd+unix://host/x?socket=/s", NULL, false, EINVAL, "no host");
	expect("nbd://127.0.0.1:1/", NULL, false, ECONNREFUSED, "no server at 127.0.0.1, port 1");
	expect(h.address, NULL, false, ENOENT, "no server at");
	expect("x.vmdk", "vmdk", false, EINVAL, "raw and qcow2");
	expect("/nonexistent.qcow2", "qcow2", false, ENOENT, "cannot be opened for writing");
	nh_serve(&h, "-r " PLAIN);
	expect(h.address, NULL, false, EROFS, "readonly");
	expect(h.address, NULL, true, 0, "");
	nh_kill(&h, SIGKILL);
	nh_serve(&h, "--filter=exportname file file=%s exportname=there exportname-strict=true");
	snprintf(text, sizeof(text), "nbd+unix:///elsewhere?socket=%s", h.socket);
	expect(text, NULL, false, EPROTO, "the server refuses");
	snprintf(text, sizeof(text), "nbd+unix:///th%%65re?socket=%s", h.socket);
	expect(text, NULL, false, 0, "");
	nh_kill(&h, SIGKILL);
	nh_serve(&h, "memory 0");
	expect(h.address, NULL, false, EINVAL, "empty");
	nh_kill(&h, SIGKILL);
	nh_serve(&h, "memory 1000");
	expect(h.address, NULL, false, EINVAL, "512-byte sectors");
	nh_kill(&h, SIGKILL);
	nh_serve(&h, "--filter=blocksize-policy memory 1M blocksize-minimum=4096");
	expect(h.address, NULL, false, ENOTSUP, "blocksize filter");
}

/* --- who shares a socket with the sidecore --------------------------------------------------- */

/* The other end of the dialer's socket is the test: it passes what would make a reader block. */
Test(nbd, a_vm_process_cannot_make_the_sidecore_wait, .timeout = 60)
{
	struct blk_nbd_config c = {.export = {.bytes = NH_BYTES}, .deadline_ms = 300};
	struct sv_dial_reply r = {.magic = SV_DIAL_MAGIC};
	struct sv_dial_ask ask;
	struct sv_error err = {""};
	uint8_t sector[512];
	int pair[2], pass[2];
	struct nh_io x;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	cr_assert_eq(blk_nbd_open(&h.store, pair[0], &c, &err), 0, "%s", err.text);
	nh_begin(&h, &x, BLK_READ, 0, sector, 512, 1, 0);
	for (int kind = 0; !x.done; kind = (kind + 1) % 3) {
		struct pollfd p = {.fd = pair[1], .events = POLLIN};

		nh_step(&h);
		if (poll(&p, 1, 1) <= 0)
			continue;
		cr_assert_eq(recv(pair[1], &ask, sizeof(ask), 0), (ssize_t)sizeof(ask));
		r.serial = ask.serial;
		if (kind == 0)
			cr_assert_eq(pipe(pass), 0);
		else
			cr_assert_eq(socketpair(AF_UNIX, kind == 1 ? SOCK_DGRAM : SOCK_STREAM, 0, pass), 0);
		cr_assert_eq(sv_fd_send(pair[1], &r, sizeof(r), pass, 1, 1000), (ssize_t)sizeof(r));
		for (int i = 0; i < 50; i++) {
			nh_step(&h);
			fcntl(pass[0], F_SETFL, 0); /* blocking again, for all who have it */
		}
		close(pass[0]);
		close(pass[1]);
	}
	cr_assert_eq(x.result, -EIO);
	close(pair[1]);
	nh_begin(&h, &x, BLK_READ, 0, sector, 512, 1, 0);
	cr_assert_eq(nh_wait(&h, &x), -EIO); /* nobody connects it any more */
	h.dialer = 0;
}

Test(nbd, a_dialer_that_ends_is_noticed_before_a_sleep)
{
	uint8_t sector[512];

	nh_serve(&h, PLAIN);
	nh_open(&h, true, NH_DEADLINE_MS, 0);
	cr_assert_eq(nh_do(&h, BLK_READ, 0, sector, 512), 0);
	while (h.store->ops->pending(h.store))
		nh_step(&h);
	kill(h.dialer, SIGKILL);
	waitpid(h.dialer, NULL, 0);
	cr_assert(h.store->ops->pending(h.store));
	cr_assert_eq(nh_do(&h, BLK_READ, 0, sector, 512), -EIO);
	nh_kill(&h, SIGKILL);
	h.dialer = 0;
}

/* --- qcow2 ----------------------------------------------------------------------------------- */

static void make_overlay(char *path, size_t bytes)
{
	char command[300];

	if (access("/usr/bin/qemu-nbd", X_OK) || access("/usr/bin/qemu-img", X_OK))
		cr_skip_test("SKIPPED BECAUSE qemu-utils is missing");
	snprintf(path, bytes, "%s/overlay", h.dir);
	snprintf(command, sizeof(command), "qemu-img create -q -f qcow2 -b %s -F raw %s", h.image, path);
	cr_assert_eq(system(command), 0);
}

static void open_overlay(const char *path, bool readonly)
{
	struct sv_dial_spec spec = {.image = path, .format = "qcow2", .readonly = readonly};
	int sock = nh_dial(&h, &spec);
	struct blk_nbd_config c = {
		.flags = BLK_RAW_DISCARD, .deadline_ms = 10000, .export = h.ready.export};
	struct sv_error err = {""};

	cr_assert_eq(h.ready.status, 0, "%s", h.ready.text);
	cr_assert_eq(blk_nbd_open(&h.store, sock, &c, &err), 0, "%s", err.text);
}

Test(nbd, an_overlay_has_the_changes_and_its_base_stays)
{
	static uint8_t base[NH_BYTES];
	char path[80];
	int fd;

	make_overlay(path, sizeof(path));
	fill(base, sizeof(base));
	memcpy(model, base, sizeof(base));
	fd = open(h.image, O_WRONLY | O_CLOEXEC);
	cr_assert_eq(pwrite(fd, base, sizeof(base), 0), (ssize_t)sizeof(base));
	close(fd);
	open_overlay(path, false);
	run_model(2000, NULL);
	cr_assert_eq(tolerated, 0);
	nh_close(&h);
	open_overlay(path, true); /* by another server, all of it */
	memset(data, 0, sizeof(data));
	for (unsigned s = 0; s < SLOTS; s++) {
		cr_assert_eq(nh_do(&h, BLK_READ, s * AREA, data[s], AREA), 0);
		cr_assert_arr_eq(data[s], model + s * AREA, AREA);
	}
	nh_close(&h);
	memcpy(model, base, sizeof(base));
	check_image();
}

Test(nbd, an_image_has_one_writer_and_what_is_no_qcow2_is_refused)
{
	char path[80];

	make_overlay(path, sizeof(path));
	open_overlay(path, false);
	expect(path, "qcow2", false, EIO, "lock");
	nh_close(&h);
	expect(h.image, "qcow2", false, EIO, "not in qcow2 format");
}

Test(nbd, a_qcow2_image_is_no_raw_disk_unless_one_says_so)
{
	struct sv_disk_spec spec = {0};
	struct sv_error err = {""};
	struct sv_disk disk;
	char path[80];

	make_overlay(path, sizeof(path));
	spec.path = path;
	cr_assert_eq(sv_disk_attach(&spec, &disk, &err), -EINVAL);
	cr_assert(strstr(err.text, "looks like a qcow2 image; say format=qcow2"), "%s", err.text);
	cr_assert_eq(disk.fd, -1);
	spec.format = "raw";
	truncate(path, 1 << 20);
	cr_assert_eq(sv_disk_attach(&spec, &disk, &err), 0, "%s", err.text);
	sv_disk_detach(&disk);
}
