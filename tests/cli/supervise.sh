#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# `serve --supervise`: a killed child is replaced, an error of the first start is final, a signal ends
# both. usage: supervise.sh SIDEVISOR
set -u
sv=$1
dir=$(mktemp -d "${TMPDIR:-/tmp}/sidevisor-supervise.XXXXXX")
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; rm -rf "$dir"' EXIT
export SIDEVISOR_RUN_DIR="$dir" SIDEVISOR_ISOLATE=none

fail() {
	echo "FAILED: $*"
	cat "$dir/err"
	exit 1
}
child() {
	cat "/proc/$pid/task/$pid/children"
}
# wait_for COMMAND...: at most ten seconds.
wait_for() {
	for _ in $(seq 500); do
		"$@" && return
		sleep 0.02
	done
	fail "$* did not come true"
}
serves() {
	[ "$(grep -c 'VMs attach at' "$dir/err")" -ge "$1" ]
}

truncate -s 1M "$dir/image"
"$sv" serve --supervise --cpus 0 --socket "$dir/node" --blk "path=$dir/image,socket=$dir/disk" 2>"$dir/err" &
pid=$!
for life in 1 2 3 4; do
	wait_for serves $life
	wait_for test -S "$dir/disk"
	# shellcheck disable=SC2046 # one number and a blank
	[ $life -eq 4 ] || kill -9 $(child)
done
[ "$(grep -c 'ended by signal 9 (Killed); starting it again' "$dir/err")" -eq 3 ] || fail "not said three times"
echo "ok killed thrice"

last=$(child)
kill "$pid"
status=0
wait "$pid" || status=$?
pid=
[ $status -eq 0 ] || fail "SIGTERM: status $status"
[ ! -d "/proc/${last% }" ] || fail "the child is still there"
[ ! -e "$dir/node" ] && [ ! -e "$dir/disk" ] || fail "sockets are left behind"
echo "ok ended"

# The supervisor is killed: the child does not stay behind.
: >"$dir/err"
"$sv" serve --supervise --cpus 0 --socket "$dir/node" 2>"$dir/err" &
pid=$!
wait_for serves 1
last=$(child)
kill -9 "$pid"
wait "$pid" 2>/dev/null
pid=
gone() {
	[ ! -d "/proc/${last% }" ]
}
wait_for gone
echo "ok supervisor killed"

timeout 10 "$sv" serve --supervise --cpus 0 --socket "$dir/node" --blk "path=$dir/none,socket=$dir/disk" 2>"$dir/err" &&
	fail "a missing image is not an error"
[ $? -ne 124 ] || fail "it goes on without an image"
[ "$(wc -l <"$dir/err")" -le 2 ] || fail "more than a sentence"
grep -q "$dir/none" "$dir/err" || fail "the image is not named"
echo "ok first error is final"
