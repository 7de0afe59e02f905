#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# sidevisor doctor on this machine: what it prints can be used, and every key is documented.
# usage: doctor.sh SIDEVISOR SOURCE
set -eu
sidevisor=$1 source=$2
failed=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

check() { # what it is, then a command
	what=$1
	shift
	"$@" >"$dir/out" 2>"$dir/err" || {
		echo "FAILED: $what"
		sed 's/^/    /' "$dir/out" "$dir/err" | tail -n 20
		failed=$((failed + 1))
	}
}
status_is() {
	want=$1
	shift
	set +e
	"$@" >/dev/null 2>"$dir/said"
	got=$?
	set -e
	[ "$got" -eq "$want" ]
}
says() {
	cat "$dir/said"
	grep -qF -- "$1" "$dir/said"
}

check "--help" status_is 0 "$sidevisor" doctor --help
check "it examines" status_is 0 "$sidevisor" doctor
check "an unknown option" status_is 2 "$sidevisor" doctor --bogus
check "it is named" says "--bogus"
check "a bad list" status_is 2 "$sidevisor" doctor --cpus 3-1
check "the list is named" says "--cpus 3-1"
check "an operand" status_is 2 "$sidevisor" doctor now
check "no device" sh -c "SIDEVISOR_KVM=/nonexistent $sidevisor doctor --strict; [ \$? -eq 1 ]"
check "and it is a problem" sh -c "SIDEVISOR_KVM=/nonexistent $sidevisor doctor | grep -q '/nonexistent cannot be opened'"

"$sidevisor" doctor --json --measure >"$dir/json" 2>"$dir/progress" || failed=$((failed + 1))
check "progress" grep -q 'noise measured on' "$dir/progress"
check "the schema" grep -q '"schema": "sidevisor-doctor/1"' "$dir/json"
check "noise of a CPU" grep -q '"worst_us"' "$dir/json"
for key in $(grep -oE '"[a-z0-9_]+":' "$dir/json" | tr -d '":' | sort -u); do
	check "docs/doctor.md has $key" grep -q "[\`.]$key\`" "$source/docs/doctor.md"
done
check "no line over 100 columns" sh -c "! $sidevisor doctor --all | grep -E '^.{101}'"
[ "$failed" -eq 0 ] && echo "doctor: all as expected"
exit "$failed"
