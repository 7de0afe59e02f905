#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# What a stock driver is spared while the sidecore polls: not one kick in 100,000 requests, and not one
# interrupt either for those of its polled queue. Exact counts of the device and of the guest.
# usage: test_qemu_counts.sh BUILD
. "$(dirname "$0")/lib.sh"

fio=$(command -v fio) || skip "fio is missing"
qemu=$(sh "$here/fetch.sh" qemu 2>"$test_dir/fetch") ||
	skip "QEMU cannot be fetched here: $(tail -n 1 "$test_dir/fetch")"
server= guest=
trap '[ -z "$guest$server" ] || kill $guest $server 2>/dev/null; rm -rf "$test_dir"' EXIT

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

export SIDEVISOR_RUN_DIR="$test_dir/run"
"$build/cli/sidevisor" serve --isolate none --idle never --socket "$test_dir/node.sock" \
	--blk "path=$test_dir/root.img,socket=$test_dir/root.sock,readonly" \
	--blk "path=$test_dir/data.img,socket=$test_dir/data.sock,queues=2" 2>"$test_dir/server" &
server=$!
tries=0
while [ ! -S "$test_dir/data.sock" ]; do
	tries=$((tries + 1))
	[ $tries -lt 500 ] || {
		cat "$test_dir/server"
		exit 1
	}
	sleep 0.02
done
disk() {
	echo "-chardev socket,id=$1,path=$test_dir/$1.sock" \
		"-device vhost-user-blk-pci,chardev=$1,num-queues=$2"
}
mkfifo "$test_dir/in"
exec 7<>"$test_dir/in"
: >"$test_dir/raw"
# shellcheck disable=SC2046 # the options are words
timeout 550 "$qemu" -M q35,memory-backend=mem -accel tcg,thread=multi -cpu EPYC-v3 -smp 2 -m 512 \
	-object memory-backend-memfd,id=mem,size=512M,share=on \
	-nographic -nodefaults -serial mon:stdio -kernel "$test_dir/vmlinuz" -initrd "$test_dir/initrd" \
	-append "console=ttyS0 panic=-1 quiet ro virtio_blk.poll_queues=1 sv.run=sh%/script" \
	$(disk root 1) $(disk data 2) <"$test_dir/in" >"$test_dir/raw" 2>"$test_dir/err" &
guest=$!
# The counters go with the connection: the guest ends when they were seen after its work.
while kill -0 "$guest" 2>/dev/null; do
	at_end=$(grep -c '^end of script' "$test_dir/raw")
	if "$build/cli/sidevisor" device --json --socket "$test_dir/node.sock" node/data.sock \
		>"$test_dir/now" 2>/dev/null && grep -q '"reads"' "$test_dir/now"; then
		mv "$test_dir/now" "$test_dir/counters"
		[ "$at_end" -eq 0 ] || echo counted >&7
	fi
	sleep 0.5
done
wait "$guest"
status=$?
guest=
tr -d '\r' <"$test_dir/raw" >"$test_dir/out"
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
kill "$server"
wait "$server" || fail "the server ended with status $?"
server=
reject 'runtime error|Sanitizer' "$test_dir/server"
done_testing
