#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A QEMU guest is saved to a file while our disks fill its memory, and goes on in another QEMU. Pages that
# a disk wrote after QEMU had saved them must be in the dirty log, or the guest has old ones.
# usage: test_qemu_migrate.sh BUILD
. "$(dirname "$0")/lib.sh"

need_qemu
guest_cpus=1 guest_mib=384

cat >"$test_dir/script" <<'SCRIPT'
for d in vdb vdc; do
	echo "$d packed $(cut -c 35 /sys/block/$d/device/features)"
done
/slow_read /dev/vdb /dev/vdc
for d in vdb vdc; do
	echo "$d sum $(md5sum </tmp/$d | cut -d ' ' -f 1)"
done
echo "end of script"
/bin/busybox poweroff -f
SCRIPT
guest tiny 6.1 "$test_dir/script:/script" "$build/tests/slow_read:/slow_read"
head -c 16M /dev/urandom >"$test_dir/b.img"
head -c 16M /dev/urandom >"$test_dir/c.img"

# shellcheck disable=SC2046 # the options are words
serve_start "$test_dir/c.sock" $(serve_disk root) $(serve_disk b) $(serve_disk c)

# start NAME OPTION...: QEMU with its monitor at descriptor 7, the guest's console in NAME.out
start() {
	name=$1
	shift
	rm -f "$test_dir/monitor"
	mkfifo "$test_dir/monitor"
	exec 7<>"$test_dir/monitor"
	guest_in=$test_dir/monitor guest_out=$name.monitor
	# shellcheck disable=SC2046 # the options are words
	qemu_start 200 "" -serial "file:$test_dir/$name.out" -monitor stdio \
		$(qemu_disk root 1) $(qemu_disk b 1 ,packed=on) $(qemu_disk c 1) "$@"
}

start source
await "reading begins" "$test_dir/source.out" 120 || fail "the guest did not start"
echo "migrate_set_parameter max-bandwidth 20M" >&7
echo "migrate -d \"exec:cat > $test_dir/saved\"" >&7
tries=0
until grep -q "Migration status: completed" "$test_dir/source.monitor"; do
	tries=$((tries + 1))
	if [ $tries -gt 200 ] || grep -q "Migration status: failed" "$test_dir/source.monitor"; then
		fail "the migration did not end"
		break
	fi
	echo "info migrate" >&7
	sleep 0.5
done
echo quit >&7
wait "$vmm" || fail "the source ended with status $?"
vmm=
if [ $failures -eq 0 ]; then
	start target -incoming "exec:cat $test_dir/saved"
	await "end of script" "$test_dir/target.out" 100 || fail "the guest did not go on"
	wait "$vmm" || fail "the target ended with status $?"
	vmm=
fi
cat "$test_dir/source.out" "$test_dir/target.out" 2>/dev/null | tr -d '\r' >"$test_dir/out"
cat "$test_dir/source.monitor" "$test_dir/server" >>"$test_dir/err"

expect "vdb packed 1"
expect "vdc packed 0"
reject "reading ends" "$test_dir/source.out"
expect "reading ends"
for d in b c; do
	expect "vd$d sum $(md5sum <"$test_dir/$d.img" | cut -d ' ' -f 1)"
done
reject "I/O error|blk_update|Call Trace"
serve_stop
done_testing
