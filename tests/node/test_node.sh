#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The virtual node itself: shape, kvm_amd, output, files, exit status, time-out, wrong usage, a triple fault.
set -u
. "$(dirname "$0")/lib.sh"

cat >"$test_dir/inside.sh" <<'EOF'
echo "on standard error" >&2
grep -c ^processor /proc/cpuinfo
ls -d /sys/devices/system/node/node[0-9]* | wc -l
cat /sys/module/kvm_amd/parameters/npt
[ -c /dev/kvm ] && echo kvm
[ -d /dev/pts ] && [ -d /dev/shm ] && ping -c 1 -q 127.0.0.1 >/dev/null && echo furnished
sidevisor --version
printf '%s\n' "$@"
mkdir -p /tmp/a && echo "a file" >/tmp/a/file
exit 7
EOF
node --cpus 4 --topology 2:1:2:1 --numa 2 --memory 1G --file "$test_dir/inside.sh" \
	--get /tmp/a/file --out "$test_dir/got" --timeout 200 -- sh inside.sh "two words" "it's"
expect_status 7
printf '4\n2\nY\nkvm\nfurnished\n' >"$test_dir/want"
head -n 5 "$test_dir/out" | cmp -s - "$test_dir/want" || fail "the node is not as asked for"
expect '^sidevisor [0-9]'
expect '^two words$'
expect "^it's\$"
expect '^on standard error$' "$test_dir/err"
expect '^a file$' "$test_dir/got/tmp/a/file"

# wrong NAME PATTERN OPTION...
wrong() {
	pattern=$1
	shift
	sh "$here/node.sh" "$@" >"$test_dir/wrong" 2>&1
	[ $? -eq 125 ] || fail "$*: not refused"
	expect "$pattern" "$test_dir/wrong"
}
wrong 'no command' --cpus 2
wrong 'unknown option --fly' --fly high -- true
wrong 'value is missing' --cpus
wrong '0 is not a positive number' --topology 1:1:0:1 -- true
wrong 'such as 2G' --memory much -- true
wrong 'more nodes than CPUs' --numa 3 --cpus 2 -- true
wrong 'no such file' --file "$test_dir/nothing" -- true

# A machine that ends without a word of its kernel: what is known of its end.
sh "$here/node.sh" --memory 512M --append reboot=t --timeout 100 -- sh -c 'echo b >/proc/sysrq-trigger; sleep 60' \
	>"$test_dir/fault" 2>&1
[ $? -eq 125 ] || fail "a node without a status: not a failure"
expect '^node: Triple fault$' "$test_dir/fault"
expect 'the node ended without a status' "$test_dir/fault"
# Its emulator is the one without the race (fetch.sh).
if at=$(sh "$here/fetch.sh" emulator 2>"$test_dir/fetched" || sh "$here/fetch.sh" qemu 2>>"$test_dir/fetched"); then
	[ -e "${at%/qemu}/mended" ] || fail "guests in this emulator may die: $(cat "$test_dir/fetched")"
fi
done_testing
