#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A stock kernel whose memory arrives while it runs, on kvm_amd: with a disk, whose buffers may be
# in memory that has not arrived; from a source that is late with every answer. The sidecore process is
# killed on the way, and another one goes on.
# usage: test_pager.sh BUILD KERNEL
set -u
. "$(dirname "$0")/lib.sh"
mib=160

cat >"$test_dir/inside.sh" <<EOF
. ./await.sh
mkfifo in
: >out
exec 8<>in
memory_source serve /s $((mib << 20)) 2 >/source 2>&1 &
await ready /source 30
(
	until sidevisor stats --json linux >/dev/null 2>&1; do usleep 200000; done
	for p in /proc/[0-9]*; do
		[ "\$(cat \$p/comm 2>/dev/null)" = sidevisor-serve ] && kill -9 "\${p#/proc/}"
	done
	until sidevisor stats --json linux 2>/dev/null | tr -d '\n ' | grep -o '"memory_source":{[^}]*}' >/stats &&
		grep -q '"done":true' /stats; do usleep 500000; done
	cat /stats >&2
	sidevisor stats --json linux | grep node_rejoins >&2
	sidevisor stats linux | grep -E '^(memory source|sidecore processes)' >&2
	# What comes before a guest has opened its console is lost on it.
	await "guest waits" out 500
	echo go >&8
) &
sidevisor run --name linux --kernel vmlinuz --initrd initrd --disk path=/dev/vda --memory ${mib}M \
	--memory-source /s --overcommit \
	--cmdline "console=ttyS0 console=hvc0 quiet panic=-1 sv.run=sh%/root/inside" <&8 >out
status=\$?
cat out
exit \$status
EOF
cat >"$test_dir/in-guest" <<'EOF'
dd if=/dev/urandom of=/root/data bs=64k count=128 conv=fsync 2>/dev/null
a=$(md5sum </root/data)
for i in 1 2 3; do
	echo 3 >/proc/sys/vm/drop_caches
	b=$(cat /root/data | md5sum)
	[ "$a" = "$b" ] && echo "data: same"
done
echo "guest waits"
read -r all_has_arrived </dev/hvc0
echo 3 >/proc/sys/vm/drop_caches
[ "$a" = "$(md5sum </root/data)" ] && echo "data: same"
dmesg -r | sed -n 's/^<[0-3]>/complaint: /p'
EOF
guest tiny "$2" "$test_dir/in-guest:/root/inside"
node --cpus 3 --memory 2G --timeout 540 --file "$test_dir/vmlinuz" --program "$build/tests/memory_source" \
	--file "$test_dir/initrd" --file "$test_dir/inside.sh" --disk "$test_dir/root.img" -- sh inside.sh
expect_status 0
expect '^userspace up after'
[ "$(grep -c '^data: same$' "$test_dir/out")" -eq 4 ] || fail "data"
expect '"memory_source":.*"done":true' "$test_dir/err"
expect '"node_rejoins": 1' "$test_dir/err"
expect '^sidecore processes that ended and came back: 1, the last after [0-9]+ ms' "$test_dir/err"
expect '^memory source: ([0-9]+) of [0-9]+ pages there, all after [0-9]+ ms; ' "$test_dir/err"
reject '^complaint:.*(Oops|BUG|hung|I/O error)'
expect_clean "$test_dir/root.img"
grep -hE '^userspace up|memory_source' "$test_dir/out" "$test_dir/err"
done_testing
