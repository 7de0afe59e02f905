/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_options.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS_MAX 10000u

static const char help[] =
	"usage: sidevisor bench channel [--cpus A,B] [--rounds N] [--messages N] [--entries N] [--json]\n"
	"\n"
	"Messages of 56 bytes, all written by a thread on CPU A and all read by a thread on CPU B, through\n"
	"our ring and through each peer found at build time, 1, 8 and 32 at a time; and the round trip of\n"
	"one request against that of a bare cache line. Rounds are interleaved.\n"
	"\n"
	"  --cpus A,B    the two CPUs (default: the first two this process may use)\n"
	"  --rounds N    rounds (default 21)\n"
	"  --messages N  messages per item and round (default 200000)\n"
	"  --entries N   entries of every queue, a power of two (default 256)\n"
	"  --json        one JSON object instead of text\n"
	"\n"
	"A rate is the median over windows of 4096 messages.\n"
	"\n"
	"JSON: bench \"channel\"; cpus; rounds; messages; entries; throughput: per queue and batch\n"
	"(batch_1, batch_8, batch_32) p10, p50, p90 over the rounds in messages per second, and\n"
	"ours_over_it: the median over the rounds of ours divided by this queue's, same round; latency:\n"
	"pingpong, ring (n, p50, p90, p99 in ns), ring_over_pingpong (p50), ring_p99_over_pingpong_p99.\n";

static int default_cpus(int cpu[2])
{
	cpu_set_t set;
	int n = 0;

	if (sched_getaffinity(0, sizeof(set), &set))
		return -errno;
	for (int i = 0; i < CPU_SETSIZE && n < 2; i++)
		if (CPU_ISSET(i, &set))
			cpu[n++] = i;
	return n == 2 ? 0 : -ENODEV;
}

static bool number(const char *text, unsigned min, unsigned max, unsigned *out)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || v < min || v > max)
		return false;
	*out = (unsigned)v;
	return true;
}

static bool two_cpus(const char *text, int cpu[2])
{
	cpu_set_t set;
	char rest;

	return sscanf(text, "%d,%d%c", &cpu[0], &cpu[1], &rest) == 2 && cpu[0] != cpu[1] &&
	       cpu[0] >= 0 && cpu[1] >= 0 && cpu[0] < CPU_SETSIZE && cpu[1] < CPU_SETSIZE &&
	       sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_ISSET(cpu[0], &set) &&
	       CPU_ISSET(cpu[1], &set);
}

static int usage(const char *option, const char *value, const char *remedy)
{
	fprintf(stderr, "sidevisor bench channel: --%s '%s': %s\n", option, value, remedy);
	return 2;
}

int channel_options_parse(struct channel_options *o, int argc, char **argv)
{
	static const struct option options[] = {{"cpus", required_argument, NULL, 'c'},
		{"rounds", required_argument, NULL, 'r'}, {"messages", required_argument, NULL, 'm'},
		{"entries", required_argument, NULL, 'e'}, {"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	int c;

	*o = (struct channel_options){.cpu = {-1, -1}, .rounds = 21, .messages = 200000, .entries = 256};
	optind = 1;
	while ((c = getopt_long(argc, argv, "c:r:m:e:jh", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return 0;
		}
		if (c == '?')
			return 2;
		if (c == 'c' && !two_cpus(optarg, o->cpu))
			return usage("cpus", optarg, "two different CPUs this process may use, as 0,1");
		if (c == 'r' && !number(optarg, 1, ROUNDS_MAX, &o->rounds))
			return usage("rounds", optarg, "a number from 1 to 10000");
		if (c == 'm' && !number(optarg, BENCH_WINDOW, 100000000, &o->messages))
			return usage("messages", optarg, "a number from 4096 to 100000000");
		if (c == 'e' && (!number(optarg, 64, 4096, &o->entries) || (o->entries & (o->entries - 1))))
			return usage("entries", optarg, "a power of two from 64 to 4096");
		if (c == 'j')
			o->json = true;
	}
	if (optind < argc) {
		fprintf(stderr, "sidevisor bench channel: unexpected argument '%s'; see --help\n",
			argv[optind]);
		return 2;
	}
	if (o->cpu[0] < 0 && default_cpus(o->cpu)) {
		fputs("sidevisor bench channel: this process may use one CPU only, and the measurement "
		      "needs two: start it with a wider affinity\n", stderr);
		return 1;
	}
	return -1;
}
