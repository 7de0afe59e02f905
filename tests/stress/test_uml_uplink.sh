#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Uplinks under an unmodified Linux driver, without any KVM and in a network namespace of their own: a
# kernel (User-mode Linux) gets its address from slirp, fetches from the host and is fetched from, streams
# over a TAP interface, and what its packet filter forbids does not pass. The node is confined as always.
# usage: test_uml_uplink.sh SIDEVISOR SHIM
set -eu

sidevisor=$1 shim=$2
skip() {
	echo "SKIPPED BECAUSE $*"
	exit 77
}
for p in linux.uml busybox iperf3 ip wget cpio ldd pkill unshare; do
	command -v $p >/dev/null ||
		skip "$p is missing (user-mode-linux, busybox-static, iperf3, iproute2, wget, cpio, procps)"
done
[ -c /dev/net/tun ] || skip "there is no /dev/net/tun here"
modules=/usr/lib/uml/modules
[ -n "$(find $modules -name virtio_net.ko 2>/dev/null)" ] ||
	skip "the User-mode Linux kernel here has no virtio_net"
if [ -z "${SV_INSIDE:-}" ]; then
	user=
	[ "$(id -u)" -eq 0 ] || user=-r
	unshare -n $user true 2>/dev/null || skip "network namespaces are not permitted here"
	SV_INSIDE=1 exec unshare -n $user sh "$0" "$@"
fi
ip link set lo up

dir=$(mktemp -d "${TMPDIR:-/tmp}/sidevisor-uml.XXXXXX")
pids=
# A kernel that had to be killed leaves its processes; they are known by the path of the socket.
trap 'kill $pids 2>/dev/null || :; pkill -9 -f "virtio_uml.device=$dir/" || :; rm -rf "$dir"' EXIT

root=$dir/root
mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp"
cp "$(command -v busybox)" "$root/bin/busybox"
for m in failover net_failover virtio_net; do
	at=$(find $modules -name $m.ko | head -n 1)
	[ -z "$at" ] || cp "$at" "$root/"
done
at=$(command -v iperf3)
cp "$at" "$root/bin/"
for lib in $(ldd "$at" | grep -o '/[^ ]*'); do
	mkdir -p "$root$(dirname "$lib")"
	cp -L "$lib" "$root$lib"
done
cat >"$root/dhcp" <<'DHCP'
#!/bin/busybox sh
[ "$1" != bound ] || { ip addr add $ip/24 dev $interface; echo "address $ip router $router dns $dns"; }
DHCP
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
ip link set lo up
ip link set eth0 up
ip link set eth1 up
ip addr add 10.7.0.2/24 dev eth1
mkdir /tmp/www
dd if=/dev/urandom of=/tmp/www/data bs=64k count=64 2>/dev/null
md5sum </tmp/www/data >/tmp/www/sum
httpd -h /tmp/www
httpd -h /tmp/www -p 81
wget -q -O /dev/null http://127.0.0.1:81/sum && echo "port 81 answers"
udhcpc -i eth0 -n -q -t 20 -T 1 -s /dhcp 2>/dev/null
[ "$(wget -q -O - http://10.0.2.2:8000/data | md5sum)" = "$(wget -q -O - http://10.0.2.2:8000/sum)" ] &&
	echo "fetched by slirp"
ping -c 20 -A -s 1472 10.7.0.1 >/dev/null && echo "ping by tap"
# stream NAME ARGUMENT...: of a second
stream() {
	name=$1
	shift
	timeout 20 iperf3 -c 10.7.0.1 -t 1 -J "$@" >/tmp/json 2>&1 &&
		awk -v "name=$name" '/"sum(_received)?"/ { on = 1 }
			on && /bits_per_second/ { printf "stream, %s: %d Mbit/s\n", name, $2 / 1e6; exit }' /tmp/json
}
stream "to the host"
stream "from the host" -R
echo "go"
nc -l -p 9 >/dev/null # the host is done
poweroff -f
INIT
chmod +x "$root/init" "$root/dhcp"
(cd "$root" && find . | cpio -o -H newc 2>/dev/null | gzip -1) >"$dir/initrd"

