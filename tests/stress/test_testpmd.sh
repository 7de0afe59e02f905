#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Our switch under DPDK's polling driver: testpmd holds two interfaces (virtio-user) and sends every
# packet that it gets on one out of the other, so that a few bursts go round and round, with
# split and packed rings, with and without mergeable buffers. The sidecore polls all the time, and nobody kicks it.
#
# usage: test_testpmd.sh SIDEVISOR [ROUNDS [SECONDS [BYTES]]]
# With ROUNDS: testpmd's own vhost back end, which joins two interfaces without looking at an address,
# takes turns with ours, on the same CPUs; a JSON record of packets per second (median of the seconds)
# and their ratio. CPUS=A,B are the CPUs of the driver and of the back end (default: the first two);
# RINGS are the driver's options (default: mrg_rxbuf=1); HUGE=DIR is a hugetlbfs with 512 MiB free, for the
# memory of both, which DPDK is made for (default: small pages).
set -eu

sidevisor=$1 rounds=${2:-0} seconds=${3:-1} bytes=${4:-64}
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
export RUNTIME_DIRECTORY="$dir" # where DPDK leaves files
common="--no-pci --no-telemetry -m 256 --no-huge"
[ -z "${HUGE:-}" ] || common="--no-pci --no-telemetry -m 256 --huge-dir $HUGE --single-file-segments"
forward="--nb-cores=1 --no-mlockall --total-num-mbufs=16384"

start_ours() {
	SIDEVISOR_RUN_DIR=$dir "$sidevisor" serve --cpus "$back" --socket "$dir/node" --isolate none \
		--net "path=$dir/n1,switch=lan,mac=52:54:00:00:00:01" \
		--net "path=$dir/n2,switch=lan,mac=52:54:00:00:00:02" --idle never 2>"$dir/back" &
	pid=$!
}
# samples: while the driver runs, lines of frames sent and kicks so far. The sidecore does not read the
# kicks' event counters, which it waits for only when it sleeps: they hold every kick there was.
samples() {
	while kill -0 "$1" 2>/dev/null; do
		frames=$("$sidevisor" device --json --socket "$dir/node" node/n1 2>/dev/null |
			sed -n 's/^ *"tx_frames": \([0-9]*\),*/\1/p')
		kicks=0
		sed -n 's/^tfd: *\([0-9]*\) .*/\1/p' "/proc/$pid"/fdinfo/* 2>/dev/null | sort -u >"$dir/fds"
		while read -r fd; do
			n=$(sed -n 's/^eventfd-count: *//p' "/proc/$pid/fdinfo/$fd" 2>/dev/null) || continue
			[ -z "$n" ] || kicks=$((kicks + 0x$n))
		done <"$dir/fds"
		[ -z "$frames" ] || {
			echo "$frames $kicks"
			touch "$dir/up"
		}
		sleep 0.2
	done
}
start_theirs() {
	# shellcheck disable=SC2086 # the options are words
	dpdk-testpmd --lcores "(0,1)@$back" $common --file-prefix "back$$" \
		--vdev "net_vhost0,iface=$dir/n1,queues=1" --vdev "net_vhost1,iface=$dir/n2,queues=1" \
		-- $forward --stats-period 1 --forward-mode=io </dev/null >"$dir/back" 2>&1 &
	pid=$!
}
# turn ours|theirs RINGS: packets per second of each port, a line per second, in $dir/rates.
turn() {
	"start_$1"
	for _ in $(seq 300); do
		[ -S "$dir/n2" ] && break
		sleep 0.1
	done
	[ -S "$dir/n2" ] || fail "$1: no sockets"
	sleep 0.5
	rm -f "$dir/up"
	[ "$1" = ours ] || touch "$dir/up"
	echo 0 >"$dir/samples"
	# shellcheck disable=SC2086 # the options are words
	{
		# Frames that come before the other interface is up are lost.
		for _ in $(seq 300); do
			[ ! -e "$dir/up" ] || break
			sleep 0.1
		done
		sleep 2
		echo "start tx_first 4"
		for _ in $(seq $((seconds + 1))); do
			sleep 1
			echo "show port stats all"
		done
		for _ in $(seq 30); do
			[ "$1" = ours ] || break
			awk '$1 > 0 { n++ } END { exit !(n > 3 && $1 > 60000) }' "$dir/samples" && break
			sleep 1
		done
		echo stop
		echo quit
	} | timeout -k 20 $((seconds + 100)) dpdk-testpmd --lcores "(0,1)@$driver" $common \
		--file-prefix "driver$$" \
		--vdev "net_virtio_user0,path=$dir/n1,mac=52:54:00:00:00:01,queue_size=1024,$2" \
		--vdev "net_virtio_user1,path=$dir/n2,mac=52:54:00:00:00:02,queue_size=1024,$2" \
		-- $forward -i --forward-mode=mac --eth-peer=0,52:54:00:00:00:02 \
		--eth-peer=1,52:54:00:00:00:01 --burst=64 "--txpkts=$bytes" >"$dir/driver" 2>&1 &
	traffic=$!
	[ "$1" = theirs ] || samples $traffic >>"$dir/samples"
	wait $traffic || :
	kill -INT "$pid"
	wait "$pid" || [ "$1" = theirs ] || fail "the node ended with status $?"
	pid=
	rm -f "$dir"/n1 "$dir"/n2
	awk '/Rx-pps:/ { print $2 }' "$dir/driver" >"$dir/rates"
}
# What went round, and the kicks meanwhile: until the last sample that a frame came after (a driver that
# stops may kick).
check() {
	awk '$1 > frames { if (frames && !from) { from = frames; before = kicks }
			if (from) { to = frames; after = kicks } }
		{ frames = $1; kicks = $2 }
		END { print to - from, after - before; exit to - from < 200 }' "$dir/samples" >"$dir/count" ||
		fail "packets do not go round"
	cat "$dir/count" >>"$dir/counts"
	if grep -v "sidecore, the first on CPU" "$dir/back"; then
		fail "the node complained"
	fi
}
median() {
	sort -n "$1" | awk '{ v[NR] = $1 } END { print NR ? v[int((NR + 1) / 2)] : 0 }'
}

