/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * As much of a kernel as a vhost-user session needs, in memory: descriptors, mappings, time. Included
 * before everything else when io/vhost*.c are compiled for the fuzzer, which then makes no system
 * call, and whose mappings end where the file does.
 *
 * It keeps books: a descriptor closed twice, a mapping of what is not there, anything left over is a
 * broken promise.
 */
#ifndef TESTS_MADE_UP_KERNEL_H
#define TESTS_MADE_UP_KERNEL_H

#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <base/fdpass.h>
#include <base/memtrap.h>

#include "call.h"

enum mk_kind {
	MK_FREE, MK_SEALED, MK_UNSEALED, MK_EVENT, MK_PIPE, MK_NULL, MK_SOCKET, MK_EPOLL, MK_SESSION
};

#define MK_FILE_BYTES 0x8000u
#define MK_RECORD_BYTES 0x10000u

/* Forget everything, fill the file of guest memory with zeroes. */
void mk_boot(void);
/* Nothing but @fds descriptors is open, nothing is mapped. */
void mk_check_empty(unsigned fds);
int mk_open(enum mk_kind kind);
/* The sealed file of that many bytes that was made last, as it is. */
int mk_open_record(uint64_t bytes);
/* The bytes of the file that every MK_SEALED and MK_UNSEALED descriptor stands for. */
uint8_t *mk_file(void);
uint8_t *mk_record(void);
/* What the made-up front end says next: @n bytes with @nfds descriptors, which are given away. */
void mk_say(const void *bytes, size_t n, const int *fds, unsigned nfds);
/* Of a reply: the next send fails. Descriptors of replies are closed by whoever sent them. */
void mk_deaf(bool deaf);
/* The @n-th call from now on that a kernel or a library may refuse is refused; 0: none. */
void mk_fail(unsigned n);
/* For such a call: is it this one? errno = @error. */
bool mk_fails(int error);
/* Called by nanosleep(): what goes on meanwhile. */
extern void (*mk_meanwhile)(void);
/* Does this lie in something mapped now? */
bool mk_mapped(const void *p, size_t n);

int mk_close(int fd);
int mk_fstat(int fd, struct stat *st);
int mk_fcntl(int fd, int cmd, int arg);
int mk_ftruncate(int fd, off_t bytes);
void *mk_mmap(size_t bytes, int fd, off_t at);
int mk_munmap(void *base, size_t bytes);
static inline int mk_madvise(const void *p)
{
	return p ? 0 : -1;
}
int mk_epoll_create(void);
int mk_epoll_ctl(int op, int fd);
void *mk_calloc(size_t n, size_t bytes);
ssize_t mk_readlink(const char *path, char *to, size_t n);
int mk_memfd_create(void);
int mk_nanosleep(const struct timespec *t);
int mk_clock_gettime(struct timespec *t);
ssize_t mk_fd_send(const int *fds, unsigned nfds, size_t n);
ssize_t mk_fd_recv(void *buf, size_t len, int *fds, unsigned *nfds);
int mk_call_open(struct sv_call *c, int fd, bool is_socket);
void mk_call_signal(struct sv_call *c);
void mk_call_close(struct sv_call *c);

#ifdef MADE_UP
#define close(fd) mk_close(fd)
#define fstat(fd, st) mk_fstat(fd, st)
#define MK_ARG(cmd, arg, ...) arg
#define fcntl(fd, ...) mk_fcntl(fd, MK_FIRST(__VA_ARGS__, 0), MK_ARG(__VA_ARGS__, 0, 0))
#define MK_FIRST(cmd, ...) cmd
#define ftruncate(fd, n) mk_ftruncate(fd, n)
#define mmap(addr, n, prot, flags, fd, at) mk_mmap(n, fd, at)
#define munmap(p, n) mk_munmap(p, n)
#define madvise(p, n, what) mk_madvise(p)
#define epoll_create1(flags) mk_epoll_create()
#define malloc(bytes) mk_calloc(1, bytes)
#define calloc(n, bytes) mk_calloc(n, bytes)
#define epoll_ctl(ep, op, fd, ev) ((void)(ep), (void)((const void *)(ev)), mk_epoll_ctl(op, fd))
#define epoll_wait(ep, ev, n, ms) ((void)(ev), 0)
#define readlink(path, to, n) mk_readlink(path, to, n)
#define syscall(nr, ...) mk_memfd_create()
#define shutdown(fd, how) ((void)mk_madvise(&(int){fd}))
#define nanosleep(t, left) mk_nanosleep(t)
#define clock_gettime(which, t) mk_clock_gettime(t)
#define sv_fd_send(sock, buf, n, fds, nfds, ms) mk_fd_send(fds, nfds, n)
#define sv_fd_recv(sock, buf, n, fds, nfds, ms) mk_fd_recv(buf, n, fds, nfds)
#define sv_memtrap_add(p, n) ((void)(p), 0)
#define sv_memtrap_remove(slot) ((void)(slot))
#define sv_call_open(c, fd, is_socket, err) mk_call_open(c, fd, is_socket)
#define sv_call_signal(c) mk_call_signal(c)
#define sv_call_close(c) mk_call_close(c)
#endif

#endif
