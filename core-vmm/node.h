/* SPDX-License-Identifier: BSD-3-Clause */
/* The VM process's end of the control protocol (channels/control.h). */
#ifndef CORE_VMM_NODE_H
#define CORE_VMM_NODE_H

#include <channels/control.h>

#include "devices.h"
#include "vm.h"

/*
 * The socket is readable although nobody asked anything: drop replies that came after their request had
 * been given up. Does not block. Return: 0, or -errno: the connection has ended.
 */
int sv_node_drain(int sock);
/* Tell the node the VM's memory. Return: 0, or -errno with a sentence. */
int sv_node_memory(int sock, const struct sv_vm *vm, struct sv_error *err);
/* Where the console service of the channels goes. @fd: sent, stays the caller's. */
int sv_node_console(int sock, int fd, struct sv_error *err);
/*
 * One channel per vCPU, each with a doorbell (ioeventfd at vm->doorbell_gpa). *doorbells: the
 * eventfds, vm->nvcpus of them, the caller's.
 */
int sv_node_channels(int sock, struct sv_vm *vm, int *doorbells, struct sv_error *err);
/* An instance of a service (channels/service_class.h). @fds: sent, stay the caller's. */
int sv_node_service(int sock, uint32_t id, const uint64_t *arg, const int *fds, unsigned nfds,
	struct sv_error *err);
/* One unit of the pager (channels/control.h). @fds: sent, stay the caller's. */
int sv_node_pager(int sock, const struct sv_control_pager *unit, const int *fds, unsigned nfds,
	struct sv_error *err);
int sv_node_start(int sock, struct sv_error *err);

/* sv_device_link over a control connection; ctx: pointer to the socket. */
int sv_node_connect_device(void *ctx, const void *control_device, const int *fds, unsigned nfds,
	struct sv_error *err);

#endif
