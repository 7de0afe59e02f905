#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# `sidevisor bench io` with virtual machines, in a virtual node: our sidecore, our disk woken by kicks,
# QEMU's best set-up and its default. Exits and interrupts per operation are exact; times are the
# emulator's, and only their ratios mean something.
#
# usage: bench-io.sh BUILD [KERNEL [OPTION...]]     (default 6.1; options of `bench io`)
set -u
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || {
	sed -n '3,8s/^# \{0,1\}//p' "$0"
	exit 2
}
build=$1 kernel=${2:-6.1}
shift
[ $# -eq 0 ] || shift
fio=$(command -v fio) || {
	echo "SKIPPED BECAUSE fio is missing"
	exit 77
}
work=$(mktemp -d "${TMPDIR:-/tmp}/sidevisor-bench-io.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
"$build/cli/sidevisor" bench io --print-loop >"$work/loop"
sh "$here/make-guest.sh" tiny "$kernel" "$work" "$fio:+/usr/bin/fio" "$work/loop:/loop" >/dev/null || exit
qemu=$(sh "$here/fetch.sh" qemu) || exit
at=${qemu%/qemu}
mke2fs -q -F -t ext4 "$work/images.img" 512M 2>/dev/null

cat >"$work/inside.sh" <<EOF
export LD_LIBRARY_PATH=$at/usr/lib/x86_64-linux-gnu:$at/lib/x86_64-linux-gnu
mkdir -p images bin
mount -t ext4 /dev/vdb images
mount -t debugfs none /sys/kernel/debug
# QEMU finds what it boots with beside us.
printf '#!/bin/sh\nexec /bin/qemu-system-x86_64 -L /root "\$@"\n' >bin/qemu-system-x86_64
chmod +x bin/qemu-system-x86_64
PATH=/root/bin:\$PATH sidevisor bench io --kernel vmlinuz --initrd initrd --root /dev/vda --dir images \\
	--image-size 64 $*
EOF
set --
for rom in qboot.rom linuxboot_dma.bin; do
	found=$(find "$at/usr/share" -name "$rom" | head -n 1)
	[ -n "$found" ] && set -- "$@" --file "$found"
done
export LD_LIBRARY_PATH="$at/usr/lib/x86_64-linux-gnu:$at/lib/x86_64-linux-gnu"
sh "$here/node.sh" --cpus 2 --memory 3G --timeout "${SIDEVISOR_BENCH_TIMEOUT:-1800}" --build "$build" \
	--module ext4 --file "$work/vmlinuz" --file "$work/initrd" --disk "$work/root.img" \
	--disk "$work/images.img" --file "$work/inside.sh" --program "$at/usr/bin/qemu-system-x86_64" \
	"$@" -- sh inside.sh
