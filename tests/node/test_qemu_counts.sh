#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# What a stock driver is spared while the sidecore polls: not one kick in 100,000 requests, and not one
# interrupt either for those of its polled queue. Exact counts of the device and of the guest.
# usage: test_qemu_counts.sh BUILD
. "$(dirname "$0")/lib.sh"

fio=$(command -v fio) || skip "fio is missing"
need_qemu

cat >"$test_dir/script" <<'SCRIPT'
interrupts() {
	awk '/virtio1-req/ { for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i } END { print n + 0 }' /proc/interrupts
}
run() {
	before=$(interrupts)
	fio --name=w --filename=/dev/vdb --direct=1 --rw=randread --bs=4k --iodepth=32 --number_ios=101000 --io_size=1g \
		--norandommap --iodepth_batch_submit=16 --iodepth_batch_complete_min=1 \
		--iodepth_batch_complete_max=32 --output-format=terse --thread "$@" >/tmp/fio || echo "fio failed"
	echo "$1: $(cut -d ';' -f 5 /tmp/fio) errors, $(($(interrupts) - before)) interrupts"
}
run --ioengine=io_uring --hipri
run --ioengine=libaio
echo "end of script"
read -r counted
SCRIPT
guest tiny 6.1 "$test_dir/script:/script" "$fio:+/usr/bin/fio"
truncate -s 64M "$test_dir/data.img"

# shellcheck disable=SC2046 # the options are words
serve_start "$test_dir/data.sock" --idle never $(serve_disk root ,readonly) $(serve_disk data ,queues=2)
mkfifo "$test_dir/in"
exec 7<>"$test_dir/in"
guest_in=$test_dir/in
# shellcheck disable=SC2046 # the options are words
qemu_start 550 "ro virtio_blk.poll_queues=1" -serial mon:stdio $(qemu_disk root 1) $(qemu_disk data 2)
# The counters go with the connection: the guest ends when they were seen after its work.
while kill -0 "$vmm" 2>/dev/null; do
	at_end=$(grep -c '^end of script' "$test_dir/raw")
	if "$build/cli/sidevisor" device --json --socket "$test_dir/node.sock" node/data.sock \
		>"$test_dir/now" 2>/dev/null && grep -q '"reads"' "$test_dir/now"; then
		mv "$test_dir/now" "$test_dir/counters"
		[ "$at_end" -eq 0 ] || echo counted >&7
	fi
	sleep 0.5
done
qemu_wait
counter() {
	sed -n "s/^  \"$1\": \([0-9]*\),*/\1/p" "$test_dir/counters"
}
expect_status 0
expect '^--ioengine=io_uring: 0 errors, 0 interrupts$'
expect '^--ioengine=libaio: 0 errors, [0-9]+ interrupts$'
expect '^end of script'
reject 'fio failed'
if [ "$(counter reads)" -ge 200000 ]; then
	[ "$(counter kicks)" -eq 0 ] || fail "$(counter kicks) kicks in $(counter reads) requests"
else
	fail "only $(counter reads) requests were counted"
fi
echo "$(counter reads) reads, $(counter kicks) kicks"
grep '^--ioengine' "$test_dir/out"
serve_stop
done_testing
