/* SPDX-License-Identifier: BSD-3-Clause */
#include "aml.h"

#include <string.h>

#define OP_ZERO 0x00
#define OP_ONE 0x01
#define OP_NAME 0x08
#define OP_BYTE 0x0a
#define OP_WORD 0x0b
#define OP_DWORD 0x0c
#define OP_STRING 0x0d
#define OP_QWORD 0x0e
#define OP_SCOPE 0x10
#define OP_BUFFER 0x11
#define OP_PACKAGE 0x12
#define OP_METHOD 0x14
#define OP_CREATE_DWORD_FIELD 0x8a
#define OP_EQUAL 0x93
#define OP_IF 0xa0
#define OP_ELSE 0xa1
#define OP_RETURN 0xa4
#define OP_EXT 0x5b
#define OP_EXT_DEVICE 0x82

#define METHOD_SERIALIZED 8u
#define LENGTH_BYTES 3u /* every package length is written in three bytes */

static void put(struct sv_table_area *a, const void *bytes, size_t n)
{
	sv_table_put(a, bytes, n);
}

static void byte(struct sv_table_area *a, uint8_t b)
{
	put(a, &b, 1);
}

static aml_mark open_length(struct sv_table_area *a)
{
	aml_mark m = a->used;

	put(a, "\0\0", LENGTH_BYTES);
	return m;
}

void aml_close(struct sv_table_area *a, aml_mark m)
{
	size_t n = a->used - m;

	if (a->full)
		return;
	a->base[m] = (uint8_t)(2u << 6 | (n & 0xf));
	a->base[m + 1] = (uint8_t)(n >> 4);
	a->base[m + 2] = (uint8_t)(n >> 12);
}

aml_mark aml_scope_open(struct sv_table_area *a, const char *path)
{
	aml_mark m;

	byte(a, OP_SCOPE);
	m = open_length(a);
	put(a, path, strlen(path));
	return m;
}

aml_mark aml_device_open(struct sv_table_area *a, const char name[4])
{
	aml_mark m;

	byte(a, OP_EXT);
	byte(a, OP_EXT_DEVICE);
	m = open_length(a);
	put(a, name, 4);
	return m;
}

aml_mark aml_method_open(struct sv_table_area *a, const char name[4], unsigned args)
{
	aml_mark m;

	byte(a, OP_METHOD);
	m = open_length(a);
	put(a, name, 4);
	byte(a, (uint8_t)(args | METHOD_SERIALIZED));
	return m;
}

aml_mark aml_package_open(struct sv_table_area *a, uint8_t elements)
{
	aml_mark m;

	byte(a, OP_PACKAGE);
	m = open_length(a);
	byte(a, elements);
	return m;
}

void aml_name(struct sv_table_area *a, const char name[4])
{
	byte(a, OP_NAME);
	put(a, name, 4);
}

void aml_integer(struct sv_table_area *a, uint64_t v)
{
	if (v <= 1) {
		byte(a, v ? OP_ONE : OP_ZERO);
	} else if (v <= 0xff) {
		byte(a, OP_BYTE);
		put(a, &v, 1);
	} else if (v <= 0xffff) {
		byte(a, OP_WORD);
		put(a, &v, 2);
	} else if (v <= 0xffffffff) {
		byte(a, OP_DWORD);
		put(a, &v, 4);
	} else {
		byte(a, OP_QWORD);
		put(a, &v, 8);
	}
}

void aml_string(struct sv_table_area *a, const char *s)
{
	byte(a, OP_STRING);
	put(a, s, strlen(s) + 1);
}

static uint32_t hex(char c)
{
	return c <= '9' ? (uint32_t)(c - '0') : (uint32_t)(c - 'A' + 10);
}

/* Three letters of five bits, four hexadecimal digits, in the bytes' reverse order. */
void aml_eisa(struct sv_table_area *a, const char *id)
{
	uint32_t v = (uint32_t)(id[0] - '@') << 26 | (uint32_t)(id[1] - '@') << 21 |
		     (uint32_t)(id[2] - '@') << 16 | hex(id[3]) << 12 | hex(id[4]) << 8 |
		     hex(id[5]) << 4 | hex(id[6]);

	byte(a, OP_DWORD);
	v = __builtin_bswap32(v);
	put(a, &v, 4);
}

