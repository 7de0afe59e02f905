/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LWK_APPS_H
#define LWK_APPS_H

int app_hello(void);
int app_idle(void);
int app_stress(void);
int app_threads(void);
int app_crash(void);
int app_hostile(void);
int app_timer(void);
int app_bench(void);
int app_arrive(void);
int app_memory(void);
int app_paging(void);
int app_paging_bench(void);
int app_touch(void);
int app_dirty(void);
int app_wake(void);
int app_walk(void);

#endif
