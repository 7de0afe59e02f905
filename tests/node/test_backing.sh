#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Where guest memory really is, in a node of two NUMA nodes with pages of 2 MiB and of 1 GiB reserved on both: the
# kernel's own account of each page (smaps, numa_maps) and KVM's of what its tables map, for every
# backing; without reservations the sentence; and memory that arrives from a source, a unit for each node.
# usage: test_backing.sh BUILD
set -u
. "$(dirname "$0")/lib.sh"
[ "$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)" -ge 5 ] ||
	skip "the node needs 5 GiB of memory, with two pages of 1 GiB in it"

cat >"$test_dir/inside.sh" <<'EOF'
. ./await.sh
nodes=/sys/devices/system/node
reserve() { # 2 MiB pages on node 0, on node 1
	echo "$1" >$nodes/node0/hugepages/hugepages-2048kB/nr_hugepages
	echo "$2" >$nodes/node1/hugepages/hugepages-2048kB/nr_hugepages
}
# where PID: MiB of guest memory on each node, by the page size and the binding of the mapping.
where() {
	awk '/memfd:sidevisor-ram/ {
		size = $0; sub(/.*kernelpagesize_kB=/, "", size); sub(/ .*/, "", size)
		for (i = 3; i <= NF; i++)
			if ($i ~ /^N[0-9]+=/) {
				split(substr($i, 2), n, "=")
				printf " %s:node%d:%s:%dM", size, n[1], $2, n[2] * size / 1024
			}
	}' "/proc/$1/numa_maps"
}
smaps() {
	awk '/^[0-9a-f]+-[0-9a-f]+ / { ram = /memfd:sidevisor-ram/ }
		ram && /^KernelPageSize:/ { size = $2 } ram && /_Hugetlb:/ { huge += $2 }
		ram && /^Rss:/ { rss += $2 } ram && /^ShmemPmdMapped:/ { thp += $2 }
		END { printf "pages of %d kB, reserved %d MiB, others %d MiB, of these huge %d MiB",
			size, huge / 1024, rss / 1024, thp / 1024 }' "/proc/$1/smaps"
}
# look NAME OPTION...: a guest with a vCPU on each node, and where its memory is.
look() {
	name=$1
	shift
	sidevisor run --name "$name" --kernel lwk.elf --vcpus 2 --cpus 1,4 --sidecore 2,5 --quiet \
		--cmdline "app=dirty mib=64" "$@" >"$name.out" 2>&1 &
	vm=$!
	await "^writing|^sidevisor: " "$name.out" 60 || echo "$name: does not start"
	for i in $(seq 300); do
		sidevisor stats --json "$name" | tr -d '\n ' >stats
		grep -o "\"$until\":{[^}]*}" stats | grep -q '"done":true' && break
		kill -0 $vm 2>/dev/null || break
		usleep 200000
	done
	echo "$name: where$(where $vm)"
	echo "$name: smaps $(smaps $vm)"
	grep -oE '"(backing|memory_source|stage2)":("[^"]*"|\{[^}]*\})|"pages_(4k|2m|1g)":[0-9]*' stats | sed "s/^/$name: /"
	sidevisor stop "$name"
	wait $vm
	echo "$name: status $?"
	cat "$name.out"
}
# says NAME OPTION...: what `run` says.
says() {
	name=$1
	shift
	sidevisor run --kernel lwk.elf --vcpus 2 --cpus 1,4 --sidecore 2 "$@" 2>&1 | sed "s/^/$name: /"
}
until=stage2
says none --memory 256M --backing 2m
reserve 256 0
says half --memory 256M --backing 2m
says small --memory 255M --backing 2m
look auto_thp --memory 256M
reserve 128 128
look auto_2m --memory 256M
look two --memory 256M --backing 2m
look small4k --memory 256M --backing 4k
look big --memory 2G --backing 1g
says many --memory 4G --backing 1g
says odd --memory 1G --backing 1g
memory_source serve /s $((128 << 20)) 1 >/source 2>&1 &
source=$!
await ready /source 30
until=memory_source
look arrives --memory 128M --memory-source /s
kill $source
says touched --memory 256M --backing 2m --cmdline "app=touch mib=200"
says touched --memory 2G --backing 1g --cmdline "app=touch mib=1800"
EOF
# The first node is large enough for a whole page of 1 GiB between what the kernel puts at its ends.
node --cpus 6 --numa 2 --memory 10G --timeout 500 --append "hugepagesz=1G hugepages=0:1,1:1" \
	--program "$build/tests/memory_source" --file "$test_dir/inside.sh" -- sh inside.sh
expect_status 0
# on NAME KB MIB: so much on each node, in pages of this size, bound there.
on() {
	expect "^$1: where $2:node0:bind:0:$3M $2:node1:bind:1:$3M\$"
}
reserved='reserve them \(nr_hugepages under /sys/[a-zN/]*/hugepages-2048kB\), or use --backing auto$'
expect "^none: sidevisor: --backing 2m: 128 pages of 2 MiB are needed and 0 are free; $reserved"
expect "^half: sidevisor: --backing 2m: 64 pages of 2 MiB are needed on NUMA node 1 and 0 are free; $reserved"
expect '^small: sidevisor: --backing 2m: --memory 255M is not a whole number of pages of 2 MiB$'
# maps NAME KIND N: KVM's tables have so many pages of the kind.
maps() {
	expect "^$1: \"pages_$2\":$3\$"
}
on auto_thp 4 128
maps auto_thp 2m 128
expect '^auto_thp: smaps pages of 4 kB, reserved 0 MiB, others 256 MiB, of these huge 256 MiB$'
for name in auto_2m two; do
	on $name 2048 128
	maps $name 2m 128
	expect "^$name: smaps pages of 2048 kB, reserved 256 MiB, others 0 MiB"
done
on small4k 4 128
maps small4k 2m 0
expect '^small4k: smaps pages of 4 kB, reserved 0 MiB, others 256 MiB, of these huge 0 MiB$'
on big 1048576 1024
maps big 1g 2
maps big 2m 0
expect '^big: smaps pages of 1048576 kB, reserved 2048 MiB, others 0 MiB'
expect '^many: sidevisor: --backing 1g: 4 pages of 1024 MiB are needed and 2 are free; '
expect '^odd: sidevisor: --backing 1g: 512 MiB of --memory are to come from NUMA node 0, not a whole number of'
on arrives 4 64
expect '^arrives: .*"done":true.*"present":32768.*"units":2'
expect '^touched: 51200 pages touched, 0 errors'
expect '^touched: 460800 pages touched, 0 errors'
for name in auto_thp auto_2m two small4k big arrives; do
	expect "^$name: status 0"
done
grep -E ': (where|smaps|"memory_source")' "$test_dir/out"
done_testing
