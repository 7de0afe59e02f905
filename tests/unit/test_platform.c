/* SPDX-License-Identifier: BSD-3-Clause */
/* Serial port, clock, power registers, pvpanic, exit port, fw_cfg and the LWK's ports. */
#include <criterion/criterion.h>

#include <linux/serial_reg.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <sidevisor/platform.h>

#include "rig.h"

static struct rig *r;
static struct sv_error err;

static uint32_t hooked;

static void hook(struct sv_vm *vm, uint32_t value)
{
	(void)vm;
	hooked = value;
}

static void machine(bool lwk)
{
	r = rig_new();
	r->vm.bench_hook = lwk ? hook : NULL;
	r->vm.lwk = lwk;
	r->config.exit_port = r->config.fw_cfg = true;
	cr_assert_eq(sv_devices_create(&r->vm, NULL, &err), 0, "%s", err.text);
	/* Serial and clock lines, edge, as an operating system sets them. */
	for (unsigned pin = 4; pin <= 8; pin += 4) {
		rig_write(r, LAYOUT_IOAPIC, 0x10 + 2 * pin, 4);
		rig_write(r, LAYOUT_IOAPIC + 0x10, 0x30 + pin, 4);
	}
}

static void up(void)
{
	machine(false);
}

static void up_lwk(void)
{
	machine(true);
}

static void down(void)
{
	sv_devices_destroy(&r->vm);
	rig_free(r);
}

TestSuite(serial, .init = up, .fini = down);
TestSuite(rtc, .init = up, .fini = down);
TestSuite(power, .init = up, .fini = down);
TestSuite(fwcfg, .init = up, .fini = down);
TestSuite(lwk, .init = up_lwk, .fini = down);

static uint8_t in(unsigned reg)
{
	return (uint8_t)rig_in(r, (uint16_t)(PORT_SERIAL + reg), 1);
}

static void out(unsigned reg, uint8_t v)
{
	rig_out(r, (uint16_t)(PORT_SERIAL + reg), v, 1);
}

/* Let the control thread's part happen. */
static void control_turn(void)
{
	int fds[8];
	unsigned n = sv_devices_poll_fds(&r->vm, fds, 8);

	for (unsigned i = 0; i < n; i++) {
		struct pollfd p = {.fd = fds[i], .events = POLLIN};

		if (poll(&p, 1, 0) == 1)
			cr_assert_eq(sv_devices_poll(&r->vm, fds[i], &err), 0);
	}
}

/* --- serial ---------------------------------------------------------------------------------------- */

Test(serial, output_reaches_standard_output)
{
	int pipe = rig_capture_stdout(true);
	char got[16] = "";

	for (const char *s = "hello\n"; *s; s++) {
		cr_assert(in(UART_LSR) & UART_LSR_THRE);
		out(UART_TX, (uint8_t)*s);
	}
	control_turn();
	rig_capture_stdout(false);
	cr_assert_eq(read(pipe, got, sizeof(got) - 1), 6);
	cr_assert_str_eq(got, "hello\n");
	close(pipe);
}

Test(serial, reader_that_does_not_read_throttles_and_nothing_is_lost)
{
	int pipe = rig_capture_stdout(true);
	unsigned sent = 0, got = 0;
	char buf[4096];
	ssize_t n;

	while (in(UART_LSR) & UART_LSR_THRE && sent < 1000000) {
		out(UART_TX, 'x');
		sent++;
		if (sent % 1000 == 0)
			control_turn();
	}
	cr_expect_gt(sent, 65536, "a pipe and a buffer full");
	cr_expect_lt(sent, 1000000);
	out(UART_MCR, UART_MCR_OUT2);
	out(UART_IER, UART_IER_THRI);
	cr_expect(in(UART_IIR) & UART_IIR_NO_INT);
	for (unsigned i = 0; i < 1000 && got < sent; i++) {
		while ((n = read(pipe, buf, sizeof(buf))) > 0)
			got += (unsigned)n;
		control_turn();
	}
	rig_capture_stdout(false);
	cr_expect_eq(got, sent);
	cr_expect(in(UART_LSR) & UART_LSR_THRE);
	cr_expect_eq(in(UART_IIR) & 0x0f, UART_IIR_THRI, "the guest is told that there is room");
	close(pipe);
}