fail() {
	echo "test_uml_uplink.sh: $*"
	cat "$dir/server" "$dir/log"
	exit 1
}
mkdir "$dir/www" "$dir/uml"
dd if=/dev/urandom of="$dir/www/data" bs=64k count=64 2>/dev/null
md5sum <"$dir/www/data" >"$dir/www/sum"
busybox httpd -f -p 127.0.0.1:8000 -h "$dir/www" &
pids="$pids $!"
SIDEVISOR_RUN_DIR=$dir "$sidevisor" serve --socket "$dir/node" --isolate none \
	--net "path=$dir/net1,switch=wan" --net "path=$dir/net2,switch=lan,filter=pcap:not tcp port 81;count:" \
	--uplink slirp:switch=wan,host-loopback,forward=tcp:127.0.0.1:8080:80 \
	--uplink tap:switch=lan,dev=sv0 2>"$dir/server" &
node=$!
pids="$pids $node"
for _ in $(seq 100); do
	[ -S "$dir/net2" ] && [ -e /sys/class/net/sv0 ] && break
	sleep 0.05
done
ip addr add 10.7.0.1/24 dev sv0 || fail "there is no TAP interface"
iperf3 -s >/dev/null &
pids="$pids $!"
timeout -k 1 60 env LD_PRELOAD="$shim" linux.uml mem=128M initrd="$dir/initrd" rdinit=/init \
	virtio_uml.device="$dir/net1:1:0" virtio_uml.device="$dir/net2:1:1" con=null con0=fd:0,fd:1 ssl=null quiet \
	uml_dir="$dir/uml/" </dev/null >"$dir/log" 2>&1 &
uml=$!
for _ in $(seq 500); do
	grep -q "^go" "$dir/log" && break
	kill -0 $uml 2>/dev/null || break
	sleep 0.1
done
if grep -q "Kernel panic" "$dir/log" && ! grep -q "^booted" "$dir/log"; then
	skip "User-mode Linux does not boot on this machine"
fi
for line in "address 10.0.2.15 router 10.0.2.2 dns 10.0.2.3" "fetched by slirp" "ping by tap" \
	"port 81 answers" go; do
	grep -q "^$line" "$dir/log" || fail "the guest did not say '$line'"
done
same() {
	[ "$(wget -q -T 5 -t 1 -O - "$1/data" | md5sum)" = "$(wget -q -T 5 -t 1 -O - "$1/sum")" ]
}
same http://10.7.0.2 || fail "what came over the TAP interface is not what was sent"
same http://127.0.0.1:8080 || fail "what came by the forwarded port is not what was sent"
! wget -q -T 1 -t 1 -O /dev/null http://10.7.0.2:81/sum || fail "the packet filter let port 81 pass"
"$sidevisor" device --socket "$dir/node" --json >"$dir/devices" 2>"$dir/error" || fail "$(cat "$dir/error")"
for word in '"port": *"tap:sv0"' '"port": *"slirp"' '"filter": *"pcap"'; do
	grep -q "$word" "$dir/devices" || fail "the counters have no $word: $(cat "$dir/devices")"
done
wget -q -T 1 -t 1 -O /dev/null http://10.7.0.2:9/ || : # it ends
wait $uml || :
if grep -E "Kernel panic|WARNING:|BUG:" "$dir/log"; then
	fail "the guest complained"
fi
slirp=$(pgrep -f '^sidevisor-slirp' -P $node) || fail "there is no sidevisor-slirp"
kill $node
wait $node || fail "the node ended with status $?"
for _ in $(seq 100); do
	[ -d "/proc/$slirp" ] || break
	sleep 0.05
done
[ ! -d "/proc/$slirp" ] || fail "sidevisor-slirp was left behind"
if grep -v "sidecore, the first on CPU" "$dir/server"; then
	fail "the node complained"
fi
tr -d '\r' <"$dir/log" | grep -E "^(stream|address|fetched)"
