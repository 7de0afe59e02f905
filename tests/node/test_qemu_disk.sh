#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Our disks under a front end that is not ours: a stock Debian kernel in QEMU boots from one, restarts,
# writes to another (packed virtqueues) and finds what it wrote, and cannot write to a third.
# usage: test_qemu_disk.sh BUILD
. "$(dirname "$0")/lib.sh"

need_qemu

cat >"$test_dir/script" <<'SCRIPT'
if [ ! -e /was.here ]; then
	echo "first boot"
	touch /was.here
	sync
	/bin/busybox reboot -f
fi
echo "second boot"
echo "sectors $(cat /sys/block/vdb/size) serial $(cat /sys/block/vdb/serial) cache $(cat /sys/block/vdb/queue/write_cache)"
for d in vda vdb vdc; do
	echo "$d packed $(cut -c 35 /sys/block/$d/device/features)"
done
dd if=/dev/urandom of=/tmp/data bs=64k count=64 2>/dev/null
dd if=/tmp/data of=/dev/vdb bs=64k seek=16 conv=fsync 2>/dev/null && echo "written"
echo 3 >/proc/sys/vm/drop_caches
dd if=/dev/vdb of=/tmp/back bs=4k skip=256 count=1024 2>/dev/null
cmp /tmp/data /tmp/back && echo "read back"
echo "sum $(tail -c 4128768 /tmp/data | md5sum)"
blkdiscard -o 1048576 -l 65536 /dev/vdb && echo "discarded"
echo 3 >/proc/sys/vm/drop_caches
dd if=/dev/vdb bs=64k skip=16 count=1 2>/dev/null | tr -d '\000' | wc -c | sed 's/^/left after discard: /'
echo "read-only $(cat /sys/block/vdc/ro)"
dd if=/dev/zero of=/dev/vdc bs=4k count=1 conv=fsync 2>/dev/null || echo "write refused"
dd if=/dev/vdc bs=4k count=1 2>/dev/null | head -c 12
dd if=/tmp/data of=/file bs=1M 2>/dev/null && sync && echo "file written"
echo 3 >/proc/sys/vm/drop_caches
cmp /tmp/data /file && echo "file read back"
dmesg | grep -i 'i/o error\|blk_update' | head -n 3
echo "end of script"
SCRIPT
guest tiny 6.1 "$test_dir/script:/script"
truncate -s 16M "$test_dir/data.img"
echo "only to read" >"$test_dir/ro.img"
truncate -s 1M "$test_dir/ro.img"

# shellcheck disable=SC2046 # the options are words
serve_start "$test_dir/ro.sock" $(serve_disk root ,discard) \
	$(serve_disk data ,discard,queues=2,serial=number-seven) $(serve_disk ro ,readonly)
# shellcheck disable=SC2046 # the options are words
qemu_start 200 "" -serial mon:stdio $(qemu_disk root 1) $(qemu_disk data 2 ,packed=on) $(qemu_disk ro 1 ,packed=on)
qemu_wait

expect_status 0
expect "first boot"
expect "second boot"
expect "sectors 32768 serial number-seven cache write back"
expect "vda packed 0"
expect "vdb packed 1"
expect "vdc packed 1"
expect "^written"
expect "^read back"
expect "^discarded"
expect "left after discard: 0"
expect "read-only 1"
expect "write refused"
expect "only to read"
expect "file read back"
expect "end of script"
reject "I/O error|blk_update|Call Trace"
# What the guest was told is durable is in the image, and nothing else changed.
sum=$(sed -n 's/^sum \([0-9a-f]*\).*/\1/p' "$test_dir/out")
[ -n "$sum" ] && dd if="$test_dir/data.img" bs=64k skip=17 count=63 2>/dev/null | md5sum |
	grep -q "^$sum" || fail "the image has not what the guest wrote"
[ "$(head -c 1048576 "$test_dir/data.img" | tr -d '\000' | wc -c)" -eq 0 ] ||
	fail "sectors before the written ones changed"
[ "$(stat -c %s "$test_dir/data.img")" -eq 16777216 ] || fail "the image's size changed"
[ "$(head -n 1 "$test_dir/ro.img" | tr -d '\000')" = "only to read" ] || fail "the read-only image changed"
serve_stop
[ ! -S "$test_dir/data.sock" ] || fail "the server left its socket behind"
cat "$test_dir/server" >>"$test_dir/err"
expect_clean "$test_dir/root.img"
done_testing
