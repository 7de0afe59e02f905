/* SPDX-License-Identifier: BSD-3-Clause */
/* Each key: its form, and what is said of it; docs/profiles.md is tested against this. */
#include "rules.h"

#define RULE(f, name, expected, what, text) \
	{.key = {name, expected, what, text}, .form = FORM_##f}
#define BOUND(f, least, most, name, expected, what, text) \
	{.key = {name, expected, what, text}, .form = FORM_##f, .min = least, .max = most}
#define OWN(f, most, name, expected, what) \
	{.key = {name, expected, what, NULL}, .form = FORM_##f, .max = most, .own = true}
#define SWITCH(name, what, text) \
	{.key = {name, "on or off (also yes, no, true, false)", what, text}, .form = FORM_BOOL}

#define QOS_RULES \
	BOUND(NUMBER, 1, 10000, "weight", "a whole number from 1 to 10000", \
		"its share of a sidecore and store that others want too", "100"), \
	BOUND(NUMBER, 0, 7, "priority", "a whole number from 0 to 7", \
		"strict: the highest comes first", "0"), \
	RULE(SIZE, "min_bandwidth", "a size such as 20M", \
		"bytes per second that it has before priorities and weights count", NULL), \
	RULE(SIZE, "max_bandwidth", "a size such as 200M", "bytes per second at most", NULL), \
	BOUND(NUMBER, 1, 999999999, "min_iops", "a whole number from 1 to 999999999", \
		"requests per second that it has before priorities and weights count", NULL), \
	BOUND(NUMBER, 1, 999999999, "max_iops", "a whole number from 1 to 999999999", \
		"requests per second at most", NULL), \
	BOUND(NUMBER, 1, 10000, "burst", "a whole number from 1 to 10000", \
		"milliseconds of an unused maximum that may be used later at once", "10"), \
	BOUND(NUMBER, 1, 1024, "depth", "a whole number from 1 to 1024", \
		"requests outstanding at most", NULL)
#define DISK_RULES \
	RULE(PATH, "path", "the path of an image or block device, or an nbd:// address", \
		"the image; relative to the profile", NULL), \
	RULE(CHOICE, "format", "raw or qcow2", \
		"of the image (default: raw; a qcow2 image is refused unless it is said)", NULL), \
	BOUND(TEXT, 0, 1023, "filters", "NAME:FILE, more after a +", \
		"code on its data path, next to the guest first (docs/block.md)", NULL), \
	BOUND(NUMBER, 1, 3600, "deadline", "seconds from 1 to 3600", \
		"a request that a remote disk does not answer fails after it", "30"), \
	SWITCH("readonly", "the guest cannot write", "off"), \
	SWITCH("direct", "open with O_DIRECT, past the host's page cache", "off"), \
	SWITCH("writethrough", "every write is durable when it completes", "off"), \
	SWITCH("pinned", "with direct: register the guest's memory, all of it resident", "off"), \
	SWITCH("iopoll", "with direct: poll for completions where the storage can", "off"), \
	BOUND(NUMBER, 1, 64, "queues", "a whole number from 1 to 64", "virtqueues", \
		"min(vCPUs, 8)"), \
	BOUND(TEXT, 0, 20, "serial", "one line of at most 20 characters", \
		"the serial number that the guest sees", NULL), \
	QOS_RULES
#define NET_RULES \
	RULE(SWITCH, "switch", "1 to 15 letters, digits, '.', '_' or '-'", \
		"the switch that it is on", NULL), \
	RULE(MAC, "mac", "an address such as 52:54:00:12:34:56", \
		"its address (default: one that follows from the names of VM and interface)", NULL), \
	BOUND(NUMBER, 1, 4094, "vlan", "a whole number from 1 to 4094", \
		"the VLAN that it is in (default: none)", NULL), \
	BOUND(NUMBER, 68, 65535, "mtu", "a whole number from 68 to 65535", \
		"the longest packet", "1500"), \
	SWITCH("spoof", "the guest may send from any address", "off"), \
	SWITCH("trunk", "the guest may send and receive tagged frames of all VLANs", "off"), \
	BOUND(TEXT, 0, 255, "filter", "packet filters such as pcap:arp or ip; see network.md", \
		"what passes, in both directions", NULL), \
	QOS_RULES
#define COMMON_RULES \
	RULE(INHERITS, "inherits", "the name of a profile, or the path of its file", \
		"the profile whose keys count where this one is silent", NULL), \
	OWN(TEXT, 255, "description", "one line of text", "for people; not inherited")

const struct rule rules_guest_disk[] = {
	DISK_RULES,
	SWITCH("nodiscard", "do not offer discard and write-zeroes", "off"),
	BOUND(NUMBER, 0, 65535, "sidecore", "a CPU number", "the sidecore that serves it", NULL),
};
const size_t n_rules_guest_disk = sizeof(rules_guest_disk) / sizeof(rules_guest_disk[0]);

const struct rule rules_node_disk[] = {
	DISK_RULES,
	RULE(PATH, "socket", "the path of a socket, 107 characters at most",
		"where the front end connects", NULL),
	SWITCH("discard", "offer discard and write-zeroes", "off"),
};
const size_t n_rules_node_disk = sizeof(rules_node_disk) / sizeof(rules_node_disk[0]);

const struct rule rules_guest_net[] = {
	NET_RULES,
	BOUND(NUMBER, 1, 7, "queues", "a whole number from 1 to 7", "pairs of virtqueues",
		"min(vCPUs, 4)"),
};
const size_t n_rules_guest_net = sizeof(rules_guest_net) / sizeof(rules_guest_net[0]);

const struct rule rules_node_net[] = {
	NET_RULES,
	BOUND(NUMBER, 1, 7, "queues", "a whole number from 1 to 7", "pairs of virtqueues", "1"),
	RULE(PATH, "socket", "the path of a socket, 107 characters at most",
		"where the front end connects", NULL),
};
const size_t n_rules_node_net = sizeof(rules_node_net) / sizeof(rules_node_net[0]);

const struct rule rules_node_uplink[] = {
	RULE(CHOICE, "type", "tap, packet or slirp", "what leads to the outside", NULL),
	RULE(SWITCH, "switch", "1 to 15 letters, digits, '.', '_' or '-'",
		"the switch whose way to the outside it is", NULL),
	BOUND(TEXT, 1, 15, "dev", "the name of an interface, 15 characters at most",
		"of a TAP or Ethernet interface of this host", NULL),
	BOUND(NUMBER, 1, 4, "queues", "a whole number from 1 to 4", "of a TAP interface", "1"),
	BOUND(NUMBER, 1, 4094, "vlan", "a whole number from 1 to 4094",
		"untagged outside, this VLAN on the switch (default: all, tagged)", NULL),
	BOUND(TEXT, 0, 4095, "filter", "packet filters such as pcap:arp or ip; see network.md",
		"what passes, in both directions", NULL),
	BOUND(TEXT, 0, 31, "net", "ADDRESS/BITS with 8 to 27 bits", "the network that slirp serves",
		"10.0.2.0/24"),
	SWITCH("restrict", "nothing leaves by slirp but what is forwarded", "off"),
	SWITCH("host_loopback", "slirp lets guests reach this host's own services", "off"),
	BOUND(TEXT, 0, 1023, "forward",
		"tcp: or udp:[HOST:]PORT:[GUEST:]PORT, several with blanks between",
		"ports of this host that slirp leads to a guest", NULL),
};
const size_t n_rules_node_uplink = sizeof(rules_node_uplink) / sizeof(rules_node_uplink[0]);

const struct rule rules_guest[] = {
	RULE(CHOICE, "kind", "guest or node", "what the file describes", "guest"),
	COMMON_RULES,
	OWN(NAME, 0, "name", "1 to 31 letters, digits, '.', '_' or '-'",
		"of the VM; not inherited (default: the file's name without .yaml)"),
	RULE(PATH, "kernel", "the path of a file", "the kernel; relative to the profile", NULL),
	RULE(PATH, "initrd", "the path of a file",
		"its initial RAM disk; relative to the profile", NULL),
	BOUND(TEXT, 0, 4095, "cmdline", "one line of text", "the kernel's command line", NULL),
	RULE(SIZE, "memory", "a size such as 512M or 4G", "guest memory", "256M"),
	BOUND(NUMBER, 1, 1024, "vcpus", "a whole number from 1 to 1024", "virtual CPUs", "1"),
	RULE(TOPOLOGY, "topology", "sockets:dies:cores:threads, such as 2:1:8:2",
		"what the guest sees; a die has an L3 of its own (default: that of its CPUs)",
		NULL),
	BOUND(NUMBER, 1, 64, "numa", "a whole number from 1 to 64",
		"NUMA nodes of the guest (default: those of its CPUs)", NULL),
	RULE(LIST, "disks", "a list of at most 16 disks",
		"virtio-blk disks, in order; a list replaces the inherited one", NULL),
	RULE(LIST, "nets", "a list of at most 8 interfaces",
		"virtio-net interfaces, in order; a list replaces the inherited one", NULL),
	RULE(CHOICE, "console", "stdio, serial or none", "what descriptors 0 and 1 are", "stdio"),
	BOUND(CPUS, 0, 1024, "cpus", "a list of host CPUs such as 2,3,6-9",
		"host CPUs of the vCPUs, in order (default: chosen)", NULL),
	RULE(SIDECORES, "sidecore", "CPUs such as 7 or 7,15, or VCPU:CPU such as 0-6:7,7-13:15",
		"host CPUs of the sidecores (default: one, chosen)", NULL),
	SWITCH("smt_sibling", "a sidecore may be the SMT sibling of a guest core", "off"),
	SWITCH("overcommit", "more vCPUs than guest cores: they share cores", "off"),
	RULE(CHOICE, "isolate", "auto, require or none",
		"interrupts and other threads off its cores: as far as can be (default), all, or not",
		NULL),
	RULE(PATH, "placement", "the path of a file",
		"the CPUs and NUMA nodes of a recorded run; relative to the profile", NULL),
	RULE(PATH, "keep_placement", "the path of a file",
		"record this run's there; relative to the profile", NULL),
	RULE(PATH, "node", "the path of a socket",
		"the node service to use; relative to the profile", NULL),
	SWITCH("private", "a sidecore of its own even if a node service is there", "off"),
	BOUND(NUMBER, 0, 86400, "rejoin", "a whole number from 0 to 86400",
		"seconds that the VM waits for a sidecore process that went away", "60"),
	RULE(IDLE, "idle", "microseconds, or never",
		"a private sidecore sleeps after so long without work", NULL),
	RULE(CHOICE, "irqchip", "split or full", "full: PIC, PIT and IOAPIC in the kernel",
		"split"),
	SWITCH("exit_port", "port 0xf4 ends the VM", "off"),
	SWITCH("fw_cfg", "a minimal fw_cfg at 0x510", "off"),
	SWITCH("boot32", "enter a bzImage by the 32-bit protocol", "off"),
	SWITCH("populate", "populate guest memory before the start", "on"),
	RULE(CHOICE, "backing", "auto, 4k, thp, 2m or 1g",
		"pages of guest memory; 2m and 1g: reserved ones, and no others will do", "auto"),
	RULE(CHOICE, "stage2", "before, running or demand",
		"when KVM maps guest memory (default: while the guest runs; on demand with populate "
		"off)",
		NULL),
	SWITCH("rng", "a virtio-rng device", "off"),
	BOUND(NUMBER, 3, 4294967294, "vsock", "a whole number from 3 to 4294967294",
		"a virtio-vsock device of the host's kernel: the guest's address", NULL),
	BOUND(TEXT, 0, 1023, "uplink", "KIND:switch=NAME[,KEY=VALUE]..., see network.md",
		"the way of a switch of a private sidecore to the outside", NULL),
	BOUND(TEXT, 0, 1023, "vhost_user", "TYPE,socket=PATH[,queues=N][,tag=NAME], blanks between several",
		"devices that other programs serve, as --vhost-user says it", NULL),
	RULE(CHOICE, "paging", "auto or off",
		"auto: as `bench paging --advise` recorded it beside the profile, where this is silent",
		"off"),
	SWITCH("balloon", "the guest may give memory back (Linux)", "off"),
	RULE(PATH, "memory_source", "the path of a file or socket",
		"guest memory that arrives while the guest runs; relative to the profile", NULL),
	RULE(PATH, "memory_hot", "the path of a file",
		"the pages of memory_source that come first; relative to the profile", NULL),
	SWITCH("memory_prefetch", "pages arrive that nobody waits for yet", "on"),
	BOUND(NUMBER, 1, 3600, "memory_timeout", "a whole number from 1 to 3600",
		"seconds that memory_source may take to answer", "10"),
	SWITCH("track_dirty", "`sidevisor dirty` may say what the guest writes", "off"),
	BOUND(POWER_OF_TWO, 2, 4096, "ring_entries", "a power of two from 2 to 4096",
		"of each channel", "64"),
	SWITCH("allow_bench", "the guest may occupy the sidecore for measurements", "off"),
	SWITCH("direct_paging", "page tables that belong to the sidecore (lightweight kernel)",
		"off"),
	SWITCH("quiet", "say nothing when the VM ends well", "off"),
	SWITCH("json", "how the VM ended, as JSON on standard error", "off"),
	SWITCH("smt", "vCPUs fill all threads of a core; else one vCPU per core", "off"),
	RULE(DEVICE, "near", "a PCI address such as 0000:41:00.0 or a network interface",
		"place the guest near this device", NULL),
	SWITCH("share_cores", "its cores may be shared with a VM whose profile says so too",
		"off"),
	SWITCH("untrusted", "nothing else on the SMT siblings of its cores", "off"),
	BOUND(AUTO_NUMBER, 1, 1024, "sidecores", "auto or a whole number from 1 to 1024",
		"sidecores that serve this guest", "auto"),
	RULE(CHOICE, "sidecore_policy", "locality, spread or smt-sibling",
		"for this guest (default: the node's)", NULL),
};
const size_t n_rules_guest = sizeof(rules_guest) / sizeof(rules_guest[0]);

const struct rule rules_node[] = {
	RULE(CHOICE, "kind", "guest or node", "what the file describes", "node"),
	COMMON_RULES,
	BOUND(AUTO_NUMBER, 1, 1024, "sidecores", "auto or a whole number from 1 to 1024",
		"how many sidecores the node has", "auto"),
	BOUND(NUMBER, 1, 1024, "guest_cores_per_sidecore", "a whole number from 1 to 1024",
		"that one sidecore serves (default: as many as suit)", NULL),
	RULE(CHOICE, "policy", "locality, spread or smt-sibling",
		"where sidecores and guests go", "locality"),
	RULE(DEVICE, "near", "a PCI address such as 0000:41:00.0 or a network interface",
		"place sidecores near this device", NULL),
	BOUND(HOUSEKEEPING, 0, 1024, "housekeeping",
		"auto, a number of cores, or a list of CPUs such as 0,1 or 0-1",
		"cores that keep house; one CPU alone is written 0-0", "auto"),
	BOUND(CPUS, 0, 65536, "exclude", "a list of host CPUs such as 2,3,6-9",
		"CPUs that are not to be used", NULL),
	BOUND(CPUS, 0, 1024, "cpus", "a list of host CPUs such as 2,3,6-9",
		"these are the sidecores (default: chosen)", NULL),
	BOUND(NUMBER, 0, 65535, "control_cpu", "a CPU number",
		"of the service's control thread (default: chosen)", NULL),
	RULE(PATH, "socket", "the path of a socket, 107 characters at most", "where VMs attach",
		"/run/sidevisor/node.sock"),
	RULE(IDLE, "idle", "microseconds, or never",
		"a sidecore sleeps after so long without work", "2000"),
	RULE(CHOICE, "isolate", "auto, require or none",
		"interrupts and other threads off the sidecores: as far as can be (default), all, or not",
		NULL),
	SWITCH("supervise", "start the sidecores again when they crash", "off"),
	SWITCH("share_cores", "VMs that say so too may have the sidecores' CPUs", "off"),
	SWITCH("allow_bench", "guests may occupy a sidecore for measurements", "off"),
	RULE(LIST, "disks", "a list of at most 64 disks",
		"disks exported over vhost-user; a list replaces the inherited one", NULL),
	RULE(LIST, "nets", "a list of at most 64 interfaces",
		"ports of switches over vhost-user; a list replaces the inherited one", NULL),
	RULE(LIST, "uplinks", "a list of at most 16 uplinks",
		"ways of switches to the outside; a list replaces the inherited one", NULL),
};
const size_t n_rules_node = sizeof(rules_node) / sizeof(rules_node[0]);
