#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The doctor on a node whose state is known: kvm_amd without AVIC, a kernel with pre-faulting, one core
# isolated at boot and one not.
set -u
. "$(dirname "$0")/lib.sh"

cat >"$test_dir/inside.sh" <<'EOF'
echo 1 >/proc/sys/kernel/numa_balancing
sidevisor doctor --cpus 1-2 --sidecores 3 --all
echo "status $?"
sidevisor doctor --cpus 1-2 --sidecores 3 --strict >/dev/null
echo "strict $?"
EOF
node --cpus 4 --numa 2 --append "isolcpus=managed_irq,1 rcu_nocbs=1-3" --file "$test_dir/inside.sh" -- sh inside.sh
expect_status 0
expect '^status 0'
expect '^strict 1'
# of FINDING SEVERITY TEXT: the finding has it.
of() {
	grep -A 1 -E "^$2 +$1\$" "$test_dir/out" | grep -qE "$3" || fail "$1 is not $2 with '$3'"
}
of kvm-back-end ok kvm_amd
of kvm-device ok 'can be opened'
of posted-interrupts warning 'AVIC off'
of pre-fault ok 'yes'
of disable-exits ok 'yes'
of numa-balancing warning 'on$'
of isolated-cpus warning 'CPUs 2-3'
of rcu-callbacks ok 'holds all'
of nohz-full warning 'CPUs 1-3'
done_testing