Test(serial, input_interrupts_until_it_is_read)
{
	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	out(UART_IER, UART_IER_RDI);
	out(UART_MCR, UART_MCR_OUT2);
	cr_assert_eq(sv_serial_input(&r->vm, "ab", 2), 2);
	cr_assert_eq(r->nmsi, 1);
	cr_assert_eq(r->msi[0].data, 0x4034);
	cr_assert_eq(in(UART_IIR), 0xc0 | UART_IIR_RDI);
	cr_assert(in(UART_LSR) & UART_LSR_DR);
	cr_assert_eq(in(UART_RX), 'a');
	cr_assert_eq(in(UART_RX), 'b');
	cr_assert_not(in(UART_LSR) & UART_LSR_DR);
	cr_assert(in(UART_IIR) & UART_IIR_NO_INT);
	sv_serial_input(&r->vm, "c", 1);
	cr_assert_eq(r->nmsi, 2, "a new edge");
}

Test(serial, input_is_taken_only_while_there_is_room)
{
	char many[32] = "0123456789abcdef0123456789abcde";

	cr_assert_eq(sv_serial_input(&r->vm, many, 32), 1, "without a FIFO");
	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	cr_assert_eq(sv_serial_input(&r->vm, many, 32), 16);
	cr_assert_eq(sv_serial_input(&r->vm, many, 32), 0);
	for (unsigned i = 0; i < 16; i++)
		cr_assert_eq(in(UART_RX), (uint8_t)many[i]);
	cr_assert_eq(in(UART_RX), 0);
}

Test(serial, transmitter_interrupt_comes_when_enabled_and_goes_when_seen)
{
	out(UART_MCR, UART_MCR_OUT2);
	out(UART_IER, UART_IER_THRI);
	cr_assert_eq(r->nmsi, 1);
	cr_assert_eq(in(UART_IIR) & 0x0f, UART_IIR_THRI);
	cr_assert(in(UART_IIR) & UART_IIR_NO_INT);
	out(UART_IER, 0);
	out(UART_IER, UART_IER_THRI);
	cr_assert_eq(in(UART_IIR) & 0x0f, UART_IIR_THRI);
	cr_assert_eq(r->nmsi, 2);
}

