#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A stock Debian kernel under sidevisor on kvm_amd: from its bzImage to userspace on an ext4 root on
# virtio-blk, with all its vCPUs and NUMA nodes, without complaints, and off again.
# usage: test_linux.sh BUILD KERNEL VCPUS NODES
set -u
. "$(dirname "$0")/lib.sh"
kernel=$2 vcpus=$3 nodes=$4
topology=$nodes:1:$((vcpus / nodes)):1
cpus=$((vcpus + 1))
[ $cpus -gt 2 ] || cpus=2
cat >"$test_dir/inside.sh" <<EOF
(
	until sidevisor stats linux >/dev/null 2>&1; do usleep 200000; done
	awk '\$1 == "ShmemPmdMapped:" { print "huge pages behind the guest: " \$2 / 1024 " MiB" }' /proc/meminfo
) &
sidevisor run --name linux --kernel vmlinuz --initrd initrd --disk path=/dev/vda --memory 768M \
	--vcpus $vcpus --topology $topology --numa $nodes --overcommit \
	--cmdline "console=ttyS0 console=hvc0 quiet panic=-1 sv.run=sh%/root/inside"
EOF
cat >"$test_dir/in-guest" <<'EOF'
echo "processors: $(grep -c ^processor /proc/cpuinfo)"
echo "nodes: $(ls -d /sys/devices/system/node/node[0-9]* | wc -l)"
for n in /sys/devices/system/node/node[0-9]*; do
	echo "${n##*/}: CPUs $(cat "$n/cpulist"), distances $(cat "$n/distance")"
done
cat /proc/interrupts | grep -E 'virtio|req' | cut -c 1-100
dd if=/dev/urandom of=/root/data bs=64k count=64 conv=fsync 2>/dev/null
sync
echo 3 >/proc/sys/vm/drop_caches
a=$(md5sum </root/data) b=$(cat /root/data | md5sum)
[ "$a" = "$b" ] && echo "data: same"
dmesg -r | sed -n 's/^<[0-4]>/complaint: /p'
EOF
guest tiny "$kernel" "$test_dir/in-guest:/root/inside"
node --cpus $cpus --numa "$nodes" --memory 2G --timeout 560 --file "$test_dir/vmlinuz" \
	--file "$test_dir/initrd" --file "$test_dir/inside.sh" --disk "$test_dir/root.img" -- sh inside.sh
expect_status 0
expect '^userspace up after'
expect "^processors: $vcpus\$"
expect "^nodes: $nodes\$"
expect '^data: same$'
expect '^huge pages behind the guest: [1-9]'
expect 'powered off' "$test_dir/err"
expect 'sv.run ended with status 0'
# What the emulated CPU and its speed make the kernel say is not about us.
grep '^complaint:' "$test_dir/out" | grep -vE \
	'hrtimer: interrupt took|Speculative Return Stack|srso|clocksource|RETBleed|Spectre|TSC|rcu:|perf: interrupt' \
	>"$test_dir/complaints"
reject . "$test_dir/complaints"
expect_clean "$test_dir/root.img"
grep -E '^userspace up|^node[0-9]' "$test_dir/out"
done_testing
