#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Our switch under DPDK's polling driver: testpmd holds two interfaces (virtio-user) and sends every
# packet that it gets on one out of the other, so that a few bursts go round and round, with and
# without mergeable buffers.
#
# usage: test_testpmd.sh SIDEVISOR [ROUNDS [SECONDS [BYTES]]]
# With ROUNDS: testpmd's own vhost back end, which joins two interfaces without looking at an address,
# takes turns with ours, on the same CPUs; a JSON record of packets per second (median of the seconds)
# and their ratio. CPUS=A,B are the CPUs of the driver and of the back end (default: the first two).
set -eu

sidevisor=$1 rounds=${2:-0} seconds=${3:-2} bytes=${4:-64}
skip() {
	echo "SKIPPED BECAUSE $*"
	exit 77
}
command -v dpdk-testpmd >/dev/null || skip "dpdk-testpmd is missing (dpdk)"
grep -q ' sse4_2 ' /proc/cpuinfo || skip "DPDK needs SSE 4.2"
cpus=${CPUS:-$(taskset -cp $$ | sed 's/.*: //' | tr ',' '\n' | while IFS=- read -r a b; do
	seq "$a" "${b:-$a}"
done | head -n 2 | paste -sd ,)}
driver=${cpus%,*} back=${cpus#*,}
case $cpus in *,*) ;; *) skip "it takes two CPUs" ;; esac

dir=$(mktemp -d "${TMPDIR:-/tmp}/sidevisor-testpmd.XXXXXX")
pid=
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || :; rm -rf "$dir"' EXIT
fail() {
	echo "test_testpmd.sh: $*"
	tail -n 40 "$dir"/back "$dir"/driver 2>/dev/null || :
	exit 1
}
common="--no-pci --no-huge -m 256 --no-telemetry"
forward="--nb-cores=1 --no-mlockall --total-num-mbufs=16384 --stats-period 1"

start_ours() {
	SIDEVISOR_RUN_DIR=$dir "$sidevisor" serve --cpus "$back" --socket "$dir/node" --isolate none \
		--net "path=$dir/n1,switch=lan,mac=52:54:00:00:00:01" \
		--net "path=$dir/n2,switch=lan,mac=52:54:00:00:00:02" 2>"$dir/back" &
	pid=$!
}
start_theirs() {
	# shellcheck disable=SC2086 # the options are words
	dpdk-testpmd --lcores "(0,1)@$back" $common --file-prefix "back$$" \
		--vdev "net_vhost0,iface=$dir/n1,queues=1" --vdev "net_vhost1,iface=$dir/n2,queues=1" \
		-- $forward --forward-mode=io </dev/null >"$dir/back" 2>&1 &
	pid=$!
}
# turn ours|theirs MERGEABLE: packets per second of each port, a line per second, in $dir/rates.
turn() {
	"start_$1"
	for _ in $(seq 300); do
		[ -S "$dir/n2" ] && break
		sleep 0.1
	done
	[ -S "$dir/n2" ] || fail "$1: no sockets"
	sleep 0.5
	# shellcheck disable=SC2086 # the options are words
	timeout -s INT -k 20 $((seconds + 3)) dpdk-testpmd --lcores "(0,1)@$driver" $common \
		--file-prefix "driver$$" \
		--vdev "net_virtio_user0,path=$dir/n1,mac=52:54:00:00:00:01,queue_size=1024,mrg_rxbuf=$2" \
		--vdev "net_virtio_user1,path=$dir/n2,mac=52:54:00:00:00:02,queue_size=1024,mrg_rxbuf=$2" \
		-- $forward --forward-mode=mac --eth-peer=0,52:54:00:00:00:02 \
		--eth-peer=1,52:54:00:00:00:01 --tx-first --burst=64 "--txpkts=$bytes" \
		</dev/null >"$dir/driver" 2>&1 || :
	kill -INT "$pid"
	wait "$pid" || [ "$1" = theirs ] || fail "the node ended with status $?"
	pid=
	rm -f "$dir"/n1 "$dir"/n2
	awk '/Rx-pps:/ { print $2 }' "$dir/driver" >"$dir/rates"
}
# The packets that went round: what each port received and sent, dropped, at the end.
check() {
	awk '/RX-total:/ { rx[++n] = $2 } /TX-total:/ { dropped += $4 }
		END { exit !(n == 3 && rx[1] > 1000 && rx[2] > 1000 && !dropped) }' "$dir/driver" ||
		fail "packets do not go round"
	if grep -v "sidecore, the first on CPU" "$dir/back"; then
		fail "the node complained"
	fi
}
median() {
	sort -n "$1" | awk '{ v[NR] = $1 } END { print NR ? v[int((NR + 1) / 2)] : 0 }'
}

if [ "$rounds" = 0 ]; then
	for merge in 1 0; do
		turn ours $merge
		check
		echo "ok mergeable=$merge: $(awk '/RX-total:/ { n = $2 } END { print n }' "$dir/driver") packets"
	done
	exit 0
fi
for _ in $(seq "$rounds"); do
	for who in ours theirs; do
		turn $who 1
		[ $who = theirs ] || check
		cat "$dir/rates" >>"$dir/$who"
	done
done
ours=$(median "$dir/ours") theirs=$(median "$dir/theirs")
echo "{\"bench\": \"net-testpmd\", \"version\": \"$(dpdk-testpmd --version 2>&1 | grep -o 'DPDK [0-9.]*' |
	head -n 1)\", \"cpus\": \"$cpus\", \"frame_bytes\": $bytes, \"rounds\": $rounds, \"ours_pps\": $ours," \
	"\"testpmd_pps\": $theirs, \"ratio\": $(echo "$ours $theirs" | awk '{ printf "%.3f", $2 ? $1 / $2 : 0 }')," \
	"\"load\": \"$(cut -d ' ' -f 1 /proc/loadavg)\"}"
