/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An MC146818: the host's clock in UTC plus what the guest set it ahead by, an alarm, and the
 * update-ended interrupt. The rest of its RAM keeps what is written. No periodic interrupt.
 */
#include "platform.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "devices.h"
#include "layout.h"

#define PORTS 2u
#define CMOS_BYTES 128u
#define NS 1000000000l
#define UPDATE_NS 244000l /* before a second ends, the update is announced */

enum {
	SECONDS,
	SECONDS_ALARM,
	MINUTES,
	MINUTES_ALARM,
	HOURS,
	HOURS_ALARM,
	WEEKDAY,
	DAY,
	MONTH,
	YEAR,
	STATUS_A,
	STATUS_B,
	STATUS_C,
	STATUS_D,
	CENTURY = 0x32,
};

#define A_DIVIDER 0x26u /* 32768 Hz, 1024 Hz periodic */
#define A_UPDATING 0x80u
#define B_SET 0x80u
#define B_ALARM 0x20u
#define B_UPDATE_ENDED 0x10u
#define B_BINARY 0x04u
#define B_24H 0x02u
#define B_WRITABLE (B_SET | B_ALARM | B_UPDATE_ENDED | B_BINARY | B_24H)
#define C_INTERRUPT 0x80u
#define C_ALARM 0x20u
#define C_UPDATE_ENDED 0x10u
#define D_VALID 0x80u
#define HOUR_PM 0x80u
#define ANY 0xc0u /* in an alarm register: any value */

struct sv_rtc {
	struct sv_vm *vm;
	int timer;
	pthread_mutex_t lock; /* all below */
	uint8_t index, cmos[CMOS_BYTES];
	int64_t ahead_s; /* of the host's clock */
	bool ticking;
};

/* --- time as registers ----------------------------------------------------------------------------- */

static struct timespec now(const struct sv_rtc *r)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += r->ahead_s;
	return ts;
}

static uint8_t encode(const struct sv_rtc *r, int v)
{
	unsigned u = (unsigned)v % 100; /* whatever year the guest set */

	if (r->cmos[STATUS_B] & B_BINARY)
		return (uint8_t)u;
	return (uint8_t)(u / 10 << 4 | u % 10);
}

static int decode(const struct sv_rtc *r, uint8_t v)
{
	return r->cmos[STATUS_B] & B_BINARY ? v : (v >> 4) * 10 + (v & 15);
}

static uint8_t encode_hour(const struct sv_rtc *r, int hour)
{
	if (r->cmos[STATUS_B] & B_24H)
		return encode(r, hour);
	return (uint8_t)(encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0));
}

static int decode_hour(const struct sv_rtc *r, uint8_t v)
{
	if (r->cmos[STATUS_B] & B_24H)
		return decode(r, v);
	return decode(r, v & (uint8_t)~HOUR_PM) % 12 + (v & HOUR_PM ? 12 : 0);
}

/* The time registers follow the clock, unless the guest is about to set them. */
static void refresh(struct sv_rtc *r)
{
	time_t t = now(r).tv_sec;
	struct tm tm;

	if ((r->cmos[STATUS_B] & B_SET) || !gmtime_r(&t, &tm))
		return;
	r->cmos[SECONDS] = encode(r, tm.tm_sec);
	r->cmos[MINUTES] = encode(r, tm.tm_min);
	r->cmos[HOURS] = encode_hour(r, tm.tm_hour);
	r->cmos[WEEKDAY] = encode(r, tm.tm_wday + 1);
	r->cmos[DAY] = encode(r, tm.tm_mday);
	r->cmos[MONTH] = encode(r, tm.tm_mon + 1);
	r->cmos[YEAR] = encode(r, tm.tm_year % 100);
	r->cmos[CENTURY] = encode(r, (tm.tm_year + 1900) / 100);
}

/* What the registers say becomes the time. Nonsense is normalised by the calendar. */
static void take_time(struct sv_rtc *r)
{
	struct tm tm = {
		.tm_sec = decode(r, r->cmos[SECONDS]),
		.tm_min = decode(r, r->cmos[MINUTES]),
		.tm_hour = decode_hour(r, r->cmos[HOURS]),
		.tm_mday = decode(r, r->cmos[DAY]),
		.tm_mon = decode(r, r->cmos[MONTH]) - 1,
		.tm_year = decode(r, r->cmos[CENTURY]) * 100 + decode(r, r->cmos[YEAR]) - 1900,
	};

	r->ahead_s = timegm(&tm) - time(NULL);
}

/* --- interrupts ------------------------------------------------------------------------------------ */

static bool alarm_field(const struct sv_rtc *r, unsigned alarm, unsigned field)
{
	return (r->cmos[alarm] & ANY) == ANY || r->cmos[alarm] == r->cmos[field];
}

