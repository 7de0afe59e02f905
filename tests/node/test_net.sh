#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Three stock Debian guests on kvm_amd and one switch, two of sidevisor and one of QEMU: each reaches
# each with small and large frames, what one sends is what the other gets, and an interface that
# cannot be is refused with a sentence. usage: test_net.sh BUILD KERNEL
set -u
. "$(dirname "$0")/lib.sh"
kernel=$2
need_qemu

cat >"$test_dir/in-guest" <<'SCRIPT'
me=$(sed -n 's/.*sv.me=\([0-9]*\).*/\1/p' /proc/cmdline)
others=$(echo "1 2 3" | tr -d "$me")
say() {
	echo "guest $me: $*"
}
dmesg -n 1
say "address $(cat /sys/class/net/eth0/address), $(ls -d /sys/class/net/eth0/queues/rx-* | wc -l) pairs, MTU $(cat /sys/class/net/eth0/mtu)"
ip link set lo up
ip link set eth0 up
ip addr add "10.0.0.$me/24" dev eth0
mkdir /tmp/www
dd if=/dev/urandom of=/tmp/www/data bs=64k count=16 2>/dev/null
md5sum </tmp/www/data >/tmp/www/sum
httpd -h /tmp/www
get() {
	wget -q -O - "http://10.0.0.$1/$2" 2>/dev/null
}
# await FILE GUEST...
await() {
	file=$1
	shift
	for n in "$@"; do
		until get "$n" "$file" >/tmp/got; do usleep 100000; done
	done
}
await sum $others
for n in $others; do
	[ "$(get "$n" data | md5sum)" = "$(get "$n" sum)" ] && say "same data as $n"
	[ "$me" = 1 ] || continue
	ping -q -c 10 -A -s 1472 -W 20 "10.0.0.$n" >/dev/null && say "largest frames to $n"
	ping -q -c 10 -A -s 20000 -W 20 "10.0.0.$n" >/dev/null && say "fragments to $n"
done
ifconfig eth0 | awk -v "me=$me" '/errors:/ { split($3, e, ":"); print "guest " me ": " $1, e[1], e[2] }'
dmesg -r | sed -n "s/^<[0-4]>/complaint: /p"
# Nobody goes before the others have what they want from it.
echo done >/tmp/www/done
if [ "$me" = 1 ]; then
	await done 2 3
	echo end >/tmp/www/end
	sleep 3
else
	await end 1
	sleep 1
fi
SCRIPT
cat >"$test_dir/inside.sh" <<EOF
export LD_LIBRARY_PATH=$(qemu_libraries)
EOF
cat >>"$test_dir/inside.sh" <<'SCRIPT'
sidevisor serve --isolate none \
	--net path=/root/net3,switch=lan,mac=52:54:00:00:00:03,queues=2 &
serve=$!
until [ -S /root/net3 ]; do usleep 100000; done
parameters="console=ttyS0 console=hvc0 quiet panic=-1 ro sv.run=sh%/root/inside"
guest() {
	n=$1
	shift
	sidevisor run --name "net$n" --kernel vmlinuz --initrd initrd --disk path=/dev/vda,readonly \
		--memory 192M --no-populate "$@" --share-cores --overcommit \
		--cmdline "$parameters sv.me=$n"
	echo "guest $n ended with $?"
}
wrong() {
	guest "$@" 2>&1
}
wrong twice --net switch=lan,mac=52:54:00:00:00:02 --net switch=lan,mac=52:54:00:00:00:02
wrong name --net switch=a/b
wrong group --net switch=lan,mac=53:54:00:00:00:02
wrong none --net mtu=1500
wrong key --net switch=lan,speed=10
qemu-system-x86_64 -L /root -enable-kvm -cpu host -m 192 -smp 2 -nodefaults -no-user-config -no-reboot \
	-display none -serial stdio -bios qboot.rom -object memory-backend-memfd,id=mem,size=192M,share=on \
	-M microvm,acpi=on,rtc=on,pit=off,pic=off,x-option-roms=off,isa-serial=on,memory-backend=mem \
	-kernel vmlinuz -initrd initrd -append "$parameters sv.me=3" \
	-drive file=/dev/vda,format=raw,if=none,id=d,readonly=on,file.locking=off \
	-device virtio-blk-device,drive=d -chardev socket,id=c,path=/root/net3 \
	-netdev vhost-user,chardev=c,id=n,queues=2 \
	-device virtio-net-device,netdev=n,mac=52:54:00:00:00:03,mq=on,packed=on </dev/never >three 2>&1 &
three=$!
guest 2 --net switch=lan,mac=52:54:00:00:00:02 >two 2>&1 &
two=$!
guest 1 --net switch=lan,queues=2 --vcpus 2
wait $two
wait $three
echo "guest 3 ended with $?"
cat two three
kill $serve
wait $serve
echo "the node ended with $?"
SCRIPT
guest tiny "$kernel" "$test_dir/in-guest:/root/inside"
node_with_qemu --cpus 5 --memory 2G --timeout 560 --file "$test_dir/vmlinuz" --file "$test_dir/initrd" \
	--file "$test_dir/inside.sh" --disk "$test_dir/root.img" -- sh inside.sh
expect_status 0
expect "nettwice/net1: mac=52:54:00:00:00:02 is nettwice/net0's already on switch 'lan'; give it another"
expect "^sidevisor: --net: switch=a/b: a name has 1 to 15 letters, digits, '-', '_' and '.'"
expect "^sidevisor: --net: mac=53:54:00:00:00:02: not an address of one interface, such as 52:54:00:12:34:56"
expect "^sidevisor: --net: switch=NAME is missing"
expect "^sidevisor: --net: 'speed=10': switch=NAME, mac=ADDRESS"
expect "^guest twice ended with 1"
for n in name group none key; do
	expect "^guest $n ended with 2"
done
expect '^guest 1: address 02:.*, 2 pairs, MTU 1500$'
expect '^guest 2: address 52:54:00:00:00:02, 1 pairs, MTU 1500$'
expect '^guest 3: address 52:54:00:00:00:03, 2 pairs, MTU 1500$'
for n in 1 2 3; do
	for of in 1 2 3; do
		[ $n = $of ] || expect "^guest $n: same data as $of\$"
	done
	expect "^guest $n: RX errors 0\$"
	expect "^guest $n: TX errors 0\$"
done
for n in 2 3; do
	expect "^guest 1: largest frames to $n\$"
	expect "^guest 1: fragments to $n\$"
done
for n in 1 2 3; do
	expect "^guest $n ended with 0\$"
done
expect "^the node ended with 0"
# What the emulated CPU and its speed make the kernel say is not about us.
grep '^complaint:' "$test_dir/out" | grep -vE \
	'hrtimer: interrupt took|Speculative Return Stack|srso|clocksource|RETBleed|Spectre|TSC|rcu:|perf: interrupt|DL replenish|PCI: (Fatal: No config|System does not)' \
	>"$test_dir/complaints"
reject . "$test_dir/complaints"
done_testing
