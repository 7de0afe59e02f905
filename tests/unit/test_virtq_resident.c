/* SPDX-License-Identifier: BSD-3-Clause */
/* Chains and rings in memory that has not arrived yet. Pages that have not must not be touched. */
#include <criterion/criterion.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <io/virtq.h>

#include "inflight.h"
#include "inflight_packed.h"
#include "vq_driver.h"
#include "vq_packed_driver.h"

#define PAGE 4096u
#define PAGES 256u
#define SIZE 64u
#define RING 0x1000u
#define DATA 0x10000u
#define TABLE 0x8000u

/* Absent pages are PROT_NONE to the device: who touches one ends there. */
static uint8_t *driver_view, *device_view;
static bool present[PAGES], asked[PAGES];
static struct sv_gmem gm;
static struct sv_virtq vq;
static struct sv_virtq_chain chain;
static struct vqd drv;
static struct vqp packed_drv;
static struct sv_inflight split_record;
static struct sv_inflight_packed packed_record;
static uint64_t record_at[8192];

static bool resident(struct sv_residency *r, uint64_t gpa, uint64_t bytes)
{
	bool all = true;

	(void)r;
	for (uint64_t p = gpa / PAGE; p <= (gpa + bytes - 1) / PAGE; p++) {
		asked[p] |= !present[p];
		all &= present[p];
	}
	return all;
}

static struct sv_residency residency = {.resident = resident};

static void arrive(unsigned page, bool there)
{
	present[page] = there;
	cr_assert_eq(mprotect(device_view + page * PAGE, PAGE, there ? PROT_READ | PROT_WRITE : PROT_NONE),
		0);
}

static void all(bool there)
{
	memset(asked, 0, sizeof(asked));
	for (unsigned i = 0; i < PAGES; i++)
		arrive(i, there);
}

static void begin(bool there)
{
	all(there);
	sv_virtq_start(&vq, 0);
}

static void set_up(void)
{
	int fd = memfd_create("guest", 0);

	cr_assert_eq(ftruncate(fd, PAGES * PAGE), 0);
	driver_view = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	device_view = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	memset(&vq, 0, sizeof(vq));
	gm = (struct sv_gmem){.n = 1, .residency = &residency};
	gm.region[0] = (struct sv_gmem_region){.gpa = 0, .size = PAGES * PAGE, .host = device_view};
	vqd_init(&drv, driver_view, RING, SIZE, true);
	vq.gmem = &gm;
	vq.desc = device_view + drv.desc_gpa;
	vq.avail = device_view + drv.avail_gpa;
	vq.used = device_view + drv.used_gpa;
	vq.size = SIZE;
	vq.event_idx = vq.indirect = true;
}

TestSuite(virtq_resident, .init = set_up);

static int add(uint64_t table)
{
	struct vqd_buf b[2] = {{DATA, 512, false}, {DATA + PAGE - 16, 3 * PAGE, true}};
	int head = vqd_add(&drv, b, 2, table);

	vqd_publish(&drv);
	return head;
}

Test(virtq_resident, a_chain_waits_for_every_page_of_its_buffers)
{
	static const unsigned last = DATA / PAGE + 3;
	int head;

	begin(true);
	head = add(0);
	for (unsigned page = DATA / PAGE; page <= last; page++)
		arrive(page, false);
	for (unsigned page = DATA / PAGE; page <= last; page++) {
		cr_assert_eq(sv_virtq_take(&vq, &chain), SV_VIRTQ_EMPTY);
		cr_assert(sv_virtq_waiting(&vq));
		cr_assert(sv_virtq_arm(&vq), "it may not sleep on it");
		cr_assert(asked[last], "all of them are asked for at once");
		arrive(page, true);
	}
	cr_assert_eq(sv_virtq_take(&vq, &chain), SV_VIRTQ_ONE);
	cr_assert_eq(chain.head, head);
	cr_assert_eq(chain.writable_bytes, 3 * PAGE);
	sv_virtq_put(&vq, chain.head, 1);
	sv_virtq_publish(&vq);
	cr_assert_eq(vqd_get(&drv, NULL), head);
	cr_assert_eq(sv_virtq_take(&vq, &chain), SV_VIRTQ_EMPTY);
	cr_assert_eq(vq.stats.requests, 1);
}

Test(virtq_resident, an_indirect_table_is_not_read_before_it_is_there)
{
	begin(true);
	add(TABLE);
	arrive(TABLE / PAGE, false);
	cr_assert_eq(sv_virtq_take(&vq, &chain), SV_VIRTQ_EMPTY);
	cr_assert(asked[TABLE / PAGE]);
	cr_assert_eq(vq.broken, SV_VIRTQ_OK);
	arrive(TABLE / PAGE, true);
	cr_assert_eq(sv_virtq_take(&vq, &chain), SV_VIRTQ_ONE);
}

