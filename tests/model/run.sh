#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Search ring.pml and tlb.pml exhaustively: no error in the protocols as they are, an error with every
# planted bug.
set -eu

for tool in spin cc; do
	command -v $tool > /dev/null || {
		echo "SKIPPED BECAUSE $tool is not installed (apt-get install spin gcc)"
		exit 0
	}
done
models=$(cd "$(dirname "$0")" && pwd)
model=$models/ring.pml
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# search NAME SPIN-DEFINES CC-FLAGS PAN-FLAGS: leaves pan's words in NAME.out
search() {
	# shellcheck disable=SC2086 # the flags are words
	spin -a $2 "$model" > "$1.spin" || { cat "$1.spin"; exit 1; }
	# shellcheck disable=SC2086
	cc -O0 -w $3 -o "$1.pan" pan.c
	# shellcheck disable=SC2086
	"./$1.pan" -m100000 $4 > "$1.out" 2>&1 || true
	if grep -q 'max search depth too small\|out of memory\|Search not completed' "$1.out"; then
		[ "${1#planted}" != "$1" ] && grep -q 'errors: [1-9]' "$1.out" && return 0
		echo "model: $1: the search was not exhaustive"
		cat "$1.out"
		exit 1
	fi
}

states() {
	sed -n 's/^ *\([0-9e.+]*\) states, stored.*/\1/p' "$1.out" | head -n 1
}

expect_clean() {
	search "$@"
	grep -q 'State-vector.*errors: 0$' "$1.out" || {
		echo "model: $1: an error in the protocol"
		cat "$1.out"
		exit 1
	}
	echo "model: $1: exhaustive, $(states "$1") states, errors: 0"
}

expect_found() {
	search "planted_$1" "-D$1 ${2:-}" "-DSAFETY" ""
	grep -q 'errors: [1-9]' "planted_$1.out" || {
		echo "model: the planted bug $1 was not found"
		cat "planted_$1.out"
		exit 1
	}
	echo "model: planted $1: found ($(sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' "planted_$1.out"))"
}

expect_clean safety "" "-DSAFETY" ""
expect_clean liveness "-DLIVE -DMESSAGES=4" "-DNFAIR=4" "-a -f"
for bug in NO_FENCE NO_RECHECK REUSE_EARLY SEQ_FIRST RETIRE_FIRST; do
	expect_found $bug
done

# Page tables: docs/paging.md.
model=$models/tlb.pml
expect_clean tlb "" "-DSAFETY" ""
expect_clean tlb_shadowed "-DSHADOW" "-DSAFETY" ""
for bug in NO_CLOSE EARLY_FLUSHED NO_MARK ONE_VCPU; do
	expect_found $bug
done
expect_found NO_ANSWER -DSHADOW
