/* SPDX-License-Identifier: BSD-3-Clause */
#include "internal.h"

#define LINE 512u

static uint32_t console_lock;

static void write_bytes(const char *s, unsigned n)
{
	while (n) {
		uint64_t arg[5] = {n < SV_CONSOLE_INLINE_BYTES ? n : SV_CONSOLE_INLINE_BYTES};
		struct sv_cpl cpl;
		uint32_t status;
		uint64_t took;

		memcpy(&arg[1], s, arg[0]);
		status = lwk_call(SV_SERVICE_CONSOLE, SV_CONSOLE_WRITE, arg, &cpl);
		if (status != SV_STATUS_OK && status != SV_STATUS_AGAIN)
			return;
		took = status == SV_STATUS_OK ? cpl.value[0] : 0;
		if (took > arg[0])
			lwk_panic("the console took more than it was given");
		s += took;
		n -= (unsigned)took;
	}
}

struct line {
	char text[LINE];
	unsigned n;
};

static void put(struct line *l, char c)
{
	if (l->n < LINE)
		l->text[l->n++] = c;
}

static void put_number(struct line *l, uint64_t v, unsigned base, unsigned width, char pad)
{
	char digits[24];
	unsigned n = 0;

	do {
		digits[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	while (width > n) {
		put(l, pad);
		width--;
	}
	while (n)
		put(l, digits[--n]);
}

static void format(struct line *l, const char *fmt, va_list ap)
{
	for (; *fmt; fmt++) {
		unsigned width = 0, longs = 0;
		char pad = ' ';

		if (*fmt != '%') {
			put(l, *fmt);
			continue;
		}
		fmt++;
		if (*fmt == '0')
			pad = *fmt++;
		while (*fmt >= '0' && *fmt <= '9')
			width = width * 10 + (unsigned)(*fmt++ - '0');
		while (*fmt == 'l') {
			longs++;
			fmt++;
		}
		switch (*fmt) {
		case 's':
			for (const char *s = va_arg(ap, const char *); *s; s++)
				put(l, *s);
			break;
		case 'c':
			put(l, (char)va_arg(ap, int));
			break;
		case 'd': {
			int64_t v = longs ? va_arg(ap, int64_t) : va_arg(ap, int);

			if (v < 0)
				put(l, '-');
			put_number(l, v < 0 ? -(uint64_t)v : (uint64_t)v, 10, width, pad);
			break;
		}
		case 'u':
			put_number(l, longs ? va_arg(ap, uint64_t) : va_arg(ap, unsigned), 10, width, pad);
			break;
		case 'x':
			put_number(l, longs ? va_arg(ap, uint64_t) : va_arg(ap, unsigned), 16, width, pad);
			break;
		case 'p':
			put_number(l, (uint64_t)va_arg(ap, void *), 16, 16, '0');
			break;
		case 0:
			return;
		default:
			put(l, *fmt);
		}
	}
}

void lwk_printf(const char *fmt, ...)
{
	struct line l;
	unsigned turns = 0;
	va_list ap;

	l.n = 0;
	va_start(ap, fmt);
	format(&l, fmt, ap);
	va_end(ap);
	while (__atomic_exchange_n(&console_lock, 1, __ATOMIC_ACQUIRE))
		lwk_relax(&turns);
	write_bytes(l.text, l.n);
	__atomic_store_n(&console_lock, 0, __ATOMIC_RELEASE);
}

/* Without the channel, which may be what is broken: the early console, then an invalid instruction. */
void lwk_panic(const char *what)
{
	for (const char *s = what; *s; s++)
		lwk_kcall(LWK_KCALL_EARLY, (uint8_t)*s, 0);
	lwk_kcall(LWK_KCALL_EARLY, '\n', 0);
	__builtin_trap();
}
