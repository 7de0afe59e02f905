#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Direct paging on kvm_amd, where the processor walks the tables: what is mapped is there, what is unmapped
# is gone for every vCPU, by request and by exit; and `bench paging` with its substrate.
set -u
. "$(dirname "$0")/lib.sh"

cat >"$test_dir/inside.sh" <<'EOF'
. ./await.sh
lwk() {
	app=$1
	shift
	sidevisor run --direct-paging --kernel lwk.elf --cmdline "app=$app" "$@"
	echo "$app: status $?"
}
lwk "paging n=20000"
# KVM's own count, without the interrupts of the host and what KVM emulates (PAUSE, kernel calls): the
# same for a thousand updates and for a million, but for a few.
other_exits() {
	sidevisor run --direct-paging --kernel lwk.elf --name "n$1" --cmdline "app=paging n=$1 stay" \
		>"n$1" 2>&1 &
	await " errors" "n$1" 60
	cat "n$1"
	sidevisor stats "n$1" --json | tr -d ' ",' | awk -F: '
		$1 == "exits" && $2 ~ /^[0-9]+$/ && !e { e = $2 }
		$1 == "irq_exits" && !i { i = $2 }
		$1 == "insn_emulation" && !m { m = $2 }
		$1 == "exits_to_us" { u = $2 }
		END { print e - i - m, u + 0 }' >"exits-n$1"
	sidevisor stop "n$1"
	wait
}
other_exits 1000
other_exits 1001000
read few ours <exits-n1000
read many ours <exits-n1001000
echo "exits: $few for 1000 updates, $many for 1001000, $ours of them ours"
[ $((many - few)) -lt 200 ] && [ "$ours" -eq 0 ] && echo "a million updates caused no exits"
lwk "paging n=500 via=port"
lwk "paging n=500 via=trap"
lwk "paging n=2000 batch=16" --vcpus 2
SIDEVISOR_LWK=lwk.elf sidevisor bench paging --only updates --rounds 2 --count 64 --exits 5 --json >bench.json
echo "bench: status $?"
cat bench.json
EOF
node --cpus 4 --memory 2G --timeout 560 --file "$test_dir/inside.sh" -- sh inside.sh
expect_status 0
expect '^20000 updates in .* walked by the processor, 0 errors'
expect '^paging n=20000: status 0'
expect '^a million updates caused no exits'
expect '^paging n=500 via=port: status 0'
expect '^paging n=500 via=trap: status 0'
expect '^paging n=2000 batch=16: status 0'
expect '^bench: status 0'
tr -d '\n' <"$test_dir/out" >"$test_dir/line"
expect '"substrate": *"kvm_amd"' "$test_dir/line"
expect '"tables": *"nested"' "$test_dir/line"
[ "$failures" -eq 0 ] || cat "$test_dir/out"
done_testing
