#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Make what a stock Linux guest boots from: an initial RAM disk with the kernel's virtio modules, and
# an ext4 root file system.
#
# usage: make-guest.sh tiny|debian KERNEL DIRECTORY [FILE:DST...]
#   tiny     busybox and a login shell: seconds to make, for the demonstration and boot tests
#   debian   a minimal Debian userland with a compiler, lscpu, lstopo, dpkg, e2fsprogs (debootstrap,
#            needs root; made once and cached)
#   KERNEL   6.1, 6.12, 6.1-full or 6.1-rt (fetch.sh)
#   FILE:DST put into the root file system; FILE:+DST with the libraries that it needs here
# Leaves vmlinuz, initrd and root.img in DIRECTORY. The kernel parameter sv.run=COMMAND makes the guest
# run the command (blanks as %) instead of a login shell and power off with its status on the console.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${SIDEVISOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sidevisor}
[ $# -ge 3 ] || {
	sed -n '3,14s/^# \{0,1\}//p' "$0"
	exit 2
}
kind=$1 out=$3
found=$(sh "$here/fetch.sh" kernel "$2") || exit $?
eval "$found"
shift 3
mkdir -p "$out"
work=$(mktemp -d "${TMPDIR:-/tmp}/sidevisor-guest.XXXXXX")
trap 'rm -rf "$work"' EXIT

busybox=$(command -v busybox) || {
	echo "make-guest.sh: busybox is missing: install busybox-static" >&2
	exit 1
}

# --- the initial RAM disk -------------------------------------------------------------------------
r=$work/initrd
mkdir -p "$r/bin" "$r/lib/modules" "$r/dev" "$r/proc" "$r/sys" "$r/root"
cp "$busybox" "$r/bin/busybox"
loaded=
copy_module() {
	case " $loaded " in *" $1 "*) return ;; esac
	loaded="$loaded $1"
	at=$(find "$MODULES" -name "$1.ko*" | head -n 1)
	[ -n "$at" ] || return 0
	case $at in
	*.xz) xz -dc "$at" >"$r/lib/modules/$1.ko" ;;
	*) cp "$at" "$r/lib/modules/$1.ko" ;;
	esac
	for need in $(modinfo -F depends "$r/lib/modules/$1.ko" | tr ',' ' '); do
		copy_module "$need"
		copy_module "$(echo "$need" | tr _ -)"
	done
	echo "$1" >>"$r/lib/modules/order"
}
for m in virtio_pci virtio_mmio virtio_blk virtio_net virtio_console virtio_balloon pvpanic-mmio \
	virtio-rng virtiofs vmw_vsock_virtio_transport \
	crc32c-intel crc32c_generic ext4; do
	copy_module $m
done
cat >"$r/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
while read -r m; do
	# shellcheck disable=SC2046 # the parameters are words
	insmod "/lib/modules/$m.ko" $(tr ' ' '\n' </proc/cmdline | sed -n "s/^$m\.//p") || echo "initrd: module $m does not load"
done </lib/modules/order
for n in $(seq 100); do
	[ -b /dev/vda ] && break
	usleep 50000
done
mode=rw
grep -q ' ro ' /proc/cmdline && mode=ro
mount -t ext4 -o $mode /dev/vda /root || {
	echo "initrd: no root file system on /dev/vda"
	poweroff -f
}
mount --move /dev /root/dev
umount /sys
umount /proc
exec switch_root /root /sbin/init
INIT
chmod +x "$r/init"
(cd "$r" && find . | cpio -o -H newc --quiet | gzip -1) >"$out/initrd"

