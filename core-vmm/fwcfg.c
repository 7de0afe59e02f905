/* SPDX-License-Identifier: BSD-3-Clause */
/* As much of a firmware configuration device as bare-metal test kernels read: selector and data. */
#include "platform.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"

#define FWCFG_BYTES 2u /* selector (16 bits) at +0, data (a byte at a time) at +1 */

#define KEY_SIGNATURE 0x00u
#define KEY_ID 0x01u
#define KEY_RAM_BYTES 0x03u
#define KEY_CPUS 0x05u
#define KEY_MAX_CPUS 0x0fu
#define KEY_FILES 0x19u
#define ID_TRADITIONAL 1u /* selector and data, no DMA */

struct sv_fwcfg {
	const struct sv_vm *vm;
	pthread_mutex_t lock;
	uint8_t item[8];
	unsigned len, at;
};

static void select_item(struct sv_fwcfg *f, uint16_t key)
{
	uint64_t v = 0;

	f->at = 0;
	f->len = 0;
	switch (key) {
	case KEY_SIGNATURE:
		memcpy(&v, "QEMU", 4);
		f->len = 4;
		break;
	case KEY_ID:
		v = ID_TRADITIONAL;
		f->len = 4;
		break;
	case KEY_RAM_BYTES:
		v = f->vm->ram_low_bytes + f->vm->ram_high_bytes;
		f->len = 8;
		break;
	case KEY_CPUS:
	case KEY_MAX_CPUS:
		v = f->vm->nvcpus;
		f->len = 2;
		break;
	case KEY_FILES: /* a count of zero */
		f->len = 4;
		break;
	default:
		break;
	}
	memcpy(f->item, &v, sizeof(f->item));
}

static void fwcfg_read(void *dev, uint64_t off, void *data, unsigned len)
{
	struct sv_fwcfg *f = dev;

	memset(data, 0, len);
	if (off != 1)
		return;
	pthread_mutex_lock(&f->lock);
	if (f->at < f->len)
		*(uint8_t *)data = f->item[f->at++];
	pthread_mutex_unlock(&f->lock);
}

static void fwcfg_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct sv_fwcfg *f = dev;
	uint16_t key;

	if (off != 0 || len != sizeof(key))
		return;
	memcpy(&key, data, sizeof(key));
	pthread_mutex_lock(&f->lock);
	select_item(f, key);
	pthread_mutex_unlock(&f->lock);
}

static const struct sv_bus_ops fwcfg_ops = {fwcfg_read, fwcfg_write};

struct sv_fwcfg *sv_fwcfg_create(struct sv_vm *vm, struct sv_error *err)
{
	struct sv_fwcfg *f = calloc(1, sizeof(*f));
	int rc = f ? sv_bus_add(&vm->pio, PORT_FWCFG, FWCFG_BYTES, &fwcfg_ops, f) : -ENOMEM;

	if (rc < 0) {
		sv_fail(err, -rc, "fw_cfg: %s", strerror(-rc));
		free(f);
		return NULL;
	}
	f->vm = vm;
	pthread_mutex_init(&f->lock, NULL);
	return f;
}

void sv_fwcfg_destroy(struct sv_fwcfg *f)
{
	pthread_mutex_destroy(&f->lock);
	free(f);
}
