/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * slow_read DEVICE...: read the devices in turns, slowly and past the page cache, into memory that was
 * there before and that no CPU writes any more; then a file of that memory for each, in /tmp.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BYTES (16u << 20)
#define PIECE (128u << 10)

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static char *memory(void)
{
	char *m = aligned_alloc(4096, BYTES);

	if (!m)
		die("memory");
	memset(m, 1, BYTES);
	return m;
}

static void keep(const char *device, const char *m)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/tmp/%s", strrchr(device, '/') + 1);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, m, BYTES) != BYTES)
		die(path);
	close(fd);
}

int main(int argc, char **argv)
{
	char *m[8];
	int fd[8];

	for (int i = 1; i < argc && i < 8; i++) {
		m[i] = memory();
		fd[i] = open(argv[i], O_RDONLY | O_DIRECT);
		if (fd[i] < 0)
			die(argv[i]);
	}
	puts("reading begins");
	fflush(stdout);
	for (unsigned at = 0; at < BYTES; at += PIECE) {
		for (int i = 1; i < argc && i < 8; i++)
			if (pread(fd[i], m[i] + at, PIECE, at) != PIECE)
				die(argv[i]);
		usleep(60000);
	}
	puts("reading ends");
	fflush(stdout);
	for (int i = 1; i < argc && i < 8; i++)
		keep(argv[i], m[i]);
	return 0;
}
