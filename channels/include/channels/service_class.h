/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Services with an instance per VM. sidecore/ makes and ends instances without knowing what they are;
 * whoever composes the node (cli/) registers the classes.
 */
#ifndef CHANNELS_SERVICE_CLASS_H
#define CHANNELS_SERVICE_CLASS_H

#include <base/error.h>
#include <channels/control.h>
#include <channels/service.h>

struct sv_service_request {
	const uint64_t *arg; /* SV_CONTROL_SERVICE_ARGS of them: the VM process's words, unchecked */
	const int *fds;	     /* open() owns them when it succeeds */
	unsigned nfds;
	const struct sv_gmem *gmem; /* the VM's memory; lives longer than the instance */
	unsigned vcpus;
	const char *vm;
};

struct sv_service_class {
	const struct sv_service_ops *ops; /* called by every sidecore that polls a channel of the VM */
	/*
	 * Make an instance: *ctx is what the ops get. On failure no descriptor has been closed.
	 * Context: the control thread. Return: 0, or -errno with a sentence.
	 */
	int (*open)(const struct sv_service_request *req, void **ctx, struct sv_error *err);
	/* No op runs any more. */
	void (*close)(void *ctx);
};

#endif
