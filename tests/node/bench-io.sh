#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# `sidevisor bench io` with virtual machines, in a virtual node: our sidecore, our disk woken by kicks,
# QEMU's best set-up and its default. Exits and interrupts per operation are exact; times are the
# emulator's, and only their ratios mean something.
#
# usage: bench-io.sh BUILD [KERNEL [OPTION...]]     (default 6.1; options of `bench io`)
set -u
[ $# -ge 1 ] || {
	sed -n '3,8s/^# \{0,1\}//p' "$0"
	exit 2
}
. "$(dirname "$0")/lib.sh"
kernel=${2:-6.1}
shift
[ $# -eq 0 ] || shift
fio=$(command -v fio) || skip "fio is missing"
need_qemu
"$build/cli/sidevisor" bench io --print-loop >"$test_dir/loop"
guest tiny "$kernel" "$fio:+/usr/bin/fio" "$test_dir/loop:/loop"
mke2fs -q -F -t ext4 "$test_dir/images.img" 512M 2>/dev/null

cat >"$test_dir/inside.sh" <<EOF
export LD_LIBRARY_PATH=$(qemu_libraries)
mkdir -p images bin
mount -t ext4 /dev/vdb images
mount -t debugfs none /sys/kernel/debug
# QEMU finds what it boots with beside us.
printf '#!/bin/sh\nexec /bin/qemu-system-x86_64 -L /root "\$@"\n' >bin/qemu-system-x86_64
chmod +x bin/qemu-system-x86_64
PATH=/root/bin:\$PATH sidevisor bench io --kernel vmlinuz --initrd initrd --root /dev/vda --dir images \\
	--image-size 64 $*
EOF
# What it says comes as it goes.
node() {
	sh "$here/node.sh" --build "$build" "$@"
}
node_with_qemu --cpus 2 --memory 3G --timeout "${SIDEVISOR_BENCH_TIMEOUT:-1800}" --module ext4 \
	--file "$test_dir/vmlinuz" --file "$test_dir/initrd" --disk "$test_dir/root.img" \
	--disk "$test_dir/images.img" --file "$test_dir/inside.sh" -- sh inside.sh
