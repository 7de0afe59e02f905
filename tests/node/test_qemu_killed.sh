#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# `serve` is killed at random moments under a front end that is not ours: a stock Debian kernel in QEMU
# with fio that writes and verifies. usage: test_qemu_killed.sh BUILD KILLS [packed] [OPTION OF --blk...]
# The outages, from the signal until all queues are served by the next one, are printed as a record.
. "$(dirname "$0")/lib.sh"
kills=$2
shift 2
packed=
[ "${1:-}" != packed ] || {
	packed=,packed=on
	shift
}
more=$(printf ',%s' "$@" | sed 's/^,$//')

need_qemu
fio=$(command -v fio) || skip "fio is missing"
# The option has another name, and another unit, since QEMU 9.2.
reconnect=,reconnect=1
"$qemu" -M none -nodefaults -display none -S -chardev "socket,id=x,path=$test_dir/none,reconnect-ms=100" \
	-monitor none </dev/null >"$test_dir/try" 2>&1 &
try=$!
sleep 1
! kill "$try" 2>/dev/null || reconnect=,reconnect-ms=100
wait "$try" 2>/dev/null

cat >"$test_dir/script" <<'EOF'
boot=$(cat /proc/sys/kernel/random/boot_id)
. /verified_writes.sh
echo "packed: $(cut -c 35 /sys/bus/virtio/devices/virtio*/features | tr -d '\n')"
echo "fio starts"
verified_writes
echo "$runs times fio, the last ended with status $status"
grep -E 'write:|read *:|err=' /tmp/fio
dd if=/dev/urandom of=/root/data bs=64k count=64 conv=fsync 2>/dev/null
a=$(md5sum </root/data)
echo 3 >/proc/sys/vm/drop_caches
[ "$a" = "$(md5sum </root/data)" ] && echo "data: same"
[ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] && echo "the same boot"
dmesg -r | sed -n 's/^<[0-4]>/complaint: /p'
EOF
guest tiny 6.12 "$test_dir/script:/script" "$here/verified_writes.sh:/verified_writes.sh" "$fio:+/bin/fio"
truncate -s 24M "$test_dir/data.img"
truncate -s 4k "$test_dir/control.img"

# shellcheck disable=SC2046 # the options are words
serve_start "$test_dir/control.sock" --supervise --cpus 0 $(serve_disk root "$more") \
	$(serve_disk data ",queues=2$more") $(serve_disk control ,readonly)
# shellcheck disable=SC2046 # the options are words
qemu_start $((200 + kills * 3)) "" -serial mon:stdio $(qemu_disk root 1 "$packed") $(qemu_disk data 2 "$packed") \
	$(qemu_disk control 1 "$packed")
await 'fio starts' "$test_dir/raw" 150
now_ms() {
	date +%s%3N
}
child() {
	tr -d ' ' <"/proc/$server/task/$server/children"
}
# The rings of its disks and of their interrupts: as many as now, when all queues of both disks run.
rings() {
	find "/proc/$1/fd" -lname 'anon_inode:\[io_uring\]' 2>/dev/null | wc -l
}
old=$(child)
all=$(rings "$old")
n=0
: >"$test_dir/outages"
while [ $n -lt "$kills" ] && kill -0 "$vmm" 2>/dev/null; do
	sleep "0.$(od -An -N4 -tu4 /dev/urandom | awk '{ printf "%03d", 50 + $1 % 750 }')"
	at=$(now_ms)
	kill -9 "$old" && n=$((n + 1))
	until new=$(child) && [ -n "$new" ] && [ "$new" != "$old" ] && [ "$(rings "$new")" -eq "$all" ]; do
		kill -0 "$vmm" 2>/dev/null || break
		[ $(($(now_ms) - at)) -lt 30000 ] || break
		sleep 0.005
	done
	[ -n "$new" ] || break
	old=$new
	echo $(($(now_ms) - at)) >>"$test_dir/outages"
done
echo stop | dd of="$test_dir/control.img" conv=notrunc 2>/dev/null
echo "killed $n times, the guest $(kill -0 "$vmm" 2>/dev/null && echo runs || echo has ended)" >"$test_dir/killed"
qemu_wait

expect_status 0
expect "^killed $kills times, the guest runs" "$test_dir/killed"
expect '^[0-9]+ times fio, the last ended with status 0'
expect 'verified: .*err= 0'
expect '^data: same$'
[ -z "$packed" ] || expect '^packed: 111$'
expect '^the same boot$'
reject 'complaint: .*(I/O error|blk_update|timeout|blocked for more|EXT4)'
serve_stop
expect_clean "$test_dir/root.img"
reject 'breaks|broken' "$test_dir/server"
restart_record "$("$qemu" --version | head -n 1), emulated" supervised "$kills" <"$test_dir/outages"
cat "$test_dir/killed" >>"$test_dir/err"
done_testing
