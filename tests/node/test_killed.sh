#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The sidecore process of a stock Linux guest is killed at random moments while fio writes and verifies:
# the guest notices nothing but the time it takes.
# usage: test_killed.sh BUILD KILLS [supervised|private]
# The outages, as the VM process saw them, are printed as a record.
set -u
. "$(dirname "$0")/lib.sh"
kills=$2 how=${3:-supervised}
fio=$(command -v fio) || skip "fio is missing"

cat >"$test_dir/inside.sh" <<EOF
times=$kills how=$how
EOF
cat >>"$test_dir/inside.sh" <<'EOF'
. ./await.sh
. ./kill_children.sh
dd if=/dev/zero of=control bs=4k count=1 2>/dev/null
if [ "$how" = supervised ]; then
	sidevisor serve --supervise --isolate none --cpus 1 2>serve.log &
	server=$!
	until [ -S /run/sidevisor/node.sock ]; do usleep 50000; done
	set --
else
	set -- --private --sidecore 1
fi
sidevisor run "$@" --name linux --kernel vmlinuz --initrd initrd --disk path=/dev/vda \
	--disk path=/dev/vdb --disk path=control,readonly --memory 384M --vcpus 2 --overcommit --isolate none --rejoin 120 \
	--cmdline "console=hvc0 quiet panic=-1 sv.run=sh%/root/inside" >vm.log 2>vm.err &
vm=$!
[ "$how" = supervised ] || server=$vm
await 'fio starts' vm.log 150 || exit 1
back() {
	grep -c 'the sidecore process is back' vm.err
}
kill_children $server $vm $times 50000 700000
wait $vm
echo "run ended with status $?"
cat vm.err >&2
if [ "$how" = supervised ]; then
	kill $server
	wait $server
	echo "serve ended with status $?"
	cat serve.log
fi
cat vm.log
EOF
cat >"$test_dir/in-guest" <<'EOF'
boot=$(cat /proc/sys/kernel/random/boot_id)
. /verified_writes.sh
echo "fio starts"
verified_writes
echo "$runs times fio, the last ended with status $status"
grep -E 'write:|read *:|err=' /tmp/fio
for i in 1 2 3; do
	dd if=/dev/urandom of=/root/data bs=64k count=64 conv=fsync 2>/dev/null
	a=$(md5sum </root/data)
	echo 3 >/proc/sys/vm/drop_caches
	[ "$a" = "$(md5sum </root/data)" ] && echo "data: same"
done
[ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] && echo "the same boot"
dmesg -r | sed -n 's/^<[0-4]>/complaint: /p'
EOF
guest tiny 6.12 "$test_dir/in-guest:/root/inside" "$here/verified_writes.sh:/verified_writes.sh" \
	"$fio:+/bin/fio"
truncate -s 24M "$test_dir/data.img"
node --cpus 3 --memory 2G --timeout $((200 + kills * 2)) --file "$test_dir/vmlinuz" --file "$test_dir/initrd" \
	--file "$test_dir/inside.sh" --file "$here/kill_children.sh" --disk "$test_dir/root.img" --disk "$test_dir/data.img" -- sh inside.sh
expect_status 0
expect "^killed $kills times, the guest runs"
expect '^[0-9]+ times fio, the last ended with status 0'
expect 'verified: .*err= 0'
[ "$(grep -c '^data: same$' "$test_dir/out")" -eq 3 ] || fail "data that was written is not what is read"
expect '^the same boot$'
expect '^run ended with status 0'
[ "$how" = private ] || expect '^serve ended with status 0'
reject 'complaint: .*(I/O error|blk_update|timeout|blocked for more|EXT4)'
expect_clean "$test_dir/root.img"
sed -n 's/.*the sidecore process is back after \([0-9]*\) ms.*/\1/p' "$test_dir/err" >"$test_dir/outages"
restart_record "virtual node, kvm_amd emulated" "$how" "$kills" <"$test_dir/outages"
done_testing
