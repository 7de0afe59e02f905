#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# What `plan` says is what `run` does: on a node of so many CPUs, a guest that needs two L3s runs on the
# CPUs of the plan, each vCPU served by the sidecore of its own L3.
# usage: test_plan_run.sh BUILD CPUS TOPOLOGY NODES VCPUS
set -u
. "$(dirname "$0")/lib.sh"
cpus=$2 topology=$3 nodes=$4 vcpus=$5

cat >"$test_dir/inside.sh" <<EOF
vcpus=$vcpus
EOF
cat >>"$test_dir/inside.sh" <<'EOF'
sidevisor plan --guest name=g,vcpus=$vcpus
sidevisor plan --guest name=g,vcpus=$vcpus --json >plan.json
sidevisor run --name g --vcpus $vcpus --memory 64M --kernel lwk.elf --cmdline "app=threads" \
	--keep-placement placed.json
echo "run: status $?"
sed -n '/^  "guests"/,/^  "housekeeping"/s/^ *"cpu": \([0-9]*\).*/\1/p' plan.json >planned
sed -n '/"vcpu_cpus"/,/]/s/^ *\([0-9]*\),*$/\1/p' placed.json >placed
cmp planned placed && echo "vCPUs: $(wc -l <placed) as planned"
sed -n '/^  "sidecores"/,/^  "guests"/s/^ *"cpu": \([0-9]*\).*/\1/p' plan.json >planned
sed -n '/"sidecore_cpus"/,/]/s/^ *\([0-9]*\),*$/\1/p' placed.json >placed
cmp planned placed && echo "sidecores: $(wc -l <placed) as planned"
EOF
node --cpus "$cpus" --topology "$topology" --l3s --numa "$nodes" --memory 4G --timeout 900 \
	--append cpuhp.parallel=0 --file "$test_dir/inside.sh" -- sh inside.sh
expect_status 0
expect "^$vcpus of $vcpus vCPUs answered rightly"
expect '^run: status 0'
expect "^vCPUs: $vcpus as planned"
expect '^sidecores: 2 as planned'
expect 'farthest sidecore shares the L3'
done_testing
