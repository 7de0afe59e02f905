/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest vCPUs that rewrite a request, and the tables themselves, while it is being validated; two
 * others make requests at once. Whatever is decided is decided from one copy: at the end every
 * count is exact. Its own main program: it runs under ThreadSanitizer as well.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <channels/atomics.h>
#include <paging/paging.h>
#include <sidevisor/paging.h>

#define PAGE 4096ull
#define RAM (8ull << 20)
#define POOL 0x40000000ull
#define TABLES 8u
#define OPS 64u
#define REQUESTS 100000u
#define FEWEST 20000u

static struct sv_gmem gmem;
static struct sv_paging *paging;
static uint32_t stop;
static uint64_t done[2];

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed >> 16;
}

static uint64_t any_entry(uint64_t r)
{
	uint64_t frame = r % 8 == 0 ? POOL + r / 8 % TABLES * PAGE : r / 8 % 64 * PAGE;

	return frame | SV_PTE_PRESENT | (r >> 20 & (SV_PTE_WRITE | SV_PTE_USER)) |
	       (r >> 40 & 1) << 9;
}

static uint64_t any_where(uint64_t r)
{
	return (r & 63) << 12 | SV_PAGING_LEVEL(1) | (1 + (r >> 20) % 4);
}

static void rewrite(uint64_t gpa, uint64_t words, uint64_t *seed)
{
	uint64_t *at = sv_gmem_ptr(&gmem, sv_gpa(gpa), words * 8), i = next(seed) % words,
		 r = next(seed);

	if (r % 16 == 0)
		i ^= 1;
	sv_store_relaxed(&at[i], i & 1 ? any_entry(r >> 8) : any_where(r >> 8));
}

static void *rewriter(void *arg)
{
	uint64_t seed = 99;

	(void)arg;
	while (!sv_load_relaxed(&stop)) {
		for (unsigned i = 0; i < 64; i++) {
			rewrite(PAGE, OPS * 2, &seed);
			rewrite(2 * PAGE, OPS * 2, &seed);
		}
		rewrite(POOL, TABLES * 512, &seed);
	}
	return NULL;
}

static void *vcpu(void *arg)
{
	uint64_t me = (uint64_t)(uintptr_t)arg, seed = 7 + me;
	struct sv_cpl cpl;

	/* On one core the rewriter may come late. */
	for (unsigned i = 0; i < REQUESTS || (done[me] < FEWEST && i < 5000 * REQUESTS); i++) {
		struct sv_req req = {.opcode = SV_PAGING_BATCH,
			.arg = {POOL, PAGE + me * PAGE, 1 + next(&seed) % OPS}};

		sv_paging_handle(paging, (uint32_t)me, &req, &cpl);
		done[me] += cpl.value[0];
	}
	return NULL;
}

static uint32_t ask(uint16_t opcode, uint64_t a, uint64_t b, uint64_t c)
{
	struct sv_req req = {.opcode = opcode, .arg = {a, b, c}};
	struct sv_cpl cpl;

	sv_paging_handle(paging, 0, &req, &cpl);
	return cpl.status;
}

static int set_up(void)
{
	struct sv_paging_config c = {.gmem = &gmem,
		.pool_gpa = POOL,
		.pool_bytes = TABLES * PAGE,
		.levels = 4,
		.vcpus = 2};
	uint8_t *at = mmap(NULL, RAM + c.pool_bytes, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint32_t bad = 0;

	if (at == MAP_FAILED)
		return 1;
	gmem.n = 2;
	gmem.region[0] = (struct sv_gmem_region){.gpa = 0, .size = RAM, .host = at, .fd = -1};
	gmem.region[1] = (struct sv_gmem_region){
		.gpa = POOL, .size = c.pool_bytes, .host = at + RAM, .fd = -1};
	if (sv_paging_create(&paging, &c, NULL) < 0)
		return 1;
	for (uint64_t level = 4; level >= 1; level--) {
		bad |= ask(SV_PAGING_PIN, POOL + (4 - level) * PAGE, level, 0);
		if (level < 4)
			bad |= ask(SV_PAGING_UPDATE, POOL,
				SV_PAGING_LINK | SV_PAGING_LEVEL(level + 1),
				POOL + (4 - level) * PAGE);
	}
	return bad != 0;
}

int main(void)
{
	pthread_t threads[3];
	uint64_t wrong;

	if (set_up()) {
		puts("paging_race: cannot be set up");
		return 1;
	}
	pthread_create(&threads[0], NULL, rewriter, NULL);
	pthread_create(&threads[1], NULL, vcpu, (void *)0);
	pthread_create(&threads[2], NULL, vcpu, (void *)(uintptr_t)1);
	pthread_join(threads[1], NULL);
	pthread_join(threads[2], NULL);
	sv_store_relaxed(&stop, 1u);
	pthread_join(threads[0], NULL);
	wrong = sv_paging_audit(paging, false);
	printf("paging_race: %llu updates done, %llu counts wrong\n",
		(unsigned long long)(done[0] + done[1]), (unsigned long long)wrong);
	sv_paging_destroy(paging);
	return wrong || !done[0] || !done[1];
}
