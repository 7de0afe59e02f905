/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A virtio device on PCI (virtio 1.2, section 4.1, no legacy), whose other half is a vhost-user
 * back end: registers, features and interrupts are here, rings are served there.
 *
 * Everything is under the lock of the PCI function. The guest's words are checked when they are
 * used: a ring that lies outside of RAM is not enabled, features that were not offered are not
 * confirmed. A back end that fails ends the VM.
 */
#ifndef CORE_VMM_VIRTIO_PCI_H
#define CORE_VMM_VIRTIO_PCI_H

#include "msix.h"
#include "pci.h"
#include "vhost_user_front.h"

#define VIRTIO_PCI_QUEUES 16u
#define VIRTIO_PCI_QUEUE_SIZE 256u

struct sv_virtio_queue {
	uint16_t size, vector;
	bool enabled; /* by the guest, checked */
	bool running; /* at the back end, or it will be once that is back */
	bool served;  /* a back end has had it since the last reset: the used ring says how far it is */
	uint16_t base;
	uint64_t desc, driver, device; /* guest-physical */
	int kick_fd;
	uint64_t kick_gpa; /* where the ioeventfd is, 0: nowhere */
};

struct sv_virtio_pci {
	struct sv_pci_function pci; /* first: the ops find the device by it */
	struct sv_vm *vm;
	const struct sv_gmem *ram;
	struct sv_msix msix;
	struct sv_vhost_front front;
	const char *name;
	uint32_t kind;
	unsigned queues, config_bytes, cfg_capability;
	uint64_t offered;
	bool dead; /* the back end failed: it is asked nothing more */
	bool returns, away; /* a back end that is gone may come back; it is gone */
	bool recorded;	    /* this back end records what is in flight */
	int log_fd; /* where the back end notes what it writes; -1: it does not */
	uint64_t log_bytes;
	bool config_given;  /* by whoever made the device: the back end's is not asked for */
	bool wce_written;   /* by the driver: a back end that comes back is told */
	struct sv_vhost_inflight inflight;

	/* The guest's side of the registers. */
	uint64_t features;
	uint32_t offered_select, features_select;
	uint16_t config_vector, queue_select;
	uint8_t status, generation, isr;
	uint8_t config[256];
	struct sv_virtio_queue queue[VIRTIO_PCI_QUEUES];
};

struct sv_virtio_pci_options {
	const char *name;	   /* for messages; outlives the device */
	uint32_t kind;		   /* virtio device type */
	unsigned queues;	   /* at most; the back end may have fewer */
	const struct sv_gmem *ram; /* memory for rings and buffers; outlives the device */
	int sock;		   /* a back end */
	const uint8_t *config;	   /* of a kind whose back end does not give it; else NULL */
	uint64_t vsock_cid;	   /* the socket is sv_vhost_vsock_device()'s, the guest's address this */
	bool returns;		   /* when it goes, wait for sv_virtio_pci_return() */
};

/*
 * Make the device and plug it. The socket becomes the device's own on success.
 * Return: the device, or NULL with a sentence in *err and -errno in *rc.
 */
struct sv_virtio_pci *sv_virtio_pci_create(struct sv_pci *pci,
	const struct sv_virtio_pci_options *options, int *rc, struct sv_error *err);
void sv_virtio_pci_destroy(struct sv_virtio_pci *d);

/*
 * What the control thread watches for this device: at most two descriptors, none while it is away; and
 * one that became readable, of this device or of another. Return: 0, or -errno with a sentence.
 */
unsigned sv_virtio_pci_poll_fds(struct sv_virtio_pci *d, int *fds, unsigned max);
int sv_virtio_pci_polled(struct sv_virtio_pci *d, int fd, struct sv_error *err);

/* front.events is readable. Context: control thread. */
void sv_virtio_pci_event(struct sv_virtio_pci *d);
/* The socket is readable. Context: control thread. Return: 0, or -errno with a sentence. */
int sv_virtio_pci_poll(struct sv_virtio_pci *d, struct sv_error *err);
/*
 * A back end is there again at @sock, for a device that is away. It is told everything once more; rings
 * go on where the last one left them. Meanwhile the guest's accesses were taken note of. Context:
 * control thread. Return: 0, the socket is the device's; or -errno with a sentence, the socket is the
 * caller's: sv_vhost_front_gone() says whether to try again.
 */
int sv_virtio_pci_return(struct sv_virtio_pci *d, int sock, struct sv_error *err);
bool sv_virtio_pci_away(struct sv_virtio_pci *d);

/*
 * The back end's configuration has changed: take it over and tell the driver. Context: control thread.
 * Return: 0 or -errno.
 */
int sv_virtio_pci_refresh_config(struct sv_virtio_pci *d);

/*
 * From now on the back end sets a bit in @fd for each page that it writes; -1: no more. The descriptor
 * stays the caller's. Context: control thread. Return: 0; -ENOTSUP: it cannot; else -errno.
 */
int sv_virtio_pci_log(struct sv_virtio_pci *d, int fd, uint64_t bytes, struct sv_error *err);

/* --- virtio_pci.c: the registers ------------------------------------------------------------------ */

extern const struct sv_pci_ops sv_virtio_pci_ops;
/* d->config_bytes and d->queues are known. */
void sv_virtio_pci_add_capabilities(struct sv_virtio_pci *d);

/* --- virtio_pci_run.c: what the registers set in motion, with the lock held ----------------------- */

void sv_virtio_pci_set_status(struct sv_virtio_pci *d, uint8_t status);
/* Start or stop rings after a change of status or bus mastering. */
void sv_virtio_pci_update_running(struct sv_virtio_pci *d);
/* Move the ioeventfds to where the BAR is now. */
void sv_virtio_pci_update_kicks(struct sv_virtio_pci *d);
void sv_virtio_pci_enable(struct sv_virtio_pci *d, struct sv_virtio_queue *q);
void sv_virtio_pci_set_vector(struct sv_virtio_pci *d, struct sv_virtio_queue *q,
	uint16_t vector);
void sv_virtio_pci_set_config(struct sv_virtio_pci *d, uint32_t offset, const void *bytes, unsigned n);
/* The back end is gone and may come back. Context: any thread. */
void sv_virtio_pci_leave(struct sv_virtio_pci *d);
/* Registers as after power on; rings must be stopped. */
void sv_virtio_pci_clear(struct sv_virtio_pci *d);

/* The one BAR. */
#define VIRTIO_BAR 0u
#define VIRTIO_BAR_BYTES 0x8000u
#define VIRTIO_COMMON 0x0000u
#define VIRTIO_ISR 0x1000u
#define VIRTIO_CONFIG 0x2000u
#define VIRTIO_NOTIFY 0x3000u
#define VIRTIO_MSIX_TABLE 0x4000u
#define VIRTIO_MSIX_PBA 0x5000u
#define VIRTIO_NOTIFY_MULTIPLIER 4u

#endif