# --- the root file system -------------------------------------------------------------------------
# What runs as process 1 in both: mounts, sv.run or a login shell, and power-off at its end.
write_init() {
	cat >"$1" <<'INIT'
#!/bin/sh
# virtio-console is a module: the kernel opened /dev/console before it was there.
[ -c /dev/hvc0 ] && exec </dev/hvc0 >/dev/hvc0 2>&1
exec </dev/console >/dev/console 2>&1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=vt100
mount -t proc none /proc
mount -t sysfs none /sys
mount -t tmpfs none /run
mount -t tmpfs none /tmp
mkdir -p /dev/pts /dev/shm
mount -t devpts none /dev/pts
mount -t tmpfs none /dev/shm
hostname guest
command=$(sed -n 's/.*sv.run=\([^ ]*\).*/\1/p' /proc/cmdline | tr % ' ')
up=$(cut -d ' ' -f 1 /proc/uptime)
echo "userspace up after $up s, $(nproc) processor(s), root on $(awk '$2 == "/" { print $1 }' /proc/mounts | tail -n 1), $(uname -r)"
if [ -n "$command" ]; then
	sh -c "$command"
	echo "sv.run ended with status $?"
else
	echo "Debian kernel under sidevisor. \`exit\` powers the guest off."
	tty=/dev/ttyS0
	[ -c /dev/hvc0 ] && tty=/dev/hvc0
	setsid sh -c "exec sh -l <$tty >$tty 2>&1"
fi
sync
mount -o remount,ro / 2>/dev/null
poweroff -f 2>/dev/null || busybox poweroff -f
INIT
	chmod +x "$1"
}

make_tiny() {
	t=$1
	mkdir -p "$t/bin" "$t/sbin" "$t/usr/bin" "$t/usr/sbin" "$t/dev" "$t/proc" "$t/sys" "$t/run" \
		"$t/tmp" "$t/root" "$t/etc" "$t/mnt"
	cp "$busybox" "$t/bin/busybox"
	for applet in $("$busybox" --list); do
		[ -e "$t/bin/$applet" ] || ln -s busybox "$t/bin/$applet"
	done
	echo 'root::0:0:root:/root:/bin/sh' >"$t/etc/passwd"
	echo 'guest' >"$t/etc/hostname"
	write_init "$t/sbin/init"
	room=64
}

make_debian() {
	base=$cache/debian-root.tar
	if [ ! -e "$base" ]; then
		site=$(apt-get indextargets --format '$(SITE) $(RELEASE)' | awk '$2 == "bookworm" { print $1; exit }')
		echo "make-guest.sh: making a Debian root (about a minute, once)" >&2
		debootstrap --variant=minbase \
			--include=tcc,libc6-dev,hwloc-nox,e2fsprogs,util-linux,busybox-static,kmod \
			bookworm "$work/debian" "$site" >"$work/debootstrap.log" 2>&1 || {
			tail -n 5 "$work/debootstrap.log" >&2
			exit 1
		}
		rm -rf "$work"/debian/var/cache/apt/archives/*.deb "$work"/debian/var/lib/apt/lists/* \
			"$work"/debian/usr/share/doc "$work"/debian/usr/share/locale "$work"/debian/usr/share/man
		rm -f "$work/debian/sbin/init"
		tar -C "$work/debian" -cf "$base.part" .
		mv "$base.part" "$base"
		rm -rf "$work/debian"
	fi
	mkdir -p "$1"
	tar -C "$1" -xf "$base"
	write_init "$1/sbin/init"
	room=700 used=0
}

case $kind in
tiny) make_tiny "$work/root" ;;
debian) make_debian "$work/root" ;;
*)
	echo "make-guest.sh: $kind: choose tiny or debian" >&2
	exit 2
	;;
esac
for f in "$@"; do
	from=${f%%:*} to=${f#*:}
	case $to in
	+*)
		to=${to#+}
		for lib in $(ldd "$from" | grep -o '/[^ ]*'); do
			mkdir -p "$work/root$(dirname "$lib")"
			cp -L "$lib" "$work/root$lib"
		done
		;;
	esac
	mkdir -p "$work/root/$(dirname "$to")"
	cp "$from" "$work/root/$to"
done
[ "$kind" = debian ] || used=$(du -sm "$work/root" | cut -f 1)
truncate -s $((used + room))M "$out/root.img"
mke2fs -q -F -t ext4 -d "$work/root" "$out/root.img"
cp "$VMLINUZ" "$out/vmlinuz"
echo "$out"
