/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For tests of vsock:  vsock_echo serve PORT        one connection, its bytes back, their number printed
 *                      vsock_echo CID PORT BYTES    sends them, wants the same back; prints "echo: same"
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

static uint8_t buf[65536], back[65536];

static int move(int fd, uint8_t *p, size_t n, int out)
{
	while (n) {
		ssize_t k = out ? write(fd, p, n) : read(fd, p, n);

		if (k <= 0)
			return -1;
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

static int serve(struct sockaddr_vm *a)
{
	int l = socket(AF_VSOCK, SOCK_STREAM, 0), fd;
	unsigned long total = 0;
	ssize_t n;

	a->svm_cid = VMADDR_CID_ANY;
	if (l < 0 || bind(l, (struct sockaddr *)a, sizeof(*a)) < 0 || listen(l, 1) < 0) {
		perror("vsock_echo");
		return 1;
	}
	printf("vsock: listening\n");
	fflush(stdout);
	fd = accept(l, NULL, NULL);
	while (fd >= 0 && (n = read(fd, buf, sizeof(buf))) > 0) {
		if (move(fd, buf, (size_t)n, 1) < 0)
			return 1;
		total += (unsigned long)n;
	}
	printf("vsock: %lu bytes echoed\n", total);
	return 0;
}

static int ask(struct sockaddr_vm *a, size_t bytes)
{
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)a, sizeof(*a)) < 0) {
		perror("vsock_echo");
		return 1;
	}
	for (size_t at = 0, n; at < bytes; at += n) {
		n = bytes - at < sizeof(buf) ? bytes - at : sizeof(buf);
		for (size_t i = 0; i < n; i++)
			buf[i] = (uint8_t)((at + i) * 2654435761u >> 13);
		if (move(fd, buf, n, 1) < 0 || move(fd, back, n, 0) < 0 || memcmp(buf, back, n)) {
			printf("echo: wrong at %zu\n", at);
			return 1;
		}
	}
	printf("echo: same\n");
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_vm a = {.svm_family = AF_VSOCK};

	if (argc == 3 && !strcmp(argv[1], "serve")) {
		a.svm_port = (unsigned)strtoul(argv[2], NULL, 0);
		return serve(&a);
	}
	if (argc != 4)
		return 2;
	a.svm_cid = (unsigned)strtoul(argv[1], NULL, 0);
	a.svm_port = (unsigned)strtoul(argv[2], NULL, 0);
	return ask(&a, strtoul(argv[3], NULL, 0));
}
