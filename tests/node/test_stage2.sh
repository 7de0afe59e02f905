#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Stage 2 on kvm_amd with nested paging: memory mapped by the helper vCPU while the guest runs causes at
# most 1 % of the faults of memory on demand; a kernel without KVM_PRE_FAULT_MEMORY says so and goes on.
# usage: test_stage2.sh BUILD MIB VCPUS
set -u
. "$(dirname "$0")/lib.sh"
mib=$2 vcpus=$3

cat >"$test_dir/inside.sh" <<EOF
SIDEVISOR_LWK=lwk.elf sidevisor bench paging --only stage2 --backing 4k --memory $mib --vcpus $vcpus --json >bench.json
echo "bench: status \$?"
cat bench.json
EOF
cat >"$test_dir/old.sh" <<'EOF'
sidevisor run --kernel lwk.elf --cmdline "app=touch mib=16" --memory 64M --no-populate --stage2 running 2>&1
echo "old: status $?"
EOF
[ "$mib" -ge 1024 ] || {
	node --kernel 6.1 --cpus 2 --memory 1G --file "$test_dir/old.sh" -- sh old.sh
	expect '4096 pages touched, 0 errors'
	expect '--stage2 running: this kernel has no KVM_PRE_FAULT_MEMORY'
	expect '^old: status 0'
}
node --cpus $((vcpus + 2)) --memory $((mib + 1024))M --timeout 800 --file "$test_dir/inside.sh" -- sh inside.sh
expect_status 0
expect '^bench: status 0'
expect '"substrate": "kvm_amd"'
awk -F '[:,]' '/"when"/ { gsub(/[ "]/, "", $2); w = $2 } /"faults":/ { f[w] += $2 }
	END { print f["demand"], f["before"], f["running"] }' "$test_dir/out" >"$test_dir/faults"
read -r demand before running <"$test_dir/faults"
[ "$vcpus" -gt 1 ] && rows=2 || rows=1
echo "faults of $((mib * 256 * rows)) pages: $demand on demand, $before mapped before, $running mapped while running"
[ "$demand" -ge $((mib * 256 * rows)) ] || fail "$demand faults on demand"
[ $((running * 100)) -le "$demand" ] || fail "more than 1 % of the faults while running"
[ $((before * 100)) -le "$demand" ] || fail "more than 1 % of the faults after mapping before"
done_testing
