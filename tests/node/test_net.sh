#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Two stock Debian guests of sidevisor on kvm_amd and one switch: they reach each other with small and
# large frames, what one sends is what the other gets, and an interface that cannot be is refused with
# a sentence. usage: test_net.sh BUILD KERNEL
set -u
. "$(dirname "$0")/lib.sh"
kernel=$2

cat >"$test_dir/in-guest" <<'EOF2'
me=$(sed -n 's/.*sv.me=\([0-9]*\).*/\1/p' /proc/cmdline) peer=10.0.0.$((3 - me))
say() {
	echo "guest $me: $*"
}
dmesg -n 1
say "address $(cat /sys/class/net/eth0/address), $(ls -d /sys/class/net/eth0/queues/rx-* | wc -l) pairs, MTU $(cat /sys/class/net/eth0/mtu)"
ip link set lo up
ip link set eth0 up
ip addr add "10.0.0.$me/24" dev eth0
mkdir /tmp/www
dd if=/dev/urandom of=/tmp/www/data bs=64k count=32 2>/dev/null
md5sum </tmp/www/data >/tmp/www/sum
httpd -h /tmp/www
until wget -q -O /dev/null "http://$peer/sum" 2>/dev/null; do usleep 50000; done
fetch() {
	[ "$(wget -q -O - "http://$peer/data" | md5sum)" = "$(wget -q -O - "http://$peer/sum")" ] && say "same data"
}
until_done() {
	until wget -q -O /dev/null "http://$peer/done" 2>/dev/null; do usleep 100000; done
}
if [ "$me" = 1 ]; then
	ping -q -c 20 -A -s 1472 "$peer" | grep -q ' 0% packet loss' && say "largest frames"
	ping -q -c 20 -A -s 20000 "$peer" | grep -q ' 0% packet loss' && say "fragments"
	fetch
	touch /tmp/www/done
	until_done
else
	until_done
	fetch
	touch /tmp/www/done
	usleep 500000
fi
ifconfig eth0 | awk -v "me=$me" '/errors:/ { split($3, e, ":"); print "guest " me ": " $1, e[1], e[2] }'
dmesg -r | sed -n "s/^<[0-4]>/complaint: /p"
EOF2
cat >"$test_dir/inside.sh" <<'EOF2'
sidevisor serve --isolate none &
serve=$!
until [ -S /run/sidevisor/node.sock ]; do usleep 100000; done
guest() {
	n=$1
	shift
	sidevisor run --name "net$n" --kernel vmlinuz --initrd initrd --disk path=/dev/vda,readonly \
		--memory 256M --no-populate "$@" --share-cores --overcommit \
		--cmdline "console=ttyS0 console=hvc0 quiet panic=-1 ro sv.me=$n sv.run=sh%/root/inside"
}
wrong() {
	guest "$@" 2>&1
	echo "refused: status $?"
}
wrong twice --net switch=lan,mac=52:54:00:00:00:02 --net switch=lan,mac=52:54:00:00:00:02
wrong name --net switch=a/b
wrong group --net switch=lan,mac=53:54:00:00:00:02
wrong none --net mtu=1500
wrong key --net switch=lan,speed=10
(
	guest 2 --net switch=lan,mac=52:54:00:00:00:02
	echo "guest 2 ended with $?"
) >second 2>&1 &
second=$!
guest 1 --net switch=lan,queues=2 --vcpus 2 &
first=$!
wait $first
echo "guest 1 ended with $?"
wait $second
cat second
kill $serve
EOF2
guest tiny "$kernel" "$test_dir/in-guest:/root/inside"
node --cpus 4 --memory 2G --timeout 360 --file "$test_dir/vmlinuz" \
	--file "$test_dir/initrd" --file "$test_dir/inside.sh" --disk "$test_dir/root.img" -- sh inside.sh
expect_status 0
expect "nettwice/net1: mac=52:54:00:00:00:02 is nettwice/net0's already on switch 'lan'; give it another"
expect "^refused: status 1"
expect "^sidevisor: --net: switch=a/b: a name has 1 to 15 letters, digits, '-', '_' and '.'"
expect "^sidevisor: --net: mac=53:54:00:00:00:02: not an address of one interface, such as 52:54:00:12:34:56"
expect "^sidevisor: --net: switch=NAME is missing"
expect "^sidevisor: --net: 'speed=10': switch=NAME, mac=ADDRESS"
[ "$(grep -c '^refused: status 2' "$test_dir/out")" -eq 4 ] || fail "wrong usage is not status 2"
expect '^guest 1: address 02:.*, 2 pairs, MTU 1500$'
expect '^guest 2: address 52:54:00:00:00:02, 1 pairs, MTU 1500$'
expect '^guest 1: largest frames$'
expect '^guest 1: fragments$'
for n in 1 2; do
	expect "^guest $n: same data\$"
	expect "^guest $n: RX errors 0\$"
	expect "^guest $n: TX errors 0\$"
	expect "^guest $n ended with 0\$"
done
# What the emulated CPU and its speed make the kernel say is not about us.
grep '^complaint:' "$test_dir/out" | grep -vE \
	'hrtimer: interrupt took|Speculative Return Stack|srso|clocksource|RETBleed|Spectre|TSC|rcu:|perf: interrupt' \
	>"$test_dir/complaints"
reject . "$test_dir/complaints"
done_testing
