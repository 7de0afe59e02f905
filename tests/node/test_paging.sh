#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Direct paging on kvm_amd, where the processor walks the tables: what is mapped is there, what is unmapped
# is gone for every vCPU, by request and by exit; and `bench paging` with its substrate.
set -u
. "$(dirname "$0")/lib.sh"

cat >"$test_dir/inside.sh" <<'EOF'
lwk() {
	app=$1
	shift
	sidevisor run --direct-paging --kernel lwk.elf --cmdline "app=$app" "$@"
	echo "$app: status $?"
}
lwk "paging n=20000"
lwk "paging n=500 via=port"
lwk "paging n=500 via=trap"
lwk "paging n=2000 batch=16" --vcpus 2
SIDEVISOR_LWK=lwk.elf sidevisor bench paging --rounds 2 --count 64 --exits 5 --json >bench.json
echo "bench: status $?"
cat bench.json
EOF
node --cpus 4 --memory 2G --timeout 560 --file "$test_dir/inside.sh" -- sh inside.sh
expect_status 0
expect '^20000 updates in .* walked by the processor, 0 errors'
expect '^paging n=20000: status 0'
expect '^paging n=500 via=port: status 0'
expect '^paging n=500 via=trap: status 0'
expect '^paging n=2000 batch=16: status 0'
expect '^bench: status 0'
tr -d '\n' <"$test_dir/out" >"$test_dir/line"
expect '"substrate": *"kvm_amd"' "$test_dir/line"
expect '"tables": *"nested"' "$test_dir/line"
[ "$failures" -eq 0 ] || cat "$test_dir/out"
done_testing
