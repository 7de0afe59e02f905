/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the kernel enters CPL 3: vCPU 0 runs the application that the command line names. */
#include <lwk/lwk.h>

#include "internal.h"

struct sv_boot lwk_boot;
uint64_t lwk_timer_count[LWK_MAX_VCPUS]; /* written by the kernel's interrupt handler */

uint64_t lwk_kcall(enum lwk_kcall nr, uint64_t rdi, uint64_t rsi)
{
	uint64_t rax = 0x4c574b43ull << 32 | nr;

	__asm__ volatile("ud2" : "+a"(rax) : "D"(rdi), "S"(rsi) : "memory");
	return rax;
}

void lwk_exit(int status)
{
	lwk_kcall(LWK_KCALL_EXIT, (uint64_t)(uint32_t)status, 0);
	__builtin_unreachable();
}

uint64_t lwk_timer_interrupts(void)
{
	return __atomic_load_n(&lwk_timer_count[lwk_vcpu()], __ATOMIC_RELAXED);
}

/* 128-bit products without the compiler's library: split the ticks. */
uint64_t lwk_ticks_to_ns(uint64_t ticks)
{
	uint64_t hz = lwk_boot.tsc_hz ? lwk_boot.tsc_hz : 1000000000u;

	return ticks / hz * 1000000000u + ticks % hz * 1000000000u / hz;
}

/* The value of @key on the command line, or NULL; values end at a blank. */
static const char *find(const char *key)
{
	size_t n = strlen(key);

	for (const char *s = lwk_boot.cmdline; *s; s++) {
		if ((s == lwk_boot.cmdline || s[-1] == ' ') && !strncmp(s, key, n) &&
			(s[n] == '=' || s[n] == ' ' || !s[n]))
			return s + n;
	}
	return NULL;
}

uint64_t lwk_arg_u64(const char *key, uint64_t otherwise)
{
	const char *s = find(key);
	uint64_t v = 0;
	unsigned base = 10;

	if (!s || *s != '=')
		return otherwise;
	s++;
	if (s[0] == '0' && s[1] == 'x') {
		base = 16;
		s += 2;
	}
	for (; *s && *s != ' '; s++) {
		unsigned d = *s >= 'a' ? (unsigned)(*s - 'a') + 10 : (unsigned)(*s - '0');

		if (d >= base)
			return otherwise;
		v = v * base + d;
	}
	return v;
}

bool lwk_arg_is(const char *key, const char *value)
{
	const char *s = find(key);
	size_t n = strlen(value);

	return s && *s == '=' && !strncmp(s + 1, value, n) && (!s[n + 1] || s[n + 1] == ' ');
}

bool lwk_arg_word(const char *word)
{
	const char *s = find(word);

	return s && *s != '=';
}

bool lwk_arg_has(const char *key)
{
	return find(key) != NULL;
}

void lwk_user_start(unsigned vcpu)
{
	lwk_vcpu_init(vcpu);
	if (vcpu)
		lwk_thread_loop(vcpu);
	lwk_exit(lwk_app_main());
}