/* The steps by which drivers tell the chips of the family apart. */
Test(serial, probes_find_a_16550a)
{
	out(UART_IER, 0xff);
	cr_assert_eq(in(UART_IER), 0x0f, "no sleep mode, no XScale unit");
	out(UART_IER, 0);
	out(UART_SCR, 0xa5);
	cr_assert_eq(in(UART_SCR), 0xa5);
	out(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	cr_assert_eq(in(UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_CTS);
	out(UART_TX, 'L');
	cr_assert_eq(in(UART_RX), 'L', "loopback");
	out(UART_MCR, 0);
	cr_assert_eq(in(UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	cr_assert_eq(in(UART_IIR) >> 6, 3);
	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
	out(UART_LCR, UART_LCR_DLAB);
	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
	cr_assert_eq(in(UART_IIR) >> 5, 6, "no 64-byte FIFO");
	out(UART_DLL, 0x0c);
	out(UART_DLM, 0x01);
	cr_assert_eq(in(UART_DLL), 0x0c);
	cr_assert_eq(in(UART_DLM), 0x01);
	out(UART_LCR, UART_LCR_WLEN8);
	cr_assert_eq(in(UART_LCR), UART_LCR_WLEN8);
	cr_assert_eq(in(UART_IER), 0);
}

/* --- clock ----------------------------------------------------------------------------------------- */

static uint8_t cmos(unsigned i)
{
	rig_out(r, PORT_RTC, i, 1);
	return (uint8_t)rig_in(r, PORT_RTC + 1, 1);
}

static void set_cmos(unsigned i, uint8_t v)
{
	rig_out(r, PORT_RTC, i | 0x80, 1);
	rig_out(r, PORT_RTC + 1, v, 1);
}

static int bcd(uint8_t v)
{
	return (v >> 4) * 10 + (v & 15);
}

static time_t read_clock(void)
{
	struct tm tm = {.tm_sec = bcd(cmos(0)),
		.tm_min = bcd(cmos(2)),
		.tm_hour = bcd(cmos(4)),
		.tm_mday = bcd(cmos(7)),
		.tm_mon = bcd(cmos(8)) - 1,
		.tm_year = bcd(cmos(0x32)) * 100 + bcd(cmos(9)) - 1900};

	return timegm(&tm);
}

Test(rtc, tells_utc)
{
	time_t before = time(NULL), seen = read_clock();

	for (int i = 0; i < 3 && seen < before; i++) /* a second passed between two registers */
		seen = read_clock();
	cr_assert_geq(seen, before);
	cr_assert_leq(seen, time(NULL) + 1);
	cr_assert_eq(cmos(11), 0x02, "24 hours, BCD");
	cr_assert_eq(cmos(13), 0x80, "battery good");
	cr_assert_eq(cmos(10) & 0x7f, 0x26);
}

Test(rtc, keeps_what_was_set)
{
	static const uint8_t at[][2] = {
		{0, 0x30}, {2, 0x59}, {4, 0x23}, {7, 0x28}, {8, 0x02}, {9, 0x24}, {0x32, 0x20}};
	struct tm tm = {.tm_sec = 30,
		.tm_min = 59,
		.tm_hour = 23,
		.tm_mday = 28,
		.tm_mon = 1,
		.tm_year = 124};
	time_t want = timegm(&tm);

	set_cmos(11, 0x82);
	for (unsigned i = 0; i < 7; i++)
		set_cmos(at[i][0], at[i][1]);
	cr_assert_eq(cmos(0), 0x30, "the registers stand still while they are set");
	cr_assert_eq(cmos(10) & 0x80, 0);
	set_cmos(11, 0x02);
	cr_assert_geq(read_clock(), want);
	cr_assert_leq(read_clock(), want + 5);
	cr_assert_eq(r->vm.end, SV_END_NONE);
}

Test(rtc, twelve_hours_and_binary)
{
	time_t now = time(NULL);
	struct tm tm;
	uint8_t h;

	gmtime_r(&now, &tm);
	set_cmos(11, 0x04);
	h = cmos(4);
	cr_assert_leq(h & 0x7f, 12);
	cr_assert_geq(h & 0x7f, 1);
	if (tm.tm_min < 59) {
		cr_assert_eq(h & 0x7f, tm.tm_hour % 12 ? tm.tm_hour % 12 : 12);
		cr_assert_eq(h >> 7, tm.tm_hour >= 12);
	}
	cr_assert_eq(cmos(0x32), (tm.tm_year + 1900) / 100);
}

Test(rtc, update_and_alarm_interrupt_until_read)
{
	struct pollfd p = {.fd = -1, .events = POLLIN};
	int fds[8];

	sv_devices_poll_fds(&r->vm, fds, 8);
	p.fd = fds[1];
	cr_assert_eq(poll(&p, 1, 0), 0);
	set_cmos(1, 0xff); /* every second */
	set_cmos(3, 0xff);
	set_cmos(5, 0xff);
	set_cmos(11, 0x02 | 0x10 | 0x20);
	cr_assert_eq(poll(&p, 1, 5000), 1);
	cr_assert_eq(sv_devices_poll(&r->vm, fds[1], &err), 0);
	cr_assert_eq(r->nmsi, 1);
	cr_assert_eq(cmos(12), 0x80 | 0x20 | 0x10);
	cr_assert_eq(cmos(12), 0);
	set_cmos(11, 0x02);
	cr_assert_eq(poll(&p, 1, 0), 0);
}

Test(rtc, nonsense_is_normalised)
{
	for (unsigned v = 0; v < 256; v += 5)
		for (unsigned i = 0; i < 0x80; i++) {
			set_cmos(i, (uint8_t)v);
			cmos(i);
		}
	cr_assert_eq(cmos(13), 0x80);
}

/* --- the end --------------------------------------------------------------------------------------- */

static const struct end_case {
	uint16_t port;
	uint8_t len;
	uint32_t value;
	enum sv_end end;
	int status;
} ends[] = {
	{PORT_SLEEP, 1, 0x34, SV_END_POWEROFF, 0},
	{PORT_SLEEP, 1, 0x14, SV_END_NONE, 0},
	{PORT_SLEEP, 1, 0x24, SV_END_NONE, 0},
	{PORT_SLEEP + 1, 1, 0x34, SV_END_NONE, 0},
	{PORT_RESET, 1, 1, SV_END_REBOOT, 0},
	{PORT_RESET, 1, 2, SV_END_NONE, 0},
	{PORT_RESET_PCI, 1, 0x02, SV_END_NONE, 0},
	{PORT_RESET_PCI, 1, 0x06, SV_END_REBOOT, 0},
	{PORT_RESET_PCI, 1, 0x0e, SV_END_REBOOT, 0},
	{PORT_KBC, 1, 0xfe, SV_END_REBOOT, 0},
	{PORT_KBC, 1, 0xad, SV_END_NONE, 0},
	{PORT_PVPANIC, 1, 1, SV_END_PANIC, 0},
	{PORT_PVPANIC, 1, 2, SV_END_NONE, 0},
	{0xf4, 4, 33, SV_END_EXIT, 33},
	{0xf4, 1, 0, SV_END_EXIT, 0},
	{0xf6, 1, 7, SV_END_NONE, 0},
};

Test(power, each_register_ends_the_vm_in_its_way)
{
	for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		uint64_t n = 0;
		ssize_t got;

		r->vm.end = r->vm.end_claimed = 0;
		rig_out(r, ends[i].port, ends[i].value, ends[i].len);
		cr_assert_eq(r->vm.end, (int)ends[i].end, "case %u", i);
		cr_assert_eq(r->vm.end_status, ends[i].status);
		got = read(r->vm.end_fd, &n, sizeof(n));
		cr_assert_eq(got > 0, ends[i].end != SV_END_NONE);
		r->vm.end_status = 0;
	}
}

Test(power, registers_read_as_documented)
{
	cr_assert_eq(rig_in(r, PORT_PVPANIC, 1), 3);
	cr_assert_eq(rig_in(r, PORT_KBC, 1), 0xff, "no keyboard controller");
	cr_assert_eq(rig_in(r, PORT_SLEEP + 1, 1), 0);
}

/* Linux jumps to the firmware's reset vector where it expects EFI and finds none. */
Test(power, reset_vector_writes_the_reset_control_register)
{
	static const uint8_t code[] = {0xb0, 0x06, 0xba, 0xf9, 0x0c, 0xee, 0xf4, 0xeb, 0xfd};

	cr_assert(!memcmp(rig_ptr(r, 0xffff0), code, sizeof(code)));
}

/* --- fw_cfg ---------------------------------------------------------------------------------------- */

static uint64_t item(uint16_t key, unsigned bytes)
{
	uint64_t v = 0;

	rig_out(r, PORT_FWCFG, key, 2);
	for (unsigned i = 0; i < bytes; i++)
		v |= rig_in(r, PORT_FWCFG + 1, 1) << 8 * i;
	return v;
}

Test(fwcfg, says_what_bare_metal_kernels_ask)
{
	cr_assert_eq(item(0, 4), 0x554d4551, "the signature");
	cr_assert_eq(item(1, 4), 1);
	cr_assert_eq(item(5, 2), 2);
	cr_assert_eq(item(0x0f, 2), 2);
	cr_assert_eq(item(3, 8), RIG_RAM);
	cr_assert_eq(item(0x19, 8), 0);
	cr_assert_eq(item(0xffff, 8), 0);
	cr_assert_eq(rig_in(r, PORT_FWCFG + 1, 1), 0, "past the end");
}

/* --- the LWK's ports ------------------------------------------------------------------------------- */

Test(lwk, exit_port_ends_with_the_status)
{
	rig_out(r, SV_PORT_EXIT, 42, 4);
	cr_assert_eq(r->vm.end, SV_END_EXIT);
	cr_assert_eq(r->vm.end_status, 42);
}

Test(lwk, crash_port_names_the_vcpu)
{
	rig_out(r, SV_PORT_CRASH, 1, 4);
	cr_assert_eq(r->vm.end, SV_END_CRASH);
	cr_assert_eq(r->vm.end_status, 1);
}

Test(lwk, early_console_reaches_standard_output)
{
	int pipe = rig_capture_stdout(true);
	char got[4] = "";

	rig_out(r, SV_PORT_EARLY, 'o', 1);
	rig_out(r, SV_PORT_EARLY, 'k', 1);
	control_turn();
	rig_capture_stdout(false);
	cr_assert_eq(read(pipe, got, 3), 2);
	cr_assert_str_eq(got, "ok");
	close(pipe);
}

Test(lwk, no_op_port_and_pages_do_nothing)
{
	for (unsigned len = 1; len <= 4; len *= 2) {
		rig_out(r, SV_PORT_NOP, UINT32_MAX, len);
		cr_assert_eq(rig_in(r, SV_PORT_NOP, len), 0);
	}
	rig_write(r, SV_MMIO_NOP_GPA + 8, UINT64_MAX, 8);
	cr_assert_eq(rig_read(r, SV_MMIO_NOP_GPA + 8, 8), 0);
	r->vm.bench_hook = NULL;
	rig_out(r, SV_PORT_BENCH, 7, 4); /* nobody measures */
	cr_assert_eq(hooked, 0);
	r->vm.bench_hook = hook;
	rig_out(r, SV_PORT_BENCH, 7, 4);
	cr_assert_eq(hooked, 7);
	cr_assert_eq(r->vm.end, SV_END_NONE);
	cr_assert_eq(r->vm.mmio.unassigned + r->vm.pio.unassigned, 0);
}

Test(lwk, kick_page_is_an_ioeventfd_where_somebody_measures)
{
	cr_assert_geq(rig_kick(r, SV_MMIO_KICK_GPA), 0);
	cr_assert_eq(r->kick[0].len, 4);
}

Test(lwk, there_is_no_bus)
{
	cr_assert_eq(rig_read(r, LAYOUT_ECAM, 4), 0xffffffff);
	cr_assert_eq(r->vm.mmio.unassigned, 1);
}
