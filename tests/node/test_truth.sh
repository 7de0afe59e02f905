#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A guest sees the truth: on a node of two packages with two L3s of four cores each, lstopo in a stock
# Debian kernel shows the part of the node that its vCPUs were given, for four placements.
# usage: test_truth.sh BUILD KERNEL [smt]
set -u
. "$(dirname "$0")/lib.sh"
lstopo=$(command -v lstopo-no-graphics) || skip "lstopo-no-graphics is missing (Debian: hwloc-nox)"

set -- "$1" "$2" "${3:-}"
cat >"$test_dir/in-guest" <<'EOS'
lstopo --of xml /tmp/seen.xml
echo "=== xml"
cat /tmp/seen.xml
echo "=== end"
dmesg -r | sed -n 's/^<[0-4]>/complaint: /p'
EOS
guest tiny "$2" "$test_dir/in-guest:/root/inside" "$lstopo:+/bin/lstopo"

cat >"$test_dir/inside.sh" <<'EOS'
# place NAME CPUS SIDECORES
place() {
	sidevisor run --name "$1" --kernel vmlinuz --initrd initrd --disk path=/dev/vda,readonly --memory 512M \
		--vcpus "$(echo "$2" | tr , '\n' | wc -l)" --cpus "$2" --sidecore "$3" \
		--cmdline "console=ttyS0 console=hvc0 quiet panic=-1 ro sv.run=sh%/root/inside" >out 2>err
	echo "$1: status $?"
	tr -d '\r' <out | sed -n '/^=== xml/,/^=== end/p' | grep -v '^===' >seen.xml
	grep complaint out
	compare_guest seen.xml "$2"
	status=$?
	echo "$1: compared $status"
	[ "$status" -eq 0 ] || tail -n 5 out err
}
EOS
cat >>"$test_dir/inside.sh" <<'EOS'
sidevisor run --name bound --kernel lwk.elf --memory 64M --vcpus 4 --cpus 9,0,1,2 --sidecore 3 \
	--cmdline "app=hello stay" >out 2>&1 &
. ./await.sh
await Hello out 30
sed -n 's/.*\(bind:[01]\).*sidevisor-ram.* \(N.*\)/bound: \1 \2/p' "/proc/$!/numa_maps"
sidevisor stop bound >/dev/null
wait
EOS
if [ -z "$3" ]; then
	cat >>"$test_dir/inside.sh" <<'EOS'
place one-l3 0,1,2 3
place one-package 8,9,10,12,13,14 11,15
place two-packages 0,1,2,4,5,6,8,9,10,12,13,14 3,7,11,15
place asymmetric 9,0,1,5 3,7,11
EOS
	want="one-l3 one-package two-packages asymmetric"
	shape=2:2:4:1
else
	cat >>"$test_dir/inside.sh" <<'EOS'
place siblings 0,1,2,3 8
place one-thread-each 0,2,8,10 4
place one-pair 0,2,3,8 12
EOS
	want="siblings one-thread-each one-pair"
	shape=2:2:2:2
fi
lb="hmat-lb,hierarchy=memory"
node --cpus 16 --topology $shape --l3s --numa 2 --memory 3G --timeout 900 --build "$build" \
	--program "$build/tests/compare_guest" --file "$test_dir/vmlinuz" --file "$test_dir/initrd" \
	--file "$test_dir/inside.sh" --disk "$test_dir/root.img" \
	--qemu -numa --qemu dist,src=0,dst=1,val=32 --qemu -numa --qemu dist,src=1,dst=0,val=32 \
	--qemu -machine --qemu hmat=on \
	--qemu -numa --qemu "$lb,initiator=0,target=0,data-type=access-latency,latency=80" \
	--qemu -numa --qemu "$lb,initiator=1,target=1,data-type=access-latency,latency=95" \
	--qemu -numa --qemu "$lb,initiator=0,target=0,data-type=access-bandwidth,bandwidth=200G" \
	--qemu -numa --qemu "$lb,initiator=1,target=1,data-type=access-bandwidth,bandwidth=100G" \
	-- sh inside.sh
expect_status 0
for name in $want; do
	expect "^$name: status 0\$"
	expect "^$name: compared 0\$"
done
# Memory in proportion to the vCPUs of a node, and on the host node that they are on.
pages() {
	sed -n "s/^bound: bind:$1 .*N$1=\([0-9]*\).*/\1/p" "$test_dir/out" | awk '{ n += $1 } END { print n + 0 }'
}
[ "$(pages 1)" -gt 0 ] && [ "$(pages 0)" -eq $((3 * $(pages 1))) ] || fail "memory is not bound 3 : 1"
reject '^bound: bind:0.*N1=|^bound: bind:1.*N0='
grep -E 'facts about|complaint|^bound' "$test_dir/out"
done_testing
