/* SPDX-License-Identifier: BSD-3-Clause */
#include <criterion/criterion.h>

#include <base/histogram.h>

Test(histogram, every_value_is_near_its_bucket)
{
	for (uint64_t v = 0; v < 1ull << 40; v += v / 7 + 1) {
		unsigned b = sv_histogram_bucket(v);
		uint64_t near = sv_histogram_value(b), off = near > v ? near - v : v - near;

		cr_assert_lt(b, SV_HISTOGRAM_BUCKETS);
		cr_assert_leq(off * 32, v, "%llu is counted as %llu", (unsigned long long)v,
			(unsigned long long)near);
	}
	cr_expect_eq(sv_histogram_bucket(UINT64_MAX), SV_HISTOGRAM_BUCKETS - 1);
	cr_expect_eq(sv_histogram_bucket((1ull << 40) - 1), SV_HISTOGRAM_BUCKETS - 1);
}

Test(histogram, percentiles)
{
	static struct sv_histogram h, sum;

	cr_expect_eq(sv_histogram_at(&h, 500), 0);
	cr_expect_eq(sv_histogram_mean(&h), 0);
	for (uint64_t i = 1; i <= 1000; i++)
		sv_histogram_add(&h, i * 1000);
	cr_expect(sv_histogram_at(&h, 500) >= 484000 && sv_histogram_at(&h, 500) <= 516000);
	cr_expect(sv_histogram_at(&h, 990) >= 959000 && sv_histogram_at(&h, 990) <= 1000000);
	cr_expect_eq(sv_histogram_at(&h, 1000), 1000000);
	cr_expect_eq(sv_histogram_mean(&h), 500500);
	sv_histogram_merge(&sum, &h);
	sv_histogram_merge(&sum, &h);
	cr_expect_eq(sum.total, 2000);
	cr_expect_eq(sv_histogram_at(&sum, 500), sv_histogram_at(&h, 500));
}
