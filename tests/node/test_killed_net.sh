#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The sidecore process of two stock Linux guests is killed at random moments while one verifies a disk
# with fio and sends the other a stream over TCP: the stream arrives whole and in order on one connection.
# usage: test_killed_net.sh BUILD KILLS
set -u
. "$(dirname "$0")/lib.sh"
kills=$2
fio=$(command -v fio) || skip "fio is missing"

cat >"$test_dir/in-guest" <<'EOF'
me=$(sed -n 's/.*sv.me=\([0-9]*\).*/\1/p' /proc/cmdline) peer=10.0.0.$((3 - me))
boot=$(cat /proc/sys/kernel/random/boot_id)
. /verified_writes.sh
say() {
	echo "guest $me: $*"
}
ip link set lo up
ip link set eth0 up
ip addr add "10.0.0.$me/24" dev eth0
if [ "$me" = 2 ]; then
	# Every line is one more than the line before; the last may be cut short.
	nc -l -p 5000 | awk '{ bad += was; was = ($1 != NR) } END { print "guest 2: lines " NR ", wrong " bad + 0 }'
else
	until ping -c 1 -W 1 "$peer" >/dev/null 2>&1; do :; done
	say "fio starts"
	mkfifo /tmp/stream
	seq 1 100000000000 >/tmp/stream &
	numbers=$!
	nc "$peer" 5000 </tmp/stream &
	stream=$!
	verified_writes
	say "$runs times fio, the last ended with status $status"
	grep -E 'write:|read *:|err=' /tmp/fio
	kill $numbers
	wait $stream
	say "sent $(cat /sys/class/net/eth0/statistics/tx_bytes) bytes"
fi
[ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] && say "the same boot"
dmesg -r | sed -n 's/^<[0-4]>/complaint: /p'
EOF
cat >"$test_dir/inside.sh" <<EOF
times=$kills
EOF
cat >>"$test_dir/inside.sh" <<'EOF'
. ./await.sh
. ./kill_children.sh
dd if=/dev/zero of=control bs=4k count=1 2>/dev/null
sidevisor serve --supervise --isolate none --cpus 1 2>serve.log &
server=$!
until [ -S /run/sidevisor/node.sock ]; do usleep 50000; done
guest() {
	n=$1
	shift
	sidevisor run --name "net$n" --kernel vmlinuz --initrd initrd --disk path=/dev/vda,readonly "$@" \
		--memory 384M --overcommit --share-cores --isolate none --rejoin 120 --net switch=lan \
		--cmdline "console=hvc0 quiet panic=-1 ro sv.me=$n sv.run=sh%/root/inside" >"vm$n.log" 2>"vm$n.err"
	status=$?
	echo "guest $n ended with status $status"
	[ $status -eq 0 ] || sidevisor stop net$((3 - n)) 2>/dev/null
}
guest 2 &
second=$!
guest 1 --disk path=/dev/vdb --disk path=control,readonly &
first=$!
await 'fio starts' vm1.log 150
back() {
	for n in 1 2; do
		grep -c 'the sidecore process is back' vm$n.err
	done | sort -n | head -n 1
}
kill_children $server $first $times 100000 1200000
# A guest that does not end is worth a look.
for i in $(seq 120); do
	kill -0 $first 2>/dev/null || kill -0 $second 2>/dev/null || break
	sleep 1
done
kill -0 $first 2>/dev/null && for n in 1 2; do
	echo "guest $n does not end: $(sidevisor stats --json net$n)"
	sidevisor stop net$n
done
wait $first
wait $second
kill $server
wait $server
echo "serve ended with status $?"
cat vm1.log vm2.log
# What comes with every kill first, what is worth a look last.
usual='ended by signal 9|1 sidecore, the first|the sidecore process (went away|is back)|what took so long'
grep -hE "$usual" vm1.err vm2.err serve.log >&2
grep -hvE "$usual" vm1.err vm2.err serve.log >&2 || : # nothing unusual
EOF
guest tiny 6.12 "$test_dir/in-guest:/root/inside" "$here/verified_writes.sh:/verified_writes.sh" \
	"$fio:+/bin/fio"
truncate -s 24M "$test_dir/data.img"
node --cpus 4 --memory 2G --timeout $((300 + kills * 6)) --file "$test_dir/vmlinuz" --file "$test_dir/initrd" \
	--file "$test_dir/inside.sh" --file "$here/kill_children.sh" --disk "$test_dir/root.img" --disk "$test_dir/data.img" -- sh inside.sh
expect_status 0
expect "^killed $kills times, the guest runs"
expect '^guest 1: [0-9]+ times fio, the last ended with status 0'
expect 'verified: .*err= 0'
expect '^guest 2: lines [1-9][0-9]{4,}, wrong 0$'
for n in 1 2; do
	expect "^guest $n: the same boot\$"
	expect "^guest $n ended with status 0"
done
expect '^serve ended with status 0'
reject 'complaint: .*(I/O error|blk_update|timeout|blocked for more|EXT4|virtio_net)'
sed -n 's/.*the sidecore process is back after \([0-9]*\) ms.*/\1/p' "$test_dir/err" >"$test_dir/outages"
restart_record "virtual node, kvm_amd emulated" supervised "$kills" '"guests": 2, ' <"$test_dir/outages"
grep -E '^guest 2: lines|^guest 1: sent' "$test_dir/out"
done_testing
