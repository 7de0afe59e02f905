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
kills=$kills how=$how
EOF
cat >>"$test_dir/inside.sh" <<'EOF'
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
until grep -q 'fio starts' vm.log; do
	kill -0 $vm || exit 1
	usleep 100000
done
# One of four does not wait until the devices are back from the last.
back() {
	grep -c 'the sidecore process is back' vm.err
}
n=0
while kill -0 $vm 2>/dev/null && [ $n -lt $kills ]; do
	was=$(back)
	usleep $((50000 + $(od -An -N4 -tu4 /dev/urandom) % 700000))
	child=$(cat /proc/$server/task/$server/children)
	[ -n "$child" ] && kill -9 $child || continue
	n=$((n + 1))
	[ $((n % 4)) -eq 0 ] || until [ $(back) -gt $was ] || ! kill -0 $vm 2>/dev/null; do
		usleep 20000
	done
done
echo stop | dd of=control conv=notrunc 2>/dev/null
echo "killed $n times, the guest $(kill -0 $vm 2>/dev/null && echo runs || echo has ended)"
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
# stopped: the test has written so on the last disk.
stopped() {
	dd if=/dev/vdc bs=512 count=1 iflag=direct 2>/dev/null | grep -q stop
}
echo "fio starts"
runs=0 status=0
until stopped || [ $status -ne 0 ]; do
	fio --name=verified --filename=/dev/vdb --size=24M --rw=randwrite --bsrange=4k-32k --direct=1 \
		--ioengine=libaio --iodepth=16 --verify=crc32c --verify_fatal=1 --verify_backlog=64 --fsync=40 \
		--time_based --runtime=8 --eta=never --output=/tmp/fio 2>&1
	status=$? runs=$((runs + 1))
done
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
guest tiny 6.12 "$test_dir/in-guest:/root/inside" "$fio:+/bin/fio"
truncate -s 24M "$test_dir/data.img"
node --cpus 3 --memory 2G --timeout $((200 + kills * 2)) --file "$test_dir/vmlinuz" --file "$test_dir/initrd" \
	--file "$test_dir/inside.sh" --disk "$test_dir/root.img" --disk "$test_dir/data.img" -- sh inside.sh
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
sed -n 's/.*the sidecore process is back after \([0-9]*\) ms.*/\1/p' "$test_dir/err" | sort -n >"$test_dir/outages"
awk -v kills="$kills" -v how="$how" '{ ms[NR] = $1 } END { if (!NR) exit 1
	printf "{\"schema\": \"sidevisor-restart/1\", \"substrate\": \"virtual node, kvm_amd emulated\", "
	printf "\"restart\": \"%s\", \"kills\": %d, \"outages\": %d, ", how, kills, NR
	printf "\"outage_ms\": {\"median\": %d, \"p90\": %d, \"max\": %d}}\n",
		ms[int((NR + 1) / 2)], ms[int((NR * 9 + 9) / 10)], ms[NR]
	}' "$test_dir/outages" || fail "no outage was reported"
done_testing
