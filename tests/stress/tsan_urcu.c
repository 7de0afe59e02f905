/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * liburcu is not built with ThreadSanitizer: the edge from a reader's quiescent state to the end of
 * synchronize_rcu() goes through the library unseen, and each memory that is freed after a grace
 * period would be reported. The edge is told here (ld --wrap), and nothing else is hidden, as a
 * suppression would.
 */
#include <urcu-qsbr.h>

void __tsan_acquire(void *addr);
void __tsan_release(void *addr);

static char readers, writers; /* only their addresses matter */

#define BEFORE(name) \
	void __real_##name(void); \
	void __wrap_##name(void); \
	void __wrap_##name(void) \
	{ \
		__tsan_release(&readers); \
		__real_##name(); \
		__tsan_acquire(&writers); \
	}

BEFORE(urcu_qsbr_quiescent_state)
BEFORE(urcu_qsbr_thread_offline)
BEFORE(urcu_qsbr_thread_online)
BEFORE(urcu_qsbr_unregister_thread)

void __real_urcu_qsbr_synchronize_rcu(void);
void __wrap_urcu_qsbr_synchronize_rcu(void);
void __wrap_urcu_qsbr_synchronize_rcu(void)
{
	__tsan_release(&writers);
	__real_urcu_qsbr_synchronize_rcu();
	__tsan_acquire(&readers);
}
