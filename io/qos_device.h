/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device's flow in the scheduler of its sidecore: io/qos.h with a clock, a timer, and the text that
 * users write and read. One scheduler per sidecore, made when its first device comes.
 */
#ifndef IO_QOS_DEVICE_H
#define IO_QOS_DEVICE_H

#include <channels/device_class.h>
#include <io/qos.h>

struct qos_device {
	struct sv_qos_flow *flow; /* NULL: not open */
	struct sv_poller_host *host;
	int timer; /* readable when a maximum lets the next request pass: a wake descriptor */
	bool timed; /* it is set. The polling thread's */
};

/*
 * @store: what requests end at; the same number for devices that share it. @least: bytes that the
 * smallest request counts for. @wish: as the device request says. Context: control thread. Return: 0, or -errno with a sentence.
 */
int qos_device_open(struct qos_device *d, struct sv_poller_host *host, uint64_t store,
	uint32_t least, const struct sv_control_qos *wish, struct sv_error *err);
/* The device is polled no more. May be called twice. Context: control thread. */
void qos_device_close(struct qos_device *d);

/* Return: as sv_device_class.set. */
int qos_device_set(struct qos_device *d, const char *key, const char *value, struct sv_error *err);
/*
 * Parameters and counters as a JSON object that the caller frees, or NULL. @latencies: too; of a device
 * that ends its requests within the visit that takes them they say nothing. Context: control thread.
 */
char *qos_device_json(const struct qos_device *d, bool latencies);

/* As a device's stats say it when there is no device yet: settings alone. */
char *qos_wish_json(const struct sv_control_qos *wish);

/* --- the polling thread's -------------------------------------------------------------------- */

/* A visit begins, or has gone on for a while. */
void qos_device_visit(struct qos_device *d);
void qos_device_tick(struct qos_device *d);

/*
 * The sidecore is about to sleep. Return: the device need not be asked for kicks, as it would not take
 * more than it knows of already: *pending then says whether it must be polled at once.
 */
bool qos_device_arm(struct qos_device *d, bool *pending);
void qos_device_disarm(struct qos_device *d);

#endif
