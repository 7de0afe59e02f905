#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Our network under unmodified Linux drivers at native speed, without any KVM: two kernels (User-mode
# Linux) on one switch reach each other with every set of offloads and sizes of frames, send TCP
# streams both ways, and what arrived is what was sent. usage: test_uml_net.sh SIDEVISOR SHIM
set -eu

. "$(dirname "$0")/uml.sh"
uml_begin virtio_net iperf3 ethtool

uml_root "failover net_failover virtio_net" iperf3 ethtool <<'INIT'
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

uml_serve "$dir/net2" --net "path=$dir/net1,switch=lan,queues=3" \
	--net "path=$dir/net2,switch=lan,mac=52:54:00:00:00:02"
uml_boot log2 virtio_uml.device="$dir/net2:1" mem=128M quiet sv.me=2 &
second=$!
uml_boot log1 virtio_uml.device="$dir/net1:1" mem=128M quiet sv.me=1
wait "$second" || :
uml_booted_or_skip log1
expect log1 "largest frames" fragments "rx-checksumming: on.*" "tx-checksumming: on" \
	"tcp-segmentation-offload: on" "pairs 3" "three pairs" "RSS table"
for name in "all offloads" "all offloads, back" "receiver without large frames, back" \
	"sender without TSO" "sender without checksums" datagrams "large datagrams" \
	"four over three pairs" "four over three pairs, back" "four by the table, back"; do
	expect log1 "stream, $name: [1-9][0-9]* Mbit/s"
done
for n in 1 2; do
	expect log$n "same data" "RX errors 0" "TX errors 0"
	quiet_guest log$n
done
uml_stop "$dir/net1" "$dir/net2"
quiet_server
grep "^stream" "$dir/log1"
