#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A bench that is told to end says so, fails, and leaves no directory and no process; one that is killed
# leaves no process (but User-mode Linux, which spins when its back end goes before it). Usage: test_bench_end.sh SIDEVISOR
sidevisor=$1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
if [ "$(nproc)" -lt 2 ]; then
	echo "SKIPPED BECAUSE this needs two CPUs"
	exit 77
fi
failed=0
fail() {
	echo "FAILED: $*"
	sed 's/^/    /' "$dir/log"
	failed=1
}

# Processes whose arguments name the directory.
left() {
	for p in /proc/[0-9]*; do
		{ tr '\0' '\n' <"$p/cmdline" | grep -qF "$tmp/" && echo "${p#/proc/}"; } 2>/dev/null
	done
}

# Some may need a moment to be gone.
none_left() {
	for i in $(seq 100); do
		[ -z "$(left)" ] && return
		sleep 0.1
	done
	false
}

# begin NAME OPTION...: the bench runs below $tmp, and has something there.
begin() {
	tmp=$(mktemp -d "$dir/XXXXXX")
	TMPDIR=$tmp env --default-signal=HUP,TERM "$sidevisor" bench "$@" >"$dir/out" 2>"$dir/log" &
	bench=$!
	for i in $(seq 100); do
		[ -n "$(ls "$tmp")" ] && break
		sleep 0.1
	done
}

# measuring NAME OPTION...: it has come as far as that.
measuring() {
	begin "$@"
	for i in $(seq 1000); do
		grep -q '^round 1 of' "$dir/log" && return
		sleep 0.1
	done
	fail "bench $1 does not measure"
}

# told SIGNAL STATUS SECONDS|measuring NAME OPTION...
told() {
	signal=$1 want=$2 when=$3
	shift 3
	if [ "$when" = measuring ]; then
		measuring "$@"
	else
		begin "$@"
		sleep "$when"
	fi
	kill -s "$signal" "$bench" || fail "bench $1 had ended before SIG$signal"
	wait "$bench"
	got=$?
	[ "$got" -eq "$want" ] || fail "bench $1 after SIG$signal: status $got, not $want"
	grep -q "sidevisor bench $1: interrupted" "$dir/log" || fail "bench $1 does not say that it was interrupted"
	[ -s "$dir/out" ] && fail "bench $1 has results"
	[ -z "$(ls "$tmp")" ] || fail "bench $1 left $(ls "$tmp")"
	none_left || fail "bench $1 left processes $(left)"
}

# killed NAME OPTION...
killed() {
	begin "$@"
	for i in $(seq 100); do
		[ -n "$(left)" ] && break
		sleep 0.1
	done
	[ -n "$(left)" ] || fail "bench $1 has no processes to leave"
	sleep 1
	kill -s KILL "$bench"
	wait "$bench" 2>/dev/null
	none_left || fail "bench $1, killed, left processes $(left)"
}

told TERM 143 2 fairness
told HUP 129 2 scale
told TERM 143 2 restart --kills 10000
killed scale --seconds 60
told HUP 129 0.1 io --image-size 2048
if command -v linux.uml >/dev/null && command -v iperf3 >/dev/null && command -v trafgen >/dev/null; then
	told TERM 143 1 net
	# DPDK's testpmd is stopped while others have their turn.
	told TERM 143 measuring net --rounds 100 --only pingpong
else
	echo "SKIPPED BECAUSE user-mode-linux, iperf3 or netsniff-ng is not installed: bench net"
fi
# A guest without fio says so before it is up.
"$sidevisor" bench io --print-loop >"$dir/loop"
(echo bye | PATH=$dir /bin/sh "$dir/loop") 2>/dev/null | head -n 1 | grep -qx "@lacks fio" ||
	fail "a guest without fio is up"
[ "$failed" -eq 0 ]
