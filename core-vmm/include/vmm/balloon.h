/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that the guest gives back: the device's protocol is served by whoever composes the VM process
 * (vmm/vmm.h has no virtqueues), what becomes of the memory is decided here.
 */
#ifndef VMM_BALLOON_H
#define VMM_BALLOON_H

#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>
#include <base/gmem.h>

/* What the VM process does. Context of every call: the one thread that serves the device. */
struct sv_vmm_memory_ops {
	/* To be called once: run where such work belongs. */
	void (*enter)(void *vm);
	/* 4 KiB at @gpa are the balloon's, or the guest's again: it may use them after settle(). */
	void (*inflate)(void *vm, uint64_t gpa);
	void (*deflate)(void *vm, uint64_t gpa);
	/* The guest does not use [gpa, gpa + bytes) and does not say when it does again. */
	void (*report)(void *vm, uint64_t gpa, uint64_t bytes);
	/* Before what was told is answered. */
	void (*settle)(void *vm);
	/* Now and then. Return: milliseconds until it should be called again; -1: not by itself. */
	int (*tick)(void *vm);
};

struct sv_vmm_balloon {
	/*
	 * Serve the device on a thread of its own. *sock: the front end's end of a vhost-user connection.
	 * Return: 0, or -errno with a sentence.
	 */
	int (*open)(const struct sv_vmm_memory_ops *ops, void *vm, const struct sv_gmem *ram,
		const char *name, int *sock, void **handle, struct sv_error *err);
	/* The guest is to give back @bytes of its memory in all; it learns of it by its configuration. */
	void (*set_target)(void *handle, uint64_t bytes);
	/* What it has given, by its own word. */
	uint64_t (*actual)(void *handle);
	void (*close)(void *handle);
};

/* Before sv_vmm_run(). */
void sv_vmm_set_balloon(const struct sv_vmm_balloon *balloon);

#endif
