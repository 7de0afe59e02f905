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

qemu=$(sh "$here/fetch.sh" qemu 2>"$test_dir/fetch") ||
	skip "QEMU cannot be fetched here: $(tail -n 1 "$test_dir/fetch")"
fio=$(command -v fio) || skip "fio is missing"
# The option has another name, and another unit, since QEMU 9.2.
reconnect=reconnect=1
"$qemu" -M none -nodefaults -display none -S -chardev "socket,id=x,path=$test_dir/none,reconnect-ms=100" \
	-monitor none </dev/null >"$test_dir/try" 2>&1 &
try=$!
sleep 1
! kill "$try" 2>/dev/null || reconnect=reconnect-ms=100
wait "$try" 2>/dev/null

server= vm=
trap '[ -z "$vm" ] || kill "$vm" 2>/dev/null; [ -z "$server" ] || kill "$server" 2>/dev/null
	rm -rf "$test_dir"' EXIT

cat >"$test_dir/script" <<'EOF'
boot=$(cat /proc/sys/kernel/random/boot_id)
# stopped: the test has written so on the last disk.
stopped() {
	dd if=/dev/vdc bs=512 count=1 iflag=direct 2>/dev/null | grep -q stop
}
echo "packed: $(cut -c 35 /sys/bus/virtio/devices/virtio*/features | tr -d '\n')"
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
dd if=/dev/urandom of=/root/data bs=64k count=64 conv=fsync 2>/dev/null
a=$(md5sum </root/data)
echo 3 >/proc/sys/vm/drop_caches
[ "$a" = "$(md5sum </root/data)" ] && echo "data: same"
[ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] && echo "the same boot"
dmesg -r | sed -n 's/^<[0-4]>/complaint: /p'
EOF
guest tiny 6.12 "$test_dir/script:/script" "$fio:+/bin/fio"
truncate -s 24M "$test_dir/data.img"
truncate -s 4k "$test_dir/control.img"

export SIDEVISOR_RUN_DIR="$test_dir" SIDEVISOR_ISOLATE=none
"$build/cli/sidevisor" serve --supervise --cpus 0 --socket "$test_dir/node.sock" \
	--blk "path=$test_dir/root.img,socket=$test_dir/root.sock$more" \
	--blk "path=$test_dir/data.img,socket=$test_dir/data.sock,queues=2$more" \
	--blk "path=$test_dir/control.img,socket=$test_dir/control.sock,readonly" 2>"$test_dir/server" &
server=$!
tries=0
while [ ! -S "$test_dir/control.sock" ]; do
	tries=$((tries + 1))
	[ $tries -lt 1000 ] || {
		cat "$test_dir/server"
		exit 1
	}
	sleep 0.02
done

disk() {
	echo "-chardev socket,id=$1,path=$test_dir/$1.sock,$reconnect" \
		"-device vhost-user-blk-pci,chardev=$1,num-queues=$2$packed"
}
: >"$test_dir/raw"
# shellcheck disable=SC2046 # the options are words
timeout $((200 + kills * 3)) "$qemu" -M q35,memory-backend=mem -accel tcg,thread=multi -cpu EPYC-v3 -smp 2 -m 512 \
	-object memory-backend-memfd,id=mem,size=512M,share=on \
	-nographic -nodefaults -serial mon:stdio -kernel "$test_dir/vmlinuz" -initrd "$test_dir/initrd" \
	-append "console=ttyS0 panic=-1 quiet sv.run=sh%/script" \
	$(disk root 1) $(disk data 2) $(disk control 1) </dev/null >"$test_dir/raw" 2>"$test_dir/err" &
vm=$!
until grep -q 'fio starts' "$test_dir/raw"; do
	kill -0 "$vm" 2>/dev/null || break
	sleep 0.1
done
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
while [ $n -lt "$kills" ] && kill -0 "$vm" 2>/dev/null; do
	sleep "0.$(od -An -N4 -tu4 /dev/urandom | awk '{ printf "%03d", 50 + $1 % 750 }')"
	at=$(now_ms)
	kill -9 "$old" && n=$((n + 1))
	until new=$(child) && [ -n "$new" ] && [ "$new" != "$old" ] && [ "$(rings "$new")" -eq "$all" ]; do
		kill -0 "$vm" 2>/dev/null || break
		[ $(($(now_ms) - at)) -lt 30000 ] || break
		sleep 0.005
	done
	[ -n "$new" ] || break
	old=$new
	echo $(($(now_ms) - at)) >>"$test_dir/outages"
done
echo stop | dd of="$test_dir/control.img" conv=notrunc 2>/dev/null
echo "killed $n times, the guest $(kill -0 "$vm" 2>/dev/null && echo runs || echo has ended)" >"$test_dir/killed"
status=0
wait "$vm" || status=$?
vm=
tr -d '\r' <"$test_dir/raw" >"$test_dir/out"

expect_status 0
expect "^killed $kills times, the guest runs" "$test_dir/killed"
expect '^[0-9]+ times fio, the last ended with status 0'
expect 'verified: .*err= 0'
expect '^data: same$'
[ -z "$packed" ] || expect '^packed: 111$'
expect '^the same boot$'
reject 'complaint: .*(I/O error|blk_update|timeout|blocked for more|EXT4)'
kill "$server"
wait "$server" || fail "the server ended with status $?"
server=
expect_clean "$test_dir/root.img"
reject 'runtime error|Sanitizer|breaks|broken' "$test_dir/server"
sort -n "$test_dir/outages" | awk -v kills="$kills" -v version="$("$qemu" --version | head -n 1)" '
	{ ms[NR] = $1 } END { if (!NR) exit 1
	printf "{\"schema\": \"sidevisor-restart/1\", \"substrate\": \"%s, emulated\", ", version
	printf "\"restart\": \"supervised\", \"kills\": %d, \"outages\": %d, ", kills, NR
	printf "\"outage_ms\": {\"median\": %d, \"p90\": %d, \"max\": %d}}\n",
		ms[int((NR + 1) / 2)], ms[int((NR * 9 + 9) / 10)], ms[NR]
	}' || fail "no outage was seen"
cat "$test_dir/killed" >>"$test_dir/err"
done_testing
