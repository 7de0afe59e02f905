/* SPDX-License-Identifier: BSD-3-Clause */
/* The front end's memory: checked, mapped, found by either of its two addresses. */
#ifndef IO_VHOST_MEM_H
#define IO_VHOST_MEM_H

#include <channels/vhost_user.h>
#include <io/vhost.h>

/*
 * Check one region against its descriptor and the table, map it, add it. The descriptor stays the
 * caller's. Context: control thread, queues not polled. Return: 0, or -errno with a sentence.
 */
int sv_vhost_mem_add(struct sv_vhost *v, const struct vu_region *r, int fd, struct sv_error *err);
/* Return: 0, or -ENOENT with a sentence. */
int sv_vhost_mem_remove(struct sv_vhost *v, const struct vu_region *r, struct sv_error *err);
void sv_vhost_mem_clear(struct sv_vhost *v);

/* Host pointer of @len bytes at a front-end address; NULL unless inside one region and aligned. */
void *sv_vhost_mem_user(const struct sv_vhost *v, uint64_t user_addr, uint64_t len,
	unsigned align);

#endif
