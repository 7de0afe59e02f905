#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Uplinks under an unmodified Linux driver, without any KVM and in a network namespace of their own: a
# kernel (User-mode Linux) gets its address from slirp, fetches from the host and is fetched from, streams
# over a TAP interface, and what its packet filter forbids does not pass. The node is confined as always.
# usage: test_uml_uplink.sh SIDEVISOR SHIM
set -eu

. "$(dirname "$0")/uml.sh"
[ -c /dev/net/tun ] || skip "there is no /dev/net/tun here"
if [ -z "${SV_INSIDE:-}" ]; then
	user=
	[ "$(id -u)" -eq 0 ] || user=-r
	unshare -n $user true 2>/dev/null || skip "network namespaces are not permitted here"
	SV_INSIDE=1 exec unshare -n $user sh "$0" "$@"
fi
ip link set lo up

uml_begin virtio_net iperf3 ip wget

mkdir "$dir/root"
cat >"$dir/root/dhcp" <<'DHCP'
#!/bin/busybox sh
[ "$1" != bound ] || { ip addr add $ip/24 dev $interface; echo "address $ip router $router dns $dns"; }
DHCP
chmod +x "$dir/root/dhcp"
uml_root "failover net_failover virtio_net" iperf3 <<'INIT'
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

mkdir "$dir/www"
dd if=/dev/urandom of="$dir/www/data" bs=64k count=64 2>/dev/null
md5sum <"$dir/www/data" >"$dir/www/sum"
busybox httpd -f -p 127.0.0.1:8000 -h "$dir/www" &
others=$!
uml_serve "$dir/net2" \
	--net "path=$dir/net1,switch=wan" --net "path=$dir/net2,switch=lan,filter=pcap:not tcp port 81;count:" \
	--uplink slirp:switch=wan,host-loopback,forward=tcp:127.0.0.1:8080:80 \
	--uplink tap:switch=lan,dev=sv0
for _ in $(seq 100); do
	ip link show sv0 >/dev/null 2>&1 && break
	sleep 0.05
done
ip addr add 10.7.0.1/24 dev sv0 || fail "there is no TAP interface"
iperf3 -s >/dev/null &
others="$others $!"
: >"$dir/log"
uml_boot log virtio_uml.device="$dir/net1:1:0" virtio_uml.device="$dir/net2:1:1" mem=128M quiet &
uml=$!
for _ in $(seq 500); do
	grep -qx "go" "$dir/log" && break
	kill -0 $uml 2>/dev/null || break
	sleep 0.1
done
uml_booted_or_skip log
expect log "address 10.0.2.15 router 10.0.2.2 dns 10.0.2.3" "port 81 answers" "fetched by slirp" \
	"ping by tap" go
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
quiet_guest log
slirp=$(pgrep -f '^sidevisor-slirp' -P "$server") || fail "there is no sidevisor-slirp"
uml_stop "$dir/net1" "$dir/net2"
for _ in $(seq 100); do
	[ -d "/proc/$slirp" ] || break
	sleep 0.05
done
[ ! -d "/proc/$slirp" ] || fail "sidevisor-slirp was left behind"
quiet_server
grep -E "^(stream|address|fetched)" "$dir/log"
