#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# What a guest writes on kvm_amd, by rings, rings that fill up, and the log: none missed against checksums
# of all memory. Huge pages are split while it is tracked and whole again afterwards.
set -u
. "$(dirname "$0")/lib.sh"

cat >"$test_dir/inside.sh" <<'EOF'
. ./await.sh
huge() { sidevisor stats d --json | tr -d ' ,' | awk -F: '$1 == "\"pages_2m\"" { n = $2 } END { print n + 0 }'; }
try() {
	: >out
	sidevisor run --kernel lwk.elf --name d --vcpus 3 --memory 128M --track-dirty \
		--cmdline "app=dirty mib=32" >out 2>&1 &
	await '^writing' out 30
	for i in $(seq 300); do
		sidevisor stats d --json | grep -q '"done": true' && break
		sleep 0.1
	done
	before=$(huge)
	sidevisor dirty d start | grep '"by"'
	sidevisor dirty d verify >/dev/null
	missed=0 changed=0
	for i in $(seq 5); do
		sleep 0.3
		sidevisor dirty d verify >v || missed=$((missed + 1))
		changed=$((changed + $(sed -n 's/.*"changed": \([0-9]*\),*/\1/p' v)))
	done
	during=$(huge)
	full=$(sidevisor dirty d | sed -n 's/.*"full_exits": \([0-9]*\),*/\1/p')
	sidevisor dirty d stop >/dev/null
	after=$(huge)
	echo "$1: $changed pages changed, $missed times some were missed, $full exits for full rings"
	echo "$1: huge pages $before before, $during while tracked, $after afterwards"
	[ "$before" -ge 32 ] && [ "$during" -lt "$before" ] && [ "$after" -ge "$before" ] && echo "$1: whole again"
	sidevisor stop d
	wait
	cat out
}
rss() { awk '/^Rss:/ { print int($2 / 1024) }' /proc/$vm/smaps_rollup; }
given() { sidevisor memory d --json | sed -n 's/.*"hole_bytes": \([0-9]*\)[0-9]\{6\},*/\1/p'; }
# All of memory is looked at, and in the end mapped again, but not what the guest has given back.
given_back() {
	for i in $(seq 300); do
		[ "$(given)" -ge 40 ] && break
		sleep 0.1
	done
	sidevisor dirty d start >/dev/null
	before=$(rss)
	sidevisor dirty d verify >/dev/null
	sidevisor dirty d stop >/dev/null
	after=$(rss)
	echo "linux: $(given) MB given back, $before MiB resident while tracked, $after afterwards"
	[ "$(given)" -ge 30 ] && [ $((after - before)) -lt 20 ] && echo "linux: not made again"
}
linux() {
	sidevisor run --name d --kernel vmlinuz --initrd initrd --disk path=/dev/vda --memory 192M --track-dirty --balloon \
		--cmdline "console=ttyS0 console=hvc0 quiet panic=-1 sv.run=sh%/root/inside" >out 2>&1 &
	vm=$!
	await 'guest begins' out 60
	given_back
	sidevisor dirty d start | grep unlogged
	missed=0 changed=0
	for i in $(seq 6); do
		sidevisor dirty d verify >v || missed=$((missed + 1))
		[ "$i" -eq 1 ] || changed=$((changed + $(sed -n 's/.*"changed": \([0-9]*\),*/\1/p' v)))
		[ "$missed" -eq 0 ] || cat v
		sleep 0.7
	done
	echo "linux: $changed pages changed, $missed times some were missed"
	sidevisor dirty d stop >/dev/null
	sidevisor stop d
	wait
	tail -n 5 out
}
try rings
SIDEVISOR_DIRTY_RING=512 try small
SIDEVISOR_KVM_WITHOUT=KVM_CAP_DIRTY_LOG_RING try log
linux
EOF
cat >"$test_dir/in-guest" <<'EOF'
echo "guest begins"
while :; do
	dd if=/dev/vda of=/tmp/x bs=64k count=200 2>/dev/null
	md5sum /tmp/x /bin/busybox
	echo 3 >/proc/sys/vm/drop_caches
	dd if=/tmp/x of=/root/y bs=64k count=16 conv=fsync 2>/dev/null
done
EOF
guest tiny 6.12 "$test_dir/in-guest:/root/inside"
node --cpus 5 --memory 1G --timeout 500 --file "$test_dir/vmlinuz" --file "$test_dir/initrd" --disk "$test_dir/root.img" --file "$test_dir/inside.sh" -- sh inside.sh
expect_status 0
expect '^linux: [1-9][0-9]* pages changed, 0 times some were missed'
expect '"unlogged_devices": 0'
expect '^linux: not made again'
for way in rings small log; do
	expect "^$way: [1-9][0-9]* pages changed, 0 times some were missed"
	expect "^$way: whole again"
done
expect '"by": "rings"'
expect '"by": "log"'
grep -E '^(rings|small|log|linux):' "$test_dir/out"
done_testing
