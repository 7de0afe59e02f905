/* SPDX-License-Identifier: BSD-3-Clause */
/* A 16550A: enough of it for early consoles and for drivers that probe what chip it is. */
#include "platform.h"

#include <errno.h>
#include <linux/serial_reg.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "layout.h"

#define PORTS 8u
#define FIFO_BYTES 16u
#define IER_WRITABLE 0x0fu
#define MCR_WRITABLE 0x1fu
#define IIR_FIFO 0xc0u
#define FCR_KEPT UART_FCR_ENABLE_FIFO
#define MSR_LINES (UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS)

struct sv_serial {
	struct sv_vm *vm;
	struct sv_output *out;
	pthread_mutex_t lock; /* all below */
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm, lsr_errors;
	bool tx_empty_event; /* the transmitter became empty and nobody has looked at IIR since */
	bool stalled;	     /* ... and it will, once the output has room again */
	bool line;	     /* as the I/O APIC knows it */
	unsigned head, len;
	uint8_t fifo[FIFO_BYTES];
};

static unsigned fifo_room(const struct sv_serial *s)
{
	unsigned bytes = s->fcr & UART_FCR_ENABLE_FIFO ? FIFO_BYTES : 1;

	return bytes > s->len ? bytes - s->len : 0;
}

static void fifo_put(struct sv_serial *s, uint8_t c)
{
	if (!fifo_room(s)) {
		s->lsr_errors |= UART_LSR_OE;
		return;
	}
	s->fifo[(s->head + s->len++) % FIFO_BYTES] = c;
}

static uint8_t fifo_get(struct sv_serial *s)
{
	uint8_t c = s->fifo[s->head];

	if (!s->len)
		return 0;
	s->head = (s->head + 1) % FIFO_BYTES;
	s->len--;
	return c;
}

static uint8_t interrupt_id(const struct sv_serial *s)
{
	if ((s->ier & UART_IER_RLSI) && s->lsr_errors)
		return UART_IIR_RLSI;
	if ((s->ier & UART_IER_RDI) && s->len)
		return UART_IIR_RDI;
	if ((s->ier & UART_IER_THRI) && s->tx_empty_event)
		return UART_IIR_THRI;
	return UART_IIR_NO_INT;
}

static void update_line(struct sv_serial *s)
{
	bool on = interrupt_id(s) != UART_IIR_NO_INT && (s->mcr & UART_MCR_OUT2) &&
		  !(s->mcr & UART_MCR_LOOP);

	if (on == s->line)
		return;
	s->line = on;
	sv_irq_line(s->vm, GSI_SERIAL, on);
}

static uint8_t modem_status(const struct sv_serial *s)
{
	uint8_t v = 0;

	if (!(s->mcr & UART_MCR_LOOP))
		return MSR_LINES;
	if (s->mcr & UART_MCR_RTS)
		v |= UART_MSR_CTS;
	if (s->mcr & UART_MCR_DTR)
		v |= UART_MSR_DSR;
	if (s->mcr & UART_MCR_OUT1)
		v |= UART_MSR_RI;
	if (s->mcr & UART_MCR_OUT2)
		v |= UART_MSR_DCD;
	return v;
}

/* The transmitter is empty while the buffer behind it has room: that is how output is throttled. */
static uint8_t line_status(struct sv_serial *s)
{
	uint8_t v = s->lsr_errors;

	s->lsr_errors = 0;
	if (s->len)
		v |= UART_LSR_DR;
	if (sv_output_has_room(s->out))
		v |= UART_LSR_THRE | UART_LSR_TEMT;
	return v;
}

static void transmit(struct sv_serial *s, uint8_t c)
{
	if (s->mcr & UART_MCR_LOOP) {
		fifo_put(s, c);
		s->tx_empty_event = true;
		return;
	}
	sv_output_put(s->out, &c, 1);
	s->tx_empty_event = sv_output_has_room(s->out);
	s->stalled = !s->tx_empty_event;
}