if [ "$rounds" = 0 ]; then
	for rings in mrg_rxbuf=1 mrg_rxbuf=0,in_order=0 packed_vq=1; do
		turn ours $rings
		check
		echo "$rings: frames and kicks $(cat "$dir/count")"
	done
	awk '{ frames += $1; kicks += $2 } END { print frames " frames while it was counted, " kicks " kicks"
		exit kicks != 0 || !frames }' "$dir/counts" || fail "the sidecore was kicked while it polled"
	exit 0
fi
for _ in $(seq "$rounds"); do
	for who in ours theirs; do
		turn $who ${RINGS:-mrg_rxbuf=1}
		[ $who = theirs ] || check
		cat "$dir/rates" >>"$dir/$who"
	done
done
ours=$(median "$dir/ours") theirs=$(median "$dir/theirs")
echo "{\"bench\": \"net-testpmd\", \"peer\": \"DPDK $(dpkg-query -W -f '${Version}' dpdk 2>/dev/null || echo unknown)\"," \
	"\"rings\": \"${RINGS:-mrg_rxbuf=1}\", \"huge_pages\": $([ -n "${HUGE:-}" ] && echo true || echo false)," \
	"\"cpus\": \"$cpus\", \"frame_bytes\": $bytes, \"rounds\": $rounds, \"ours_pps\": $ours," \
	"\"testpmd_pps\": $theirs, \"ratio\": $(echo "$ours $theirs" | awk '{ printf "%.3f", $2 ? $1 / $2 : 0 }')," \
	"\"load\": \"$(cut -d ' ' -f 1 /proc/loadavg)\"}"
