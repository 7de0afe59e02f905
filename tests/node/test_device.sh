#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A stock guest's disk, bounded when it starts and changed while it runs, a disk that grows, a link that goes,
# through a private sidecore and through a node service. usage: test_device.sh BUILD KERNEL
set -u
. "$(dirname "$0")/lib.sh"
kernel=$2

cat >"$test_dir/in-guest" <<'EOF'
dmesg -n 1
ip link set eth0 up
vdb() {
	cat /sys/block/vdb/size
}
carrier() {
	cat /sys/class/net/eth0/carrier
}
echo "guest: vdb $(vdb) carrier $(carrier)"
until [ "$(vdb)" != 8192 ]; do usleep 100000; done
echo "guest: vdb $(vdb)"
until [ "$(carrier)" = 0 ]; do usleep 100000; done
echo "guest: carrier $(carrier)"
sleep 1000
EOF
cat >"$test_dir/inside.sh" <<'EOF'
. ./await.sh
sidevisor serve --isolate none 2>/dev/null &
serve=$!
until [ -S /run/sidevisor/node.sock ]; do usleep 100000; done
# try NAME OPTION...
try() {
	name=$1
	shift
	mkfifo in.$name
	sleep 1000 >in.$name &
	truncate -s 4M $name.img
	sidevisor run --name "$name" --kernel vmlinuz --initrd initrd \
		--disk path=/dev/vda,readonly,weight=300,max-iops=40 \
		--disk "path=$name.img" --net switch=lan,max-bandwidth=1M --memory 256M --no-populate --share-cores --overcommit "$@" \
		--cmdline "console=ttyS0 console=hvc0 quiet panic=-1 ro sv.run=sh%/root/inside" <in.$name >out.$name 2>&1 &
	vm=$!
	# The kernel reads its disk through the bound.
	for _ in $(seq 100); do
		sidevisor device --json "$name/disk0" >json 2>&1
		ops=$(sed -n '/"operations"/,/}/s/.*"read": \([0-9]*\).*/\1/p' json)
		[ "${ops:-0}" -lt 20 ] || break
		sleep 0.5
	done
	echo "$name: reads ${ops:-none}"
	grep -q '"throttled_ns": [1-9]' json && echo "$name: throttled"
	sidevisor device "$name" | sed "s/^/$name list: /"
	sidevisor device "$name/disk0" max-iops=0 weight=7
	echo "$name: set $?"
	sidevisor device "$name/disk0" | sed "s/^/$name one: /"
	sidevisor device "$name/disk0" wieght=7 2>&1 | sed "s/^/$name wrong: /"
	sidevisor device "$name/disk7" 2>&1 | sed "s/^/$name missing: /"
	await "guest: vdb 8192" out.$name 150
	sidevisor device "$name/disk1" size=8M
	echo "$name: size $?"
	sidevisor device "$name/disk1" size=1M 2>&1 | sed "s/^/$name shrink: /"
	sidevisor device "$name/net0" link=down
	echo "$name: link $?"
	await "guest: carrier 0" out.$name 20
	tr -d '\r' <out.$name | sed -n "s/^guest: /$name guest: /p"
	sidevisor stop "$name"
	wait $vm
	echo "$name: ended $?"
}
try private --private
try served
sidevisor device served 2>&1 | sed "s/^/after: /"
kill $serve
EOF
guest tiny "$kernel" "$test_dir/in-guest:/root/inside"
node --cpus 2 --memory 1500M --timeout 500 --file "$test_dir/vmlinuz" \
	--file "$test_dir/initrd" --file "$test_dir/inside.sh" --disk "$test_dir/root.img" -- sh inside.sh
expect_status 0
for name in private served; do
	expect "^$name: reads [1-9]"
	expect "^$name: throttled"
	expect "^$name list: $name/disk0 +blk +[0-9]+ +300 +0 +- +40 "
	expect "^$name list: $name/net0 +net +[0-9]+ +100 +0 +- +"
	expect "^$name: set 0"
	expect "^$name one: weight=7 priority=0 min-bandwidth=0 max-bandwidth=0 min-iops=0 max-iops=0"
	expect "^$name wrong: sidevisor: $name/disk0 has no setting 'wieght'"
	expect "^$name missing: sidevisor: $name has no device 'disk7'"
	expect "^$name: size 0"
	expect "^$name shrink: .*cannot shrink"
	expect "^$name: link 0"
	expect "^$name guest: vdb 8192 carrier 1"
	expect "^$name guest: vdb 16384"
	expect "^$name guest: carrier 0"
	expect "^$name: ended 0"
done
expect "^after: sidevisor: served: no VM of this name has devices here"
done_testing
