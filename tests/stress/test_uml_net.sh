#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Our network under unmodified Linux drivers at native speed, without any KVM: two kernels (User-mode
# Linux) on one switch reach each other with every set of offloads and sizes of frames, send TCP
# streams both ways, and what arrived is what was sent. usage: test_uml_net.sh SIDEVISOR SHIM
set -eu

sidevisor=$1 shim=$2
skip() {
	echo "SKIPPED BECAUSE $*"
	exit 77
}
for p in linux.uml busybox iperf3 ethtool cpio ldd pkill; do
	command -v $p >/dev/null ||
		skip "$p is missing (user-mode-linux, busybox-static, iperf3, ethtool, cpio, procps)"
done
modules=/usr/lib/uml/modules
[ -n "$(find $modules -name virtio_net.ko 2>/dev/null)" ] ||
	skip "the User-mode Linux kernel here has no virtio_net"

dir=$(mktemp -d "${TMPDIR:-/tmp}/sidevisor-uml.XXXXXX")
pid=
stop() {
	[ -z "$pid" ] || kill "$pid" 2>/dev/null || :
	pid=
}
# A kernel that had to be killed leaves its processes; they are known by the path of the socket.
trap 'stop; pkill -9 -f "virtio_uml.device=$dir/" || :; rm -rf "$dir"' EXIT

root=$dir/root
mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp"
cp "$(command -v busybox)" "$root/bin/busybox"
for m in failover net_failover virtio_net; do
	at=$(find $modules -name $m.ko | head -n 1)
	[ -z "$at" ] || cp "$at" "$root/"
done
for p in iperf3 ethtool; do
	at=$(command -v $p)
	cp "$at" "$root/bin/"
	for lib in $(ldd "$at" | grep -o '/[^ ]*'); do
		mkdir -p "$root$(dirname "$lib")"
		cp -L "$lib" "$root$lib"
	done
done
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
echo booted
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t tmpfs none /tmp
for m in failover net_failover virtio_net; do
	[ ! -e /$m.ko ] || insmod /$m.ko
done
me=$(sed -n 's/.*sv.me=\([0-9]*\).*/\1/p' /proc/cmdline) peer=10.0.0.$((3 - me))
ip link set lo up
ip link set eth0 up
ip addr add 10.0.0.$me/24 dev eth0
mkdir /tmp/www
dd if=/dev/urandom of=/tmp/www/data bs=64k count=128 2>/dev/null
md5sum </tmp/www/data >/tmp/www/sum
httpd -h /tmp/www
# passed NAME COMMAND...
passed() {
	name=$1
	shift
	timeout 20 "$@" >/tmp/out 2>&1 && echo "$name" && return
	echo "failed: $name: $*"
	cat /tmp/out
}
fetch() {
	[ "$(wget -q -O - http://$peer/data | md5sum)" = "$(wget -q -O - http://$peer/sum)" ] &&
		echo "same data"
}
end() {
	dmesg -r | sed -n 's/^<[0-4]>.*\(virtio\|VIRTIO\|eth0\)/failed: &/p'
	ifconfig eth0 | awk '/errors:/ { split($3, e, ":"); print $1, e[1], e[2] }'
	poweroff -f
}
if [ "$me" = 2 ]; then
	iperf3 -s -D
	nc -l -p 9 >/dev/null # the other one is done
	fetch
	echo | nc $peer 9
	end
