#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# 64 devices of 16 guests on one sidecore: all served alike, memory bounded, idle when all are quiet.
sidevisor=$1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
if [ "$(nproc)" -lt 2 ]; then
	echo "SKIPPED BECAUSE this needs two CPUs"
	exit 77
fi
TMPDIR=$dir "$sidevisor" bench scale --seconds 2 --json >"$dir/json" 2>"$dir/log" || {
	echo "FAILED: bench scale:"
	cat "$dir/log" "$dir/json"
	exit 1
}
value() {
	sed -n "s/^ *\"$1\": \([0-9.]*\),*\$/\1/p" "$dir/json"
}
check() {
	awk "BEGIN { exit !($2) }" || {
		echo "FAILED: $1:"
		cat "$dir/json"
		exit 1
	}
}
least=$(value least) most=$(value most) connected=$(value connected) after=$(value after)
check "every device is served" "$(value disks) == 64 && $(value errors) == 0 && $least > 0"
check "nobody is left out" "$most <= 2 * $least + 64"
check "memory is bounded" "$after <= 65536 && $after <= $connected + 4096"
check "idle" "$(value idle_cpu_percent) <= 2"
echo "$(value reads) reads, $least to $most a disk, $after KiB, idle $(value idle_cpu_percent) % CPU"