Test(virtq_resident, rings_that_have_not_arrived_are_not_touched)
{
	begin(false);
	cr_assert_eq(sv_virtq_position(&vq), 0);
	cr_assert_eq(sv_virtq_agains(&vq), 0);
	sv_virtq_suppress(&vq);
	cr_assert(sv_virtq_arm(&vq));
	cr_assert(sv_virtq_waiting(&vq));
	cr_assert_eq(sv_virtq_take(&vq, &chain), SV_VIRTQ_EMPTY);
	cr_assert(asked[RING / PAGE]);
	sv_virtq_publish(&vq);
	add(0);
	all(true);
	cr_assert_eq(sv_virtq_take(&vq, &chain), SV_VIRTQ_ONE);
	cr_assert_eq(sv_virtq_take(&vq, &chain), SV_VIRTQ_EMPTY);
}

/* --- with a record of what is in flight --------------------------------------------------------- */

static void set_up_packed(void)
{
	vqp_init(&packed_drv, driver_view, RING, SIZE, true);
	vq.desc = device_view + packed_drv.ring_gpa;
	vq.avail = device_view + packed_drv.driver_gpa;
	vq.used = device_view + packed_drv.device_gpa;
	vq.packed = true;
	vq.packed_record = &packed_record;
	packed_record.region = (void *)record_at;
	packed_record.room = SIZE;
}

static int add_packed(uint64_t gpa)
{
	int id = vqp_add(&packed_drv, &(struct vqd_buf){gpa, 512, true}, 1, 0);

	vqp_publish(&packed_drv);
	return id;
}

Test(virtq_resident, a_record_found_wrong_at_a_late_start_is_never_used)
{
	set_up_packed();
	all(true);
	sv_virtq_start(&vq, sv_virtq_first_base(true));
	all(false);
	packed_record.region->used.idx = SIZE;
	packed_record.region->free.head = packed_record.region->free.old_head = 0x7000;
	sv_virtq_start(&vq, sv_virtq_first_base(true));
	add_packed(DATA);
	cr_assert_eq(sv_virtq_take(&vq, &chain), SV_VIRTQ_EMPTY);
	all(true);
	cr_assert_eq(sv_virtq_take(&vq, &chain), SV_VIRTQ_BROKEN);
	cr_assert_eq(vq.broken, SV_VIRTQ_BAD_RECORD);
	cr_assert_eq(sv_virtq_take(&vq, &chain), SV_VIRTQ_BROKEN);
	cr_assert_eq(packed_record.nfree, 0);
}

Test(virtq_resident, a_late_queue_publishes_nothing_of_the_format_it_had_before)
{
	set_up_packed();
	vq.packed_record = NULL;
	all(true);
	sv_virtq_start(&vq, sv_virtq_first_base(true));
	add_packed(DATA);
	cr_assert_eq(sv_virtq_take(&vq, &chain), SV_VIRTQ_ONE);
	sv_virtq_put(&vq, chain.head, 1);
	sv_virtq_publish(&vq);
	vq.packed = false;
	vq.desc = device_view + drv.desc_gpa;
	vq.avail = device_view + drv.avail_gpa;
	vq.used = device_view + drv.used_gpa;
	begin(false);
	sv_virtq_publish(&vq);
	cr_assert_eq(vq.inflight, 0);
	cr_assert_eq(sv_virtq_take(&vq, &chain), SV_VIRTQ_EMPTY);
}

/* One chain is taken before the process ends, and is absent when a successor comes. */
static void waits_and_comes_again(int (*add_one)(void), uint32_t base, uint32_t base_later)
{
	int head;

	all(true);
	sv_virtq_start(&vq, base);
	head = add_one();
	cr_assert_eq(sv_virtq_take(&vq, &chain), SV_VIRTQ_ONE);
	arrive(DATA / PAGE, false);
	sv_virtq_start(&vq, base_later);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(sv_virtq_agains(&vq), 1);
		cr_assert_eq(sv_virtq_take(&vq, &chain), SV_VIRTQ_EMPTY);
		cr_assert(sv_virtq_waiting(&vq));
		cr_assert(sv_virtq_arm(&vq), "it may not sleep on it");
	}
	arrive(DATA / PAGE, true);
	cr_assert_eq(sv_virtq_take(&vq, &chain), SV_VIRTQ_ONE);
	cr_assert_eq(chain.head, head);
	cr_assert_eq(sv_virtq_agains(&vq), 0);
	cr_assert_eq(sv_virtq_take(&vq, &chain), SV_VIRTQ_EMPTY);
	cr_assert_not(sv_virtq_arm(&vq));
}

static int add_split(void)
{
	return add(0);
}

static int add_one_packed(void)
{
	return add_packed(DATA);
}

Test(virtq_resident, a_predecessors_chain_waits_for_its_buffers)
{
	vq.record = &split_record;
	split_record.split = (void *)record_at;
	split_record.room = SIZE;
	waits_and_comes_again(add_split, 0, 0);
}

Test(virtq_resident, a_predecessors_chain_of_a_packed_queue_waits_for_its_buffers)
{
	set_up_packed();
	waits_and_comes_again(add_one_packed, sv_virtq_first_base(true), sv_virtq_first_base(true));
}
