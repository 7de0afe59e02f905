#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The lightweight kernel on kvm_amd: applications at CPL 3, threads, a million requests in miniature,
# a crash that is reported, and the figures of `bench exit` with their substrate.
set -u
. "$(dirname "$0")/lib.sh"

cat >"$test_dir/inside.sh" <<'EOF'
lwk() {
	app=$1
	shift
	sidevisor run --kernel lwk.elf --cmdline "app=$app" "$@"
	echo "$app: status $?"
}
lwk hello
lwk threads --vcpus 4 --overcommit
lwk "stress n=10000"
lwk crash
SIDEVISOR_LWK=lwk.elf sidevisor bench exit --rounds 3 --count 50 --exits 5 --json >bench.json
echo "bench: status $?"
cat bench.json
pidof sidevisor && echo "left behind"
true
EOF
node --cpus 4 --memory 2G --timeout 560 --file "$test_dir/inside.sh" -- sh inside.sh
expect_status 0
expect '^Hello from CPL 3'
expect '^hello: status 0'
expect '^threads: status 0'
expect '^stress n=10000: status 0'
expect '^crash: status 1'
expect '^bench: status 0'
reject 'left behind'
tr -d '\n' <"$test_dir/out" >"$test_dir/line"
expect '"substrate": *"kvm_amd"' "$test_dir/line"
expect '"emulated": *true' "$test_dir/line"
expect '"exit_hypercall": *[{]' "$test_dir/line"
done_testing
