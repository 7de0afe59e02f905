#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# What `plan --export` says to a kernel, said to one: a node is booted with the command line of its own
# plan, and the commands for a partition are run in it. Usage: test_plan_export.sh BUILD [KERNEL...]
set -u
. "$(dirname "$0")/lib.sh"
shift
[ $# -gt 0 ] || set -- 6.12 6.1

export_plan() {
	"$build/cli/sidevisor" plan -t "core:4 pu:1" -g name=a,vcpus=2 --housekeeping 1 --export "$1"
}
line=$(export_plan kernel | grep -v '^#')
export_plan cgroup >"$test_dir/partition.sh"
cat >"$test_dir/inside.sh" <<'EOF'
mount -t cgroup2 none /sys/fs/cgroup || exit 1
echo "no tick: $(cat /sys/devices/system/cpu/nohz_full)"
echo "interrupts: $(cat /proc/irq/default_smp_affinity)"
sh partition.sh
echo "status $?"
echo "partition: $(cat /sys/fs/cgroup/sidevisor/cpuset.cpus.partition)"
echo "CPUs: $(cat /sys/fs/cgroup/sidevisor/cpuset.cpus.effective)"
sh partition.sh
echo "again: status $?"
echo member >/sys/fs/cgroup/sidevisor/cpuset.cpus.partition
rmdir /sys/fs/cgroup/sidevisor
echo "left: $(cat /sys/fs/cgroup/cpuset.cpus.effective)"
EOF
for kernel in "$@"; do
	node --kernel "$kernel" --cpus 4 --append "$line" --file "$test_dir/inside.sh" \
		--file "$test_dir/partition.sh" -- sh inside.sh
	expect_status 0
	expect '^no tick: 1-3$'
	expect '^interrupts: 1$'
	expect '^status 0$'
	expect '^partition: isolated$'
	expect '^CPUs: 1-3$'
	expect '^again: status 0$'
	expect '^left: 0-3$'
done
done_testing
