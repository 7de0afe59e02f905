/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening the image of a disk: a regular file or a block device, locked against a second user. */
#ifndef BASE_DISK_H
#define BASE_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include <base/dial.h>
#include <base/error.h>

#define SV_DISK_SECTOR 512u

/*
 * Open, check and lock. The lock belongs to the open file and travels with its descriptor: it is
 * exclusive for a writer, shared for readers, and ends when the last copy is closed, however that
 * happens. @direct: bypass the host's page cache. *bytes: size, a multiple of 512.
 * Context: set-up; may block on the storage. Return: 0, or -errno with a sentence.
 */
int sv_disk_open(const char *path, bool readonly, bool direct, int *fd, uint64_t *bytes,
	struct sv_error *err);

struct sv_disk_spec {
	const char *path;   /* of a file or block device, or the address of an NBD export */
	const char *format; /* NULL: raw, unless its content says otherwise, which is refused; raw; qcow2 */
	bool readonly, direct;
	const char *filters; /* NAME:FILE[+NAME:FILE...], next to the guest first (io/filter.h); NULL */
};

#define SV_DISK_FILTERS 4u
#define SV_DISK_FDS (1 + SV_DISK_FILTERS)

struct sv_disk {
	int fd; /* the image; remote: the socket of the dialer (base/dial.h) */
	bool remote;
	/* What each filter works with, from now until the disk is detached; -1: none. */
	int filter_fd[SV_DISK_FILTERS];
	char filters[64]; /* their names: NAME[+NAME...] */
	struct sv_export export; /* remote: what it serves */
};

/* Would it be behind a server? */
bool sv_disk_is_remote(const char *path, const char *format);
/*
 * Open whatever kind of disk @spec names. Context: set-up; may block on storage and network, 15 s at
 * most on the latter. Return: 0, or -errno with a sentence.
 */
int sv_disk_attach(const struct sv_disk_spec *spec, struct sv_disk *disk, struct sv_error *err);
/* The image and what its filters work with. @fds: SV_DISK_FDS. Return: how many. */
unsigned sv_disk_fds(const struct sv_disk *disk, int *fds);
/*
 * Does the kernel say that completions of a raw image's storage cannot be polled for? Before Linux 6.13
 * it says so nowhere else: transfers that ask for it interrupt. Said on standard error as of disk @name.
 * Context: set-up, where /sys can be read. Return: false as well if nothing says either.
 */
bool sv_disk_unpolled(const struct sv_disk *disk, const char *name);
/* The sentence. */
void sv_disk_say_unpolled(const char *name, const char *why);
/* A server that was started for it has let go of its image on return. */
void sv_disk_detach(struct sv_disk *disk);

#endif