/* The timer runs only while somebody waits for it. */
static void update_timer(struct sv_rtc *r)
{
	bool want = (r->cmos[STATUS_B] & (B_ALARM | B_UPDATE_ENDED)) && !(r->cmos[STATUS_B] & B_SET);
	struct itimerspec its = {.it_value = {0}};

	if (want == r->ticking)
		return;
	r->ticking = want;
	if (want) {
		its.it_interval.tv_sec = 1;
		its.it_value.tv_nsec = NS - now(r).tv_nsec;
		if (its.it_value.tv_nsec == NS)
			its.it_value = (struct timespec){.tv_sec = 1};
	}
	timerfd_settime(r->timer, 0, &its, NULL);
}

static void update_line(struct sv_rtc *r)
{
	bool on = r->cmos[STATUS_C] & r->cmos[STATUS_B] & (C_ALARM | C_UPDATE_ENDED);

	r->cmos[STATUS_C] = (uint8_t)((r->cmos[STATUS_C] & ~C_INTERRUPT) | (on ? C_INTERRUPT : 0));
	sv_irq_line(r->vm, GSI_RTC, on);
}

int sv_rtc_poll_fd(const struct sv_rtc *r)
{
	return r->timer;
}

void sv_rtc_tick(struct sv_rtc *r)
{
	uint64_t n;

	if (read(r->timer, &n, sizeof(n)) != sizeof(n))
		return;
	pthread_mutex_lock(&r->lock);
	refresh(r);
	r->cmos[STATUS_C] |= C_UPDATE_ENDED;
	if (alarm_field(r, SECONDS_ALARM, SECONDS) && alarm_field(r, MINUTES_ALARM, MINUTES) &&
		alarm_field(r, HOURS_ALARM, HOURS))
		r->cmos[STATUS_C] |= C_ALARM;
	update_line(r);
	pthread_mutex_unlock(&r->lock);
}

/* --- registers ------------------------------------------------------------------------------------- */

static uint8_t read_register(struct sv_rtc *r, unsigned i)
{
	uint8_t v;

	switch (i) {
	case STATUS_A:
		v = r->cmos[STATUS_A];
		if (!(r->cmos[STATUS_B] & B_SET) && now(r).tv_nsec >= NS - UPDATE_NS)
			v |= A_UPDATING;
		return v;
	case STATUS_C:
		v = r->cmos[STATUS_C];
		r->cmos[STATUS_C] = 0;
		update_line(r);
		return v;
	case STATUS_D:
		return D_VALID;
	default:
		refresh(r);
		return r->cmos[i];
	}
}

static bool is_time(unsigned i)
{
	return i == CENTURY || (i <= YEAR && i != SECONDS_ALARM && i != MINUTES_ALARM &&
				       i != HOURS_ALARM);
}

static void write_register(struct sv_rtc *r, unsigned i, uint8_t v)
{
	uint8_t old = r->cmos[STATUS_B];

	switch (i) {
	case STATUS_A:
		r->cmos[STATUS_A] = v & (uint8_t)~A_UPDATING;
		break;
	case STATUS_B:
		refresh(r);
		if ((old & B_SET) && !(v & B_SET))
			take_time(r);
		r->cmos[STATUS_B] = v & B_WRITABLE;
		update_timer(r);
		update_line(r);
		break;
	case STATUS_C:
	case STATUS_D:
		break;
	default:
		refresh(r);
		r->cmos[i] = v;
		if (is_time(i) && !(old & B_SET))
			take_time(r);
		break;
	}
}

static void rtc_read(void *dev, uint64_t off, void *data, unsigned len)
{
	struct sv_rtc *r = dev;

	memset(data, 0xff, len);
	if (off != 1 || len != 1)
		return;
	pthread_mutex_lock(&r->lock);
	*(uint8_t *)data = read_register(r, r->index);
	pthread_mutex_unlock(&r->lock);
}

static void rtc_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	const uint8_t *v = data;
	struct sv_rtc *r = dev;

	pthread_mutex_lock(&r->lock);
	if (off == 0)
		r->index = v[0] % CMOS_BYTES; /* the top bit masks NMIs, of which there are none */
	if (off + len == PORTS)
		write_register(r, r->index, v[len - 1]);
	pthread_mutex_unlock(&r->lock);
}

/* --- life ------------------------------------------------------------------------------------------ */

static const struct sv_bus_ops rtc_ops = {rtc_read, rtc_write};

struct sv_rtc *sv_rtc_create(struct sv_vm *vm, struct sv_error *err)
{
	struct sv_rtc *r = calloc(1, sizeof(*r));
	int rc = 0;

	if (!r) {
		sv_fail(err, ENOMEM, "out of memory");
		return NULL;
	}
	r->vm = vm;
	r->cmos[STATUS_A] = A_DIVIDER;
	r->cmos[STATUS_B] = B_24H;
	r->timer = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (r->timer < 0)
		rc = -errno;
	else
		rc = sv_bus_add(&vm->pio, PORT_RTC, PORTS, &rtc_ops, r);
	if (rc < 0) {
		sv_fail(err, -rc, "the real-time clock: %s", strerror(-rc));
		if (r->timer >= 0)
			close(r->timer);
		free(r);
		return NULL;
	}
	pthread_mutex_init(&r->lock, NULL);
	return r;
}

void sv_rtc_destroy(struct sv_rtc *r)
{
	close(r->timer);
	pthread_mutex_destroy(&r->lock);
	free(r);
}