fi
until wget -q -O /dev/null http://$peer/sum 2>/dev/null; do usleep 10000; done
fetch
passed "largest frames" ping -c 20 -A -s 1472 $peer
passed "fragments" ping -c 20 -A -s 20000 $peer
# stream NAME ARGUMENT...: of a second
stream() {
	name=$1
	shift
	if timeout 20 iperf3 -c $peer -t 1 -J "$@" >/tmp/json 2>&1; then
		awk -v "name=$name" '/"sum(_received)?"/ { on = 1 }
			on && /bits_per_second/ { printf "stream, %s: %d Mbit/s\n", name, $2 / 1e6; exit }' /tmp/json
	else
		cat /tmp/json
	fi
}
ethtool -k eth0 | grep -E '^(tx-checksumming|tcp-segmentation-offload|rx-checksumming):' | tr -d '\t'
stream "all offloads"
stream "all offloads, back" -R
# What the receiver does not take the switch does in software.
ethtool -K eth0 rx-gro-hw off && stream "receiver without large frames, back" -R
ethtool -K eth0 rx-gro-hw on
ethtool -K eth0 tso off && stream "sender without TSO"
ethtool -K eth0 tx off && stream "sender without checksums"
ethtool -K eth0 tx on tso on >/dev/null
stream "datagrams" -u -b 20M -l 1400
stream "large datagrams" -u -b 50M -l 20000
ethtool -l eth0 | awk '/Combined/ { print "pairs " $2; exit }'
ethtool -L eth0 combined 3 && passed "three pairs" ping -c 20 -A $peer
stream "four over three pairs" -P 4
stream "four over three pairs, back" -P 4 -R
ethtool -X eth0 weight 1 0 2 && ethtool -x eth0 | grep -q ": *2 *2 *2" && echo "RSS table" && stream "four by the table, back" -P 4 -R
nc -l -p 9 >/dev/null &
sleep 0.1
echo | nc $peer 9
wait
end
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc 2>/dev/null | gzip -1) >"$dir/initrd"

fail() {
	echo "test_uml_net.sh: $*"
	cat "$dir/server" "$dir"/log*
	exit 1
}
# uml N: a kernel in the background, its pid in $uml_pid.
uml() {
	timeout -k 1 100 env LD_PRELOAD="$shim" linux.uml mem=128M initrd="$dir/initrd" rdinit=/init \
		virtio_uml.device="$dir/net$1:1" con=null con0=fd:0,fd:1 ssl=null sv.me="$1" quiet \
		uml_dir="$dir/uml$1/" umid="g$1" </dev/null >"$dir/log$1" 2>&1 &
	uml_pid=$!
}
SIDEVISOR_RUN_DIR=$dir "$sidevisor" serve --socket "$dir/node" --isolate none \
	--net "path=$dir/net1,switch=lan,queues=3" --net "path=$dir/net2,switch=lan,mac=52:54:00:00:00:02" \
	2>"$dir/server" &
pid=$!
for _ in $(seq 100); do
	[ -S "$dir/net2" ] && break
	sleep 0.05
done
mkdir "$dir/uml1" "$dir/uml2"
uml 2
second=$uml_pid
uml 1
wait "$uml_pid" || :
wait "$second" || :
for n in 1 2; do
	tr -d '\r' <"$dir/log$n" >"$dir/log"
	mv "$dir/log" "$dir/log$n"
done
if grep -q "Kernel panic" "$dir/log1" && ! grep -q "^booted" "$dir/log1"; then
	skip "User-mode Linux does not boot on this machine"
fi
expect() {
	for line in "$@"; do
		grep -qE "^$line\$" "$dir/log$n" || fail "guest $n did not say '$line'"
	done
}
n=1
expect "largest frames" fragments "rx-checksumming: on.*" "tx-checksumming: on" \
	"tcp-segmentation-offload: on" "pairs 3" "three pairs" "RSS table"
for name in "all offloads" "all offloads, back" "receiver without large frames, back" \
	"sender without TSO" "sender without checksums" datagrams "large datagrams" \
	"four over three pairs" "four over three pairs, back" "four by the table, back"; do
	expect "stream, $name: [1-9][0-9]* Mbit/s"
done
for n in 1 2; do
	expect "same data" "RX errors 0" "TX errors 0"
	if grep -E "^failed|Kernel panic|WARNING:|BUG:" "$dir/log$n"; then
		fail "guest $n complained"
	fi
done
kill "$pid"
wait "$pid" || fail "the node ended with status $?"
pid=
for socket in "$dir"/net1 "$dir"/net2; do
	[ ! -e "$socket" ] || fail "$socket was left behind"
done
if grep -v "sidecore, the first on CPU" "$dir/server"; then
	fail "the node complained"
fi
grep "^stream" "$dir/log1"
