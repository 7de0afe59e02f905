#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Stock Debian Linux under sidevisor on real kvm_amd, in one virtual node: boots from ext4 on
# virtio-blk, several kernels and shapes, and every way a guest can end is reported for what it is.
#
# usage: linux.sh SIDEVISOR LWK
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/sidevisor-linux.XXXXXX")
trap 'rm -rf "$work"' EXIT
skip() {
	echo "SKIPPED BECAUSE $*"
	exit 0
}
command -v busybox >/dev/null || skip "busybox-static is not installed"
sh "$here/fetch.sh" qemu >/dev/null 2>"$work/log" || skip "QEMU cannot be fetched: $(tail -n 1 "$work/log")"
for k in 6.1 6.12; do
	sh "$here/make-guest.sh" tiny $k "$work/$k" >/dev/null 2>"$work/log" ||
		skip "the guest kernel $k cannot be fetched: $(tail -n 1 "$work/log")"
done

cat >"$work/job.sh" <<'E2'
failed=0
# guest NAME WANT_STATUS PATTERN KERNEL COMMAND OPTION...
guest() {
	name=$1 want=$2 pattern=$3 k=$4 command=$5
	shift 5
	cp root$k.img /tmp/root.img
	timeout 240 sidevisor run --name "$name" --kernel vmlinuz$k --initrd initrd$k --memory 384M \
		--disk path=/tmp/root.img --cmdline "console=ttyS0 panic=-1 quiet sv.run=$command" \
		"$@" >/tmp/out 2>&1 </dev/null
	got=$?
	if [ $got -eq "$want" ] && grep -q "$pattern" /tmp/out; then
		echo "ok $name"
	else
		echo "FAILED $name: status $got, want $want and \"$pattern\""
		tail -n 30 /tmp/out
		failed=1
	fi
}
guest boot-6.1 0 "the guest powered off" 6.1 "dmesg>/root/log;sync"
grep -q "userspace up" /tmp/out || { echo "FAILED: no userspace on the virtio-console"; failed=1; }
e2fsck -fn /tmp/root.img >/tmp/fsck 2>&1 || { echo "FAILED: fsck"; cat /tmp/fsck; failed=1; }
guest serial-console 0 "userspace up.*root on /dev/vda" 6.1 true --console serial
guest smp-numa-6.12 0 "4 processor(s)" 6.12 "dmesg%|%grep%-iE%'topology_sane|mismatch|BIOS%bug'" \
	--vcpus 4 --topology 2:1:2:1 --numa 2 --overcommit
grep -E "topology_sane|mismatch|BIOS bug" /tmp/out | grep -v 'Command line\|sv.run' && { echo "FAILED: the guest complains"; failed=1; }
guest reboot 0 "asked for a reboot" 6.1 "reboot%-f"
guest panic 1 "kernel panicked" 6.1 "echo%c>/proc/sysrq-trigger"
if sidevisor run --kernel lwk.elf --cmdline "app=stress n=100000" >/tmp/out 2>&1 && grep -q " 0 errors" /tmp/out; then
	echo "ok lwk"
else
	echo "FAILED lwk"; cat /tmp/out; failed=1
fi
exit $failed
E2
files=
for k in 6.1 6.12; do
	files="$files --file $work/$k/vmlinuz:/root/vmlinuz$k --file $work/$k/initrd:/root/initrd$k --file $work/$k/root.img:/root/root$k.img"
done
# shellcheck disable=SC2086
sh "$here/node.sh" --cpus 3 --memory 3G --timeout 900 --program "$1" --program "$(command -v e2fsck)" \
	--file "$2:/root/lwk.elf" $files --file "$work/job.sh" -- sh job.sh
