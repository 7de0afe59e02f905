/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libnbd, loaded by a process that has a remote disk and by no other: it brings GnuTLS, libxml2 and
 * ICU along, 4 MB resident and milliseconds of start-up.
 */
#ifndef IO_NBD_LIBRARY_H
#define IO_NBD_LIBRARY_H

#include <libnbd.h>

#include <base/error.h>

/* Each is the function nbd_NAME of libnbd.h. */
#define NBD_CALLS(CALL) \
	CALL(create) CALL(close) CALL(get_error) CALL(set_export_name) \
	CALL(set_pread_initialize) CALL(aio_connect_socket) CALL(aio_get_fd) \
	CALL(aio_get_direction) CALL(aio_notify_read) CALL(aio_notify_write) CALL(aio_is_ready) \
	CALL(aio_is_dead) CALL(aio_is_closed) CALL(aio_disconnect) CALL(aio_pread) CALL(aio_pwrite) \
	CALL(aio_flush) CALL(aio_trim) CALL(aio_zero) CALL(get_size) CALL(get_block_size) \
	CALL(is_read_only) CALL(can_flush) CALL(can_fua) CALL(can_trim) CALL(can_zero) \
	CALL(can_multi_conn)

#define NBD_MEMBER(name) __typeof__(&nbd_##name) name;
struct nbd_calls {
	NBD_CALLS(NBD_MEMBER)
};
#undef NBD_MEMBER

/*
 * Load it, or find it loaded; a confined process can only find it. Return: the functions; NULL with a
 * sentence. Context: control thread.
 */
const struct nbd_calls *nbd_library(struct sv_error *err);

#endif
