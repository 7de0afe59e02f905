/* SPDX-License-Identifier: BSD-3-Clause */
/* The poller of a unit: faults in, requests out, pages into the guest, reports to the VM process. */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define LOOK_EVERY 16u	    /* polls between two looks that are system calls */
#define EVENTS 16u	    /* faults taken at a time */
#define DEADLINE_EVERY 256u /* looks between two looks at the clock */
#define REPORT_NS 100000000u

static struct unit *unit_of(struct sv_poller *p)
{
	return (struct unit *)(void *)p;
}

/* --- reports --------------------------------------------------------------------------------- */

static void report(struct unit *u, enum sv_pager_kind kind)
{
	struct sv_pager_report r = {.magic = SV_PAGER_MAGIC, .unit = u->number, .kind = kind,
		.counts = u->counts};

	memcpy(r.text, u->why, sizeof(r.text));
	/* EAGAIN: the VM process is busy. What must be known is said again. */
	u->owes_report = send(u->report, &r, sizeof(r), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
			 errno == EAGAIN && kind != SV_PAGER_PROGRESS;
}

static void report_progress(struct unit *u, uint64_t now)
{
	sv_store_relaxed(&u->counts.elapsed_ns, now - u->started_ns);
	if (now - u->reported_ns < REPORT_NS)
		return;
	u->reported_ns = now;
	report(u, SV_PAGER_PROGRESS);
}

static void report_end(struct unit *u)
{
	report(u, u->state == UNIT_LOST ? SV_PAGER_LOST : SV_PAGER_DONE);
}

/* A fault after DONE may be somebody's who touches what was given back; after LOST it waits for the VM's end. */
void unit_end(struct unit *u, enum unit_state how)
{
	epoll_ctl(u->wake_fd, EPOLL_CTL_DEL, u->source_wake, NULL);
	if (how != UNIT_DONE)
		epoll_ctl(u->wake_fd, EPOLL_CTL_DEL, u->uffd, NULL);
	if (u->source_fd >= 0)
		close(u->source_fd);
	u->source_fd = -1;
	sv_store_release(&u->state, (unsigned)how);
}

void unit_lost(struct unit *u, const char *fmt, ...)
{
	va_list ap;

	if (u->state >= UNIT_DONE)
		return;
	va_start(ap, fmt);
	vsnprintf(u->why, sizeof(u->why), fmt, ap);
	va_end(ap);
	unit_end(u, UNIT_LOST);
	report_end(u);
}

/* --- who waits ------------------------------------------------------------------------------- */

static void take_fault(struct unit *u, const struct uffd_msg *m)
{
	uint64_t page = (m->arg.pagefault.address - u->user_addr) / PAGE;

	/* It is the VM's own descriptor: what it says of other memory is its own matter. */
	if (m->event != UFFD_EVENT_PAGEFAULT || m->arg.pagefault.address < u->user_addr ||
		page >= u->pages)
		return;
	count(&u->counts.faults, 1);
	if (bit(u->present, page))
		fetch_again(u, page);
	else
		order_demand(u, page); /* there is room: see take_faults() */
}

/*
 * The VM process shares the descriptor and its O_NONBLOCK: say it per call, where the kernel lets us
 * (6.11); before that, at least look.
 */
static ssize_t read_faults(struct unit *u, struct uffd_msg *m, size_t bytes)
{
	struct iovec iov = {.iov_base = m, .iov_len = bytes};
	ssize_t n = u->plain_read ? -1 : preadv2(u->uffd, &iov, 1, -1, RWF_NOWAIT);

	if (n >= 0 || (!u->plain_read && errno != EOPNOTSUPP && errno != ENOSYS))
		return n;
	u->plain_read = true;
	return fcntl(u->uffd, F_GETFL) & O_NONBLOCK ? read(u->uffd, m, bytes) : -1;
}

static bool take_faults(struct unit *u)
{
	struct uffd_msg m[EVENTS];
	ssize_t n;

	if (DEMANDS - u->demands < EVENTS)
		return false;
	n = read_faults(u, m, sizeof(m));
	for (ssize_t i = 0; i < n / (ssize_t)sizeof(m[0]); i++)
		take_fault(u, &m[i]);
	return n > 0;
}

/* Pages that devices asked for. The flag goes first: what comes meanwhile is found the next time. */
static bool take_wants(struct unit *u)
{
	bool did = false;

	if (!sv_load_relaxed(&u->wanted))
		return false;
	sv_exchange_full(&u->wanted, 0u);
	for (unsigned i = 0; i < WANTS; i++) {
		uint64_t page = sv_load_acquire(&u->want[i]);

		if (!page)
			continue;
		if (!bit(u->present, page - 1) && !order_demand(u, page - 1)) {
			sv_store_release(&u->wanted, 1u);
			break;
		}
		sv_store_release(&u->want[i], 0);
		count(&u->counts.waits, 1);
		did = true;
	}
	return did;
}

/* --- the poller ------------------------------------------------------------------------------ */

static bool look(struct unit *u)
{
	struct sv_error err = {""};
	bool did = take_faults(u);
	int rc = u->source->look(u, &err);

	if (rc < 0)
		unit_lost(u, "%s", err.text);
	if (rc > 0)
		u->heard_ns = now_ns();
	if (u->turn % (LOOK_EVERY * DEADLINE_EVERY) == 0)
		fetch_check_deadlines(u);
	return did || rc > 0;
}

/* Everything is there. Is it what it was in the beginning? */
static bool end(struct unit *u)
{
	struct sv_error err = {""};
	int rc = u->source->look(u, &err);

	if (rc >= 0)
		rc = u->source->same(u, &err);
	if (rc < 0) {
		unit_lost(u, "%s", err.text);
	} else if (rc > 0) {
		sv_store_relaxed(&u->counts.elapsed_ns, now_ns() - u->started_ns);
		unit_end(u, UNIT_DONE);
		report_end(u);
	} else {
		take_faults(u);
	}
	return rc != 0;
}

static enum sv_poll unit_poll(struct sv_poller *p, unsigned budget)
{
	struct unit *u = unit_of(p);
	bool did = false;

	u->turn++;
	if (u->owes_report && u->turn % LOOK_EVERY == 0)
		report_end(u);
	if (u->state == UNIT_ENDING)
		return end(u) ? SV_POLL_BUSY : SV_POLL_IDLE;
	if (u->state == UNIT_DONE && u->turn % LOOK_EVERY == 0)
		return take_faults(u) ? SV_POLL_BUSY : SV_POLL_IDLE; /* until it is unregistered */
	if (u->state != UNIT_RUNNING)
		return SV_POLL_IDLE;
	did |= take_wants(u);
	if (u->turn % LOOK_EVERY == 0)
		did |= look(u);
	if (u->state == UNIT_RUNNING)
		did |= fetch_insert(u, budget);
	if (u->state == UNIT_RUNNING)
		did |= order_start(u);
	if (did && u->state == UNIT_RUNNING)
		report_progress(u, now_ns());
	if (u->state == UNIT_RUNNING && u->counts.present == u->counts.pages)
		sv_store_release(&u->state, (unsigned)UNIT_ENDING);
	return did ? SV_POLL_BUSY : SV_POLL_IDLE;
}

static bool arrived(const struct unit *u)
{
	for (unsigned i = 0; i < FETCHES; i++)
		if (u->fetch[i].state == FETCH_ARRIVED)
			return true;
	return false;
}

/* Descriptors are watched by level: what came before is no reason to look again here. */
static bool unit_arm(struct sv_poller *p)
{
	struct unit *u = unit_of(p);

	if (u->state >= UNIT_DONE)
		return u->owes_report;
	sv_exchange_full(&u->sleeping, 1u);
	u->turn = LOOK_EVERY * DEADLINE_EVERY - 1; /* look at everything after the sleep */
	return sv_load_full(&u->wanted) || u->demands || arrived(u) || u->state == UNIT_ENDING;
}

static void unit_disarm(struct sv_poller *p)
{
	struct unit *u = unit_of(p);
	uint64_t drain;

	sv_store_release(&u->sleeping, 0u);
	if (read(u->want_fd, &drain, sizeof(drain)) < 0)
		return; /* nothing there */
}

const struct sv_poller_ops unit_ops = {
	.service = "pager", .poll = unit_poll, .arm = unit_arm, .disarm = unit_disarm};
