/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The last rung of the ladder, on the host only: sleep in the kernel until an eventfd is written.
 * The protocol around it (who sets what before, who looks again) is sv_server_arm() of server.h.
 */
#ifndef CHANNELS_WAIT_SLEEP_H
#define CHANNELS_WAIT_SLEEP_H

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

/*
 * Sleep until @fd (a non-blocking eventfd) is readable, and take what is in it, or until
 * @timeout_ns have passed. Context: host threads; blocks.
 * Return: 1 when it was written, 0 when the time was over or a signal came, -errno.
 */
static inline int sv_wait_eventfd(int fd, int64_t timeout_ns)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct timespec t = {.tv_sec = (time_t)(timeout_ns / 1000000000),
		.tv_nsec = (long)(timeout_ns % 1000000000)};
	uint64_t drained;
	int n = ppoll(&p, 1, &t, NULL);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	if (n == 0)
		return 0;
	if (p.revents & (POLLNVAL | POLLERR))
		return -EBADF;
	if (read(fd, &drained, sizeof(drained)) < 0)
		return errno == EAGAIN ? 0 : -errno;
	return 1;
}

#endif
