/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Good profiles with a few bytes or lines changed, by a fixed seed: nothing breaks, some still
 * load.
 */
#include <criterion/criterion.h>

#include <string.h>

#include <profiles/profile.h>

#include "profile_once.h"

#define ROUNDS 20000u
#define BYTES 4096u

static const char guest[] =
	"kind: guest\nname: web-1\nkernel: boot/vmlinuz\ncmdline: \"console=hvc0 root=/dev/vda\"\n"
	"memory: 4G\nvcpus: 4\ntopology: 1:2:2:1\nnuma: 2\ndisks:\n- path: root.img\n  readonly: "
	"on\n"
	"- {path: \"a b.img\", queues: 4, serial: S1}\ncpus: 2,3,6-7\nidle: never\nnear: eth0\n"
	"smt: off\nsidecores: 2\nsidecore_policy: spread # a word\npopulate: false\n";
static const char node[] = "kind: node\nsidecores: auto\nguest_cores_per_sidecore: 7\npolicy: "
			   "locality\nnear: 0000:41:00.0\n"
			   "housekeeping: 0,1\nexclude: 14-15\nidle: 2000\ndisks:\n- path: "
			   "/dev/sda\n  socket: d.sock\n";
static const char v3m[] =
	"<?xml version=\"1.0\"?>\n<!DOCTYPE profile PUBLIC \"\" \"v3m_profile.dtd\">\n<profile>\n"
	"<name>test</name><type>Xen</type><image size=\"50\">/home/a/b&amp;c.img</image>\n"
	"<nic1><type>TUN/TAP</type><mac>00:02:03:04:05:06</mac></nic1><other a='b'/>\n</profile>\n";

static const char *const pieces[] = {"*a", "&a ", "!!str ", "\n---\n", "[", "{", "- ", ": ", "\t",
	"\xff", "\"", "'", "|\n  x\n", "null", "~", "-1", "99999999999999999999", "0x10",
	"<<: ", "% ", "\n", "<!ENTITY a \"b\">", "&a;", "&#0;", "<![CDATA[x]]>", "<x>", "</x>",
	"<!--", "<?x", "&#x1b;"};

static char mutant[BYTES];
static uint64_t state = 0x9e3779b97f4a7c15ull;

static uint32_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16);
}

static void insert(size_t *size, const char *piece)
{
	size_t n = strlen(piece), at = next() % (*size + 1);

	if (*size + n > BYTES)
		return;
	memmove(mutant + at + n, mutant + at, *size - at);
	memcpy(mutant + at, piece, n);
	*size += n;
}

static size_t mutate(const char *seed)
{
	size_t size = strlen(seed), at, n;

	memcpy(mutant, seed, size);
	for (unsigned i = 1 + next() % 3; i > 0 && size > 8; i--) {
		at = next() % (size - 4);
		switch (next() % 4) {
		case 0:
			mutant[at] ^= (char)(1u << next() % 8);
			break;
		case 1:
			insert(&size, pieces[next() % (sizeof(pieces) / sizeof(pieces[0]))]);
			break;
		case 2:
			n = 1 + next() % 4;
			memmove(mutant + at, mutant + at + n, size - at - n);
			size -= n;
			break;
		default:
			mutant[at] = (char)next();
		}
	}
	return size;
}

static void expect_some(unsigned accepted)
{
	cr_assert(accepted > 0 && accepted < ROUNDS, "%u accepted", accepted);
}

Test(profile_mutants, guest)
{
	unsigned accepted = 0;

	cr_assert(profile_once((const uint8_t *)guest, strlen(guest), -1));
	for (unsigned i = 0; i < ROUNDS; i++)
		accepted += (unsigned)profile_once((const uint8_t *)mutant, mutate(guest), -1);
	expect_some(accepted);
}

Test(profile_mutants, node)
{
	unsigned accepted = 0;

	cr_assert(profile_once((const uint8_t *)node, strlen(node), -1));
	for (unsigned i = 0; i < ROUNDS; i++)
		accepted += (unsigned)profile_once((const uint8_t *)mutant, mutate(node), -1);
	expect_some(accepted);
}

Test(profile_mutants, v3m)
{
	unsigned accepted = 0;

	cr_assert(v3m_once((const uint8_t *)v3m, strlen(v3m)));
	for (unsigned i = 0; i < ROUNDS; i++)
		accepted += (unsigned)v3m_once((const uint8_t *)mutant, mutate(v3m));
	expect_some(accepted);
}
