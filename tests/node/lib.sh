# SPDX-License-Identifier: BSD-3-Clause
# Sourced by the tests in virtual nodes: $1 of each test is the build directory.

here=$(cd "$(dirname "$0")" && pwd)
build=$1
test_dir=$(mktemp -d "${TMPDIR:-/tmp}/sidevisor-test.XXXXXX")
trap 'rm -rf "$test_dir"' EXIT
trap 'exit 130' INT TERM HUP
failures=0

skip() {
	echo "SKIPPED BECAUSE $*"
	exit 77
}

# node OPTION...: a node with our build in it. Its output goes to $test_dir/out, its status to $status.
node() {
	status=0
	sh "$here/node.sh" --build "$build" "$@" >"$test_dir/out" 2>"$test_dir/err" || status=$?
	tr -d '\r' <"$test_dir/out" >"$test_dir/out.clean"
	mv "$test_dir/out.clean" "$test_dir/out"
	[ "$status" -ne 77 ] || skip "what a virtual node needs cannot be fetched here:" \
		"$(grep fetch.sh "$test_dir/err" | tail -n 1)"
}

# guest KIND KERNEL [FILE:DST...]: vmlinuz, initrd and root.img in $test_dir.
guest() {
	code=0 kind=$1 of_kernel=$2
	shift 2
	sh "$here/make-guest.sh" "$kind" "$of_kernel" "$test_dir" "$@" >"$test_dir/make.log" 2>&1 || code=$?
	[ "$code" -ne 77 ] || skip "guest images cannot be made here: $(tail -n 1 "$test_dir/make.log")"
	[ "$code" -eq 0 ] || {
		cat "$test_dir/make.log"
		exit 1
	}
}

fail() {
	echo "FAILED: $*"
	failures=$((failures + 1))
}

# expect TEXT [FILE]: the extended regular expression is in the output.
expect() {
	grep -qE -- "$1" "${2:-$test_dir/out}" || fail "'$1' is not in the output"
}

reject() {
	if grep -E -- "$1" "${2:-$test_dir/out}" >"$test_dir/found"; then
		fail "the output has: $(head -n 3 "$test_dir/found")"
	fi
}

expect_status() {
	[ "$status" -eq "$1" ] || fail "status $status, expected $1"
}

# The image of a guest that ended in good order needs no repair.
expect_clean() {
	/sbin/e2fsck -fn "$1" >"$test_dir/fsck" 2>&1 || {
		fail "$1 is not clean"
		cat "$test_dir/fsck"
	}
}

# done_testing: what happened, in full where something failed.
done_testing() {
	if [ "$failures" -ne 0 ]; then
		echo "--- output"
		tail -n 80 "$test_dir/out"
		echo "--- errors"
		tail -n 30 "$test_dir/err"
		exit 1
	fi
	echo "passed"
}