static uint8_t read_register(struct sv_serial *s, unsigned reg)
{
	uint8_t v;

	switch (reg) {
	case UART_RX:
		return s->lcr & UART_LCR_DLAB ? s->dll : fifo_get(s);
	case UART_IER:
		return s->lcr & UART_LCR_DLAB ? s->dlm : s->ier;
	case UART_IIR:
		v = interrupt_id(s);
		if (v == UART_IIR_THRI)
			s->tx_empty_event = false;
		return v | (s->fcr & UART_FCR_ENABLE_FIFO ? IIR_FIFO : 0);
	case UART_LCR:
		return s->lcr;
	case UART_MCR:
		return s->mcr;
	case UART_LSR:
		return line_status(s);
	case UART_MSR:
		return modem_status(s);
	default:
		return s->scr;
	}
}

static void write_ier(struct sv_serial *s, uint8_t v)
{
	if ((v & UART_IER_THRI) && !(s->ier & UART_IER_THRI))
		s->tx_empty_event = sv_output_has_room(s->out);
	s->ier = v & IER_WRITABLE;
}

static void write_register(struct sv_serial *s, unsigned reg, uint8_t v)
{
	bool divisor = s->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_TX:
		if (divisor)
			s->dll = v;
		else
			transmit(s, v);
		break;
	case UART_IER:
		if (divisor)
			s->dlm = v;
		else
			write_ier(s, v);
		break;
	case UART_FCR:
		if ((v & UART_FCR_CLEAR_RCVR) || ((v ^ s->fcr) & UART_FCR_ENABLE_FIFO))
			s->len = 0;
		s->fcr = v & FCR_KEPT;
		break;
	case UART_LCR:
		s->lcr = v;
		break;
	case UART_MCR:
		s->mcr = v & MCR_WRITABLE;
		break;
	case UART_SCR:
		s->scr = v;
		break;
	default: /* line and modem status are read-only */
		break;
	}
}

static void serial_read(void *dev, uint64_t off, void *data, unsigned len)
{
	struct sv_serial *s = dev;

	memset(data, 0, len);
	pthread_mutex_lock(&s->lock);
	*(uint8_t *)data = read_register(s, (unsigned)off);
	update_line(s);
	pthread_mutex_unlock(&s->lock);
}

static void serial_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct sv_serial *s = dev;

	(void)len;
	/* Linux gives up on a transmitter that is full for 10 ms, and writes all the same. */
	if (off == UART_TX)
		sv_output_wait(s->out);
	pthread_mutex_lock(&s->lock);
	write_register(s, (unsigned)off, *(const uint8_t *)data);
	update_line(s);
	pthread_mutex_unlock(&s->lock);
}

unsigned sv_serial_receive(struct sv_serial *s, const void *bytes, unsigned n)
{
	unsigned taken = 0;

	pthread_mutex_lock(&s->lock);
	while (taken < n && fifo_room(s))
		fifo_put(s, ((const uint8_t *)bytes)[taken++]);
	update_line(s);
	pthread_mutex_unlock(&s->lock);
	return taken;
}

void sv_serial_output_ready(struct sv_serial *s)
{
	pthread_mutex_lock(&s->lock);
	if (s->stalled && sv_output_has_room(s->out)) {
		s->stalled = false;
		s->tx_empty_event = true;
	}
	update_line(s);
	pthread_mutex_unlock(&s->lock);
}

static const struct sv_bus_ops serial_ops = {serial_read, serial_write};

struct sv_serial *sv_serial_create(struct sv_vm *vm, struct sv_output *out, struct sv_error *err)
{
	struct sv_serial *s = calloc(1, sizeof(*s));
	int rc = s ? sv_bus_add(&vm->pio, PORT_SERIAL, PORTS, &serial_ops, s) : -ENOMEM;

	if (rc < 0) {
		sv_fail(err, -rc, "the serial port: %s", strerror(-rc));
		free(s);
		return NULL;
	}
	s->vm = vm;
	s->out = out;
	s->dll = 1; /* 115200 baud */
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

void sv_serial_destroy(struct sv_serial *s)
{
	pthread_mutex_destroy(&s->lock);
	free(s);
}
