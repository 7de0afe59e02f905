/* SPDX-License-Identifier: BSD-3-Clause */
#include <io/switch.h>

#include <errno.h>
#include <string.h>

bool sv_frame_read(const struct sv_frame *f, uint32_t offset, void *to, uint32_t n)
{
	uint8_t *at = to;

	if (offset > f->len || n > f->len - offset)
		return false;
	for (unsigned i = 0; i < f->niov && n; i++) {
		size_t have = f->iov[i].iov_len, k;

		if (offset >= have) {
			offset -= (uint32_t)have;
			continue;
		}
		k = have - offset < n ? have - offset : n;
		memcpy(at, (const uint8_t *)f->iov[i].iov_base + offset, k);
		at += k;
		n -= (uint32_t)k;
		offset = 0;
	}
	return n == 0;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int sv_mac_parse(const char *text, uint8_t mac[6])
{
	uint8_t got[6];

	if (strlen(text) != 17)
		return -EINVAL;
	for (unsigned i = 0; i < 6; i++) {
		int high = hex(text[3 * i]), low = hex(text[3 * i + 1]);

		if (high < 0 || low < 0 || (i < 5 && text[3 * i + 2] != ':'))
			return -EINVAL;
		got[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(mac, got, 6);
	return 0;
}

const char *sv_drop_name(enum sv_drop why)
{
	static const char *const name[SV_DROPS] = {[SV_DROP_RUNT] = "runt",
		[SV_DROP_OVERSIZE] = "oversize",
		[SV_DROP_PIECES] = "pieces",
		[SV_DROP_HEADER] = "header",
		[SV_DROP_VLAN] = "vlan",
		[SV_DROP_SPOOFED] = "spoofed",
		[SV_DROP_REFLECTED] = "reflected",
		[SV_DROP_RESERVED] = "reserved",
		[SV_DROP_FLOOD] = "flood",
		[SV_DROP_LOOP] = "loop",
		[SV_DROP_FILTER_IN] = "filter_in",
		[SV_DROP_FILTER_OUT] = "filter_out",
		[SV_DROP_NOBODY] = "nobody",
		[SV_DROP_FULL] = "full"};

	return (unsigned)why < SV_DROPS ? name[why] : "unknown";
}
