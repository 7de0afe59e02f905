/* SPDX-License-Identifier: BSD-3-Clause */
#include "console.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices.h"

#define ESCAPE 1 /* Ctrl-A */

int sv_console_open(struct sv_console_relay *c, struct sv_vm *vm, struct sv_error *err)
{
	enum sv_console kind = vm->config->console;
	struct termios raw;
	int pair[2];

	*c = (struct sv_console_relay){.vm = vm, .far = -1, .far_remote = -1};
	c->in_open = kind != SV_CONSOLE_NONE;
	c->out_open = kind != SV_CONSOLE_NONE;
	if (kind == SV_CONSOLE_STDIO) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
			return sv_fail(err, errno, "socketpair: %s", strerror(errno));
		c->far = pair[0];
		c->far_remote = pair[1];
	}
	if (c->in_open && isatty(0) && tcgetattr(0, &c->saved) == 0) {
		raw = c->saved;
		cfmakeraw(&raw);
		raw.c_oflag |= OPOST; /* a line feed of ours still returns the carriage */
		c->raw = tcsetattr(0, TCSANOW, &raw) == 0;
	}
	return 0;
}

void sv_console_close(struct sv_console_relay *c)
{
	if (c->raw)
		tcsetattr(0, TCSANOW, &c->saved);
	if (c->far >= 0)
		close(c->far);
	if (c->far_remote >= 0)
		close(c->far_remote);
	c->raw = false;
	c->far = c->far_remote = -1;
}

unsigned sv_console_poll_fds(struct sv_console_relay *c, struct pollfd *p)
{
	short far = 0;

	p[0] = (struct pollfd){.fd = c->in_open && c->in_len == 0 ? 0 : -1, .events = POLLIN};
	p[1] = (struct pollfd){.fd = c->out_len ? 1 : -1, .events = POLLOUT};
	if (c->far >= 0)
		far = (short)((c->out_len < sizeof(c->out) ? POLLIN : 0) | (c->in_len ? POLLOUT : 0));
	p[2] = (struct pollfd){.fd = far ? c->far : -1, .events = far};
	return 3;
}

/* Take the escape sequence out of what was typed. */
static void filter_input(struct sv_console_relay *c, const char *bytes, ssize_t n)
{
	for (ssize_t i = 0; i < n; i++) {
		if (c->raw && !c->escape && bytes[i] == ESCAPE) {
			c->escape = true;
			continue;
		}
		if (c->escape && bytes[i] == 'x')
			sv_vm_end(c->vm, SV_END_STOPPED, 0, NULL);
		else
			c->in[c->in_len++] = bytes[i];
		c->escape = false;
	}
}

static void give_input(struct sv_console_relay *c)
{
	ssize_t n;

	if (!c->in_len)
		return;
	if (c->far >= 0)
		n = send(c->far, c->in, c->in_len, MSG_NOSIGNAL | MSG_DONTWAIT);
	else
		n = sv_serial_input(c->vm, c->in, c->in_len);
	if (n > 0) {
		c->in_len -= (unsigned)n;
		memmove(c->in, c->in + n, c->in_len);
	} else if (n < 0 && errno != EAGAIN) {
		c->in_len = 0;
	}
}

static void flush_output(struct sv_console_relay *c)
{
	ssize_t n;

	if (!c->out_len)
		return;
	n = write(1, c->out, c->out_len);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		c->out_len = 0;
		c->out_open = false;
	}
	if (n > 0) {
		c->out_len -= (unsigned)n;
		memmove(c->out, c->out + n, c->out_len);
	}
}

static bool take_output(struct sv_console_relay *c)
{
	ssize_t n = recv(c->far, c->out + c->out_len, sizeof(c->out) - c->out_len, MSG_DONTWAIT);

	if (n <= 0)
		return false;
	if (c->out_open)
		c->out_len += (unsigned)n;
	return true;
}

void sv_console_polled(struct sv_console_relay *c, const struct pollfd *p, unsigned n)
{
	char bytes[CONSOLE_BUFFER / 2];
	ssize_t got;

	(void)n;
	if (p[0].fd >= 0 && p[0].revents) {
		got = read(0, bytes, sizeof(bytes));
		if (got > 0)
			filter_input(c, bytes, got);
		else if (got == 0 || (errno != EAGAIN && errno != EINTR))
			c->in_open = false;
	}
	give_input(c);
	if (p[2].fd >= 0 && (p[2].revents & POLLIN))
		take_output(c);
	if (p[1].fd >= 0 && p[1].revents)
		flush_output(c);
}

void sv_console_drain(struct sv_console_relay *c, int ms)
{
	struct pollfd out = {.fd = 1, .events = POLLOUT};

	do {
		while (c->far >= 0 && c->out_len < sizeof(c->out) && take_output(c))
			;
		if (!c->out_len)
			return;
		if (poll(&out, 1, ms) <= 0)
			return;
		flush_output(c);
	} while (c->out_open);
}
