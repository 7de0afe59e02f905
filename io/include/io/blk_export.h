/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A disk for front ends that are not ours: QEMU, Cloud Hypervisor, User-mode Linux. A listening Unix
 * socket, one front end at a time; when it goes the next may come.
 */
#ifndef IO_BLK_EXPORT_H
#define IO_BLK_EXPORT_H

#include <stdbool.h>

#include <base/error.h>
#include <channels/device_class.h>

struct sv_blk_export;

struct sv_blk_export_config {
	const char *image;  /* opened and locked until the export is closed (base/disk.h) */
	const char *format; /* NULL: raw */
	const char *filters; /* base/disk.h: struct sv_disk_spec */
	const char *socket; /* created; a stale one is replaced, any other file is respected */
	uint32_t flags;	    /* SV_DEVICE_F_* */
	unsigned queues;    /* 0: one */
	const char *serial; /* at most 20 bytes; NULL: none */
	struct sv_control_qos qos;
	unsigned deadline_s; /* of a remote disk; 0: 30 */
};

/*
 * Open the image, listen, serve on @host. Context: control thread. Strings are copied.
 * Return: 0, or -errno with a sentence and nothing left behind.
 */
int sv_blk_export_open(struct sv_blk_export **out, const struct sv_blk_export_config *config,
	struct sv_poller_host *host, struct sv_error *err);
const char *sv_blk_export_name(const struct sv_blk_export *e);
/* Its stats and set ops, for the node; the handle is the export. */
extern const struct sv_device_class sv_blk_export_class;
/* End the session there is, remove the socket, release the image. Context: control thread. */
void sv_blk_export_close(struct sv_blk_export *e);

/*
 * `path=IMAGE,socket=SOCKET[,readonly][,direct][,discard][,writethrough][,in-order][,pinned]
 * [,iopoll][,queues=N][,serial=TEXT][,format=NAME][,deadline=SECONDS][,filters=LIST]` and the keys
 * of io/qos.h: the argument of `serve --blk`. @text is cut into pieces that *config then points to.
 * Return: 0, or -EINVAL with a sentence.
 */
int sv_blk_export_parse(char *text, struct sv_blk_export_config *config, struct sv_error *err);

#endif
