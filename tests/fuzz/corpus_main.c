/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fuzz target without libFuzzer: every input of a directory, then changes of them from a fixed
 * seed. corpus_NAME DIRECTORY [EXECUTIONS [SEED]]: an input that fails is written to
 * ./failed-input.
 */
#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INPUTS 4096u
#define BYTES 512u
#define EXECUTIONS 20000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	uint8_t bytes[BYTES];
	size_t n;
} input[INPUTS], now;
static unsigned inputs;
static uint64_t state;

/* xorshift: the same everywhere. */
static uint64_t any(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void on_abort(int sig)
{
	FILE *f = fopen("failed-input", "w");

	if (f) {
		fwrite(now.bytes, 1, now.n, f);
		fclose(f);
	}
	signal(sig, SIG_DFL);
	raise(sig);
}

static void run(void)
{
	/* A copy of exactly these bytes: what is read behind them shows. */
	uint8_t *copy = malloc(now.n ? now.n : 1);

	memcpy(copy, now.bytes, now.n);
	LLVMFuzzerTestOneInput(copy, now.n);
	free(copy);
}

static void read_inputs(const char *path)
{
	struct dirent **entry;
	int n = scandir(path, &entry, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		char name[4096];
		FILE *f;

		snprintf(name, sizeof(name), "%s/%s", path, entry[i]->d_name);
		f = entry[i]->d_name[0] != '.' && inputs < INPUTS ? fopen(name, "r") : NULL;
		free(entry[i]);
		if (!f)
			continue;
		input[inputs].n = fread(input[inputs].bytes, 1, BYTES, f);
		inputs++;
		fclose(f);
	}
	if (n >= 0)
		free(entry);
}

/* Bytes changed, cut out, doubled, or the beginning of one and the end of another. */
static void change(void)
{
	uint64_t how = any() % 4;
	size_t at = now.n ? any() % now.n : 0;

	if (how == 0 && now.n) {
		memmove(now.bytes + at, now.bytes + at + 1, now.n - at - 1);
		now.n--;
	} else if (how == 1 && now.n < BYTES) {
		memmove(now.bytes + at + 1, now.bytes + at, now.n - at);
		now.bytes[at] = (uint8_t)any();
		now.n++;
	} else if (how == 2) {
		unsigned other = (unsigned)(any() % inputs);

		if (at < input[other].n) {
			memcpy(now.bytes + at, input[other].bytes + at, input[other].n - at);
			now.n = input[other].n;
		}
	} else if (now.n) {
		now.bytes[at] = (uint8_t)any();
	}
}

int main(int argc, char **argv)
{
	unsigned long n = argc > 2 ? strtoul(argv[2], NULL, 0) : EXECUTIONS;

	if (argc < 2) {
		fprintf(stderr, "usage: %s DIRECTORY [EXECUTIONS [SEED]]\n", argv[0]);
		return 2;
	}
	state = (argc > 3 ? strtoul(argv[3], NULL, 0) : 1) * 0x9e3779b97f4a7c15u | 1;
	signal(SIGABRT, on_abort);
	signal(SIGSEGV, on_abort);
	read_inputs(argv[1]);
	if (!inputs) {
		fprintf(stderr, "%s: no inputs\n", argv[1]);
		return 1;
	}
	for (unsigned i = 0; i < inputs; i++) {
		now = input[i];
		run();
	}
	for (unsigned long i = 0; i < n; i++) {
		now = input[any() % inputs];
		for (uint64_t changes = 1 + any() % 6; changes; changes--)
			change();
		run();
	}
	printf("%u inputs, %lu changes of them\n", inputs, n);
	return 0;
}