void aml_buffer(struct sv_table_area *a, const void *bytes, size_t n)
{
	aml_mark m;

	byte(a, OP_BUFFER);
	m = open_length(a);
	aml_integer(a, n);
	put(a, bytes, n);
	aml_close(a, m);
}

/* --- methods ---------------------------------------------------------------------------------- */

aml_mark aml_if_open(struct sv_table_area *a)
{
	byte(a, OP_IF);
	return open_length(a);
}

aml_mark aml_else_open(struct sv_table_area *a)
{
	byte(a, OP_ELSE);
	return open_length(a);
}

void aml_equal(struct sv_table_area *a, uint8_t object)
{
	byte(a, OP_EQUAL);
	byte(a, object);
}

void aml_dword_field(struct sv_table_area *a, uint8_t object, uint8_t offset, const char name[4])
{
	byte(a, OP_CREATE_DWORD_FIELD);
	byte(a, object);
	aml_integer(a, offset);
	put(a, name, 4);
}

void aml_update(struct sv_table_area *a, uint8_t op, const char name[4], uint8_t value)
{
	byte(a, op);
	put(a, name, 4);
	aml_integer(a, value);
	put(a, name, 4);
}

void aml_return(struct sv_table_area *a, uint8_t object)
{
	byte(a, OP_RETURN);
	byte(a, object);
}

/* --- resource descriptors --------------------------------------------------------------------- */

static void add(struct aml_resources *r, const void *bytes, size_t n)
{
	SV_BUG_ON(n > sizeof(r->bytes) - r->n);
	memcpy(r->bytes + r->n, bytes, n);
	r->n += n;
}

static void add_le(struct aml_resources *r, uint64_t v, size_t n)
{
	add(r, &v, n);
}

void aml_io(struct aml_resources *r, uint16_t port, uint8_t len)
{
	add_le(r, 0x0147, 2); /* I/O port descriptor, 16-bit decode */
	add_le(r, port, 2);
	add_le(r, port, 2);
	add_le(r, 1, 1);
	add_le(r, len, 1);
}

void aml_irq(struct aml_resources *r, unsigned irq)
{
	add_le(r, 0x22, 1);
	add_le(r, 1u << irq, 2);
}

void aml_memory32(struct aml_resources *r, uint32_t base, uint32_t len)
{
	add_le(r, 0x86, 1);
	add_le(r, 9, 2);
	add_le(r, 1, 1); /* read-write */
	add_le(r, base, 4);
	add_le(r, len, 4);
}

/* An address space descriptor of fields @width bytes wide: producer, fixed at both ends. */
static void window(struct aml_resources *r, uint8_t tag, size_t width, uint8_t type, uint8_t flags,
	uint64_t first, uint64_t last)
{
	add_le(r, tag, 1);
	add_le(r, 3 + 5 * width, 2);
	add_le(r, type, 1);
	add_le(r, 0x0c, 1);
	add_le(r, flags, 1);
	add_le(r, 0, width);
	add_le(r, first, width);
	add_le(r, last, width);
	add_le(r, 0, width);
	add_le(r, last - first + 1, width);
}

void aml_bus_window(struct aml_resources *r, uint16_t first, uint16_t last)
{
	window(r, 0x88, 2, 2, 0, first, last);
}

void aml_io_window(struct aml_resources *r, uint16_t first, uint16_t last)
{
	window(r, 0x88, 2, 1, 3, first, last);
}

void aml_memory_window(struct aml_resources *r, uint64_t first, uint64_t last)
{
	if (last <= 0xffffffff)
		window(r, 0x87, 4, 0, 1, first, last);
	else
		window(r, 0x8a, 8, 0, 1, first, last);
}

void aml_crs(struct sv_table_area *a, struct aml_resources *r)
{
	add_le(r, 0x79, 2); /* end tag; checksum 0: not checked */
	aml_name(a, "_CRS");
	aml_buffer(a, r->bytes, r->n);
}
