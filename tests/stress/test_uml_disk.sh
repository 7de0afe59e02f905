#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Our disk under an unmodified Linux driver at native speed, without any KVM: User-mode Linux makes a
# file system, fills, trims, checks and verifies it, once per way of opening the image.
# usage: test_uml_disk.sh SIDEVISOR SHIM
set -eu

sidevisor=$1 shim=$2
skip() {
	echo "SKIPPED BECAUSE $*"
	exit 77
}
for p in linux.uml busybox mkfs.ext4 e2fsck cpio ldd pkill; do
	command -v $p >/dev/null || skip "$p is missing (user-mode-linux, busybox-static, e2fsprogs, cpio, procps)"
done
module=$(find /usr/lib/uml/modules -name virtio_blk.ko 2>/dev/null | head -n 1)
[ -n "$module" ] || skip "the User-mode Linux kernel here has no virtio_blk"

image= noise=
dir=$(mktemp -d "${TMPDIR:-/tmp}/sidevisor-uml.XXXXXX")
pid= killer=
stop() {
	[ -z "$pid$killer" ] || kill $pid $killer 2>/dev/null || :
	pid= killer=
}
# A kernel that had to be killed leaves its processes; they are known by the path of the socket.
trap 'stop; pkill -9 -f "virtio_uml.device=$dir/" || :; rm -rf "$dir"' EXIT

root=$dir/root
mkdir -p "$root/bin" "$root/mnt" "$root/proc" "$root/sys" "$root/dev"
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$module" "$root/virtio_blk.ko"
for p in mkfs.ext4 e2fsck; do
	at=$(command -v $p)
	cp "$at" "$root/bin/"
	for lib in $(ldd "$at" | grep -o '/[^ ]*'); do
		mkdir -p "$root$(dirname "$lib")"
		cp -L "$lib" "$root$lib"
	done
done
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
insmod /virtio_blk.ko
echo "cache $(cat /sys/block/vda/queue/write_cache)"
if grep -q sv.readonly /proc/cmdline; then
	dd if=/dev/zero of=/dev/vda bs=4k count=1 2>/dev/null || echo "write refused"
	poweroff -f
fi
if grep -q sv.grow /proc/cmdline; then
	echo "size $(cat /sys/block/vda/size)"
	for i in $(seq 200); do
		[ "$(cat /sys/block/vda/size)" = 131072 ] || break
		sleep 0.1
	done
	echo "size $(cat /sys/block/vda/size)"
	dd if=/dev/zero of=/dev/vda bs=1M seek=95 count=1 oflag=direct 2>/dev/null && echo "end written"
	poweroff -f
fi
mkfs.ext4 -q -F /dev/vda && echo "made"
mount -t ext4 -o discard /dev/vda /mnt
for i in 1 2 3 4 5 6; do
	dd if=/dev/urandom of=/mnt/f$i bs=64k count=64 2>/dev/null
done
sync
md5sum /mnt/f4 /mnt/f5 /mnt/f6 >/mnt/sums
rm /mnt/f1 /mnt/f2 /mnt/f3
sync
fstrim /mnt && echo "trimmed"
umount /mnt
echo 3 >/proc/sys/vm/drop_caches
e2fsck -f -n /dev/vda >/dev/null 2>&1 && echo "clean"
mount -t ext4 -o ro /dev/vda /mnt
md5sum -c /mnt/sums >/dev/null && echo "verified"
umount /mnt
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc 2>/dev/null | gzip -1) >"$dir/initrd"

# run OPTIONS KERNEL-ARGUMENTS: one boot against a server with these options.
run() {
	"$sidevisor" serve --socket "$dir/node" --blk "path=${image:-$dir/disk},socket=$dir/sock,queues=2$1" \
		2>"$dir/server" &
	pid=$!
	for _ in $(seq 100); do
		[ -S "$dir/sock" ] && break
		sleep 0.05
	done
	timeout -k 1 60 env LD_PRELOAD="$shim" linux.uml mem=192M initrd="$dir/initrd" rdinit=/init \
		virtio_uml.device="$dir/sock:2" con=null con0=fd:0,fd:1 ssl=null $2 \
		uml_dir="$dir/" </dev/null 2>&1 | sed -u 's/\r//g' >"$dir/log" || :
	kill "$pid"
	wait "$pid" || fail "the node ended with status $?"
	pid=
	[ ! -e "$dir/sock" ] || fail "the socket was left behind"
	if grep -v "sidecore, the first on CPU\|${noise:-sidecore,}" "$dir/server"; then
		fail "the node complained"
	fi
}
fail() {
	echo "test_uml_disk.sh: $*"
	cat "$dir/server" "$dir/log"
	exit 1
}
expect() {
	for word in "$@"; do
		grep -qx "$word" "$dir/log" || fail "the guest did not say '$word'"
	done
}

for options in ,discard ,discard,direct ,discard,writethrough; do
	cache="write back"
	case $options in *writethrough) cache="write through" ;; esac
	rm -f "$dir/disk"
	truncate -s 64M "$dir/disk"
	run $options ""
	if grep -q "Kernel panic" "$dir/log" && ! grep -q "Run /init" "$dir/log"; then
		skip "User-mode Linux does not boot on this machine"
	fi
	expect "cache $cache" made trimmed clean verified
	e2fsck -f -n "$dir/disk" >"$dir/fsck" 2>&1 || fail "the image is not clean: $(cat "$dir/fsck")"
	echo "ok $options"
done
# Behind a server that dies and comes back meanwhile, and on an overlay whose base must stay as it is.
serve_nbd() {
	rm -f "$dir/nbd"
	nbdkit -f -U "$dir/nbd" file file="$dir/disk" 2>/dev/null &
	nbd=$!
	for _ in $(seq 100); do
		[ -S "$dir/nbd" ] && break
		sleep 0.05
	done
}
# The first when the guest has read from it.
deaths() {
	nbd=
	trap '[ -z "$nbd" ] || kill $nbd; exit' TERM
	serve_nbd
	for _ in $(seq 600); do
		grep -q "^cache " "$dir/log" && break
		sleep 0.1
	done
	for _ in 1 2 3 4 5 6; do
		sleep 0.5
		kill -9 $nbd
		serve_nbd
	done
	wait $nbd
}
if command -v nbdkit >/dev/null; then
	rm -f "$dir/disk"
	truncate -s 64M "$dir/disk"
	: >"$dir/log"
	deaths &
	killer=$!
	for _ in $(seq 100); do
		[ -S "$dir/nbd" ] && break
		sleep 0.05
	done
	image="nbd+unix:///?socket=$dir/nbd" noise="no connection\\|its server is"
	run ,discard ""
	image='' noise=''
	kill $killer
	wait $killer || :
	killer=
	expect made trimmed clean verified
	e2fsck -f -n "$dir/disk" >"$dir/fsck" 2>&1 || fail "the image is not clean: $(cat "$dir/fsck")"
	grep -q "its server is back" "$dir/server" || fail "the server's deaths went unseen"
	echo "ok nbd, the server killed meanwhile"
else
	echo "NOT TESTED: nbd, because nbdkit is missing"
fi
if command -v qemu-nbd >/dev/null; then
	cp "$dir/disk" "$dir/base"
	qemu-img create -q -f qcow2 -b "$dir/base" -F raw "$dir/overlay"
	image=$dir/overlay
	run ,discard,format=qcow2 ""
	image=
	expect made trimmed clean verified
	cmp "$dir/disk" "$dir/base" || fail "the base of the overlay changed"
	qemu-img check -q "$dir/overlay" || fail "the overlay is damaged"
	qemu-img convert -O raw "$dir/overlay" "$dir/flat"
	e2fsck -f -n "$dir/flat" >"$dir/fsck" 2>&1 || fail "the overlay is not clean: $(cat "$dir/fsck")"
	echo "ok qcow2 overlay"
else
	echo "NOT TESTED: qcow2, because qemu-nbd is missing"
fi
# Encrypted, with checksums: nothing to be seen in the image, everything right in the guest.
head -c 64 /dev/urandom >"$dir/key"
chmod 600 "$dir/key"
rm -f "$dir/disk"
truncate -s 64M "$dir/disk"
run ",discard,direct,filters=xts:$dir/key+integrity:$dir/side" ""
expect made trimmed clean verified
if e2fsck -f -n "$dir/disk" >/dev/null 2>&1; then
	fail "the image is not encrypted"
fi
echo "ok filters"
# It grows while the guest runs; what a guest has cannot become less.
grow() {
	for _ in $(seq 300); do
		grep -q "size 131072" "$dir/log" 2>/dev/null && break
		sleep 0.1
	done
	"$sidevisor" device --socket "$dir/node" node/sock size=1M 2>"$dir/refused" &&
		echo "it shrank" >>"$dir/refused"
	"$sidevisor" device --socket "$dir/node" node/sock size=96M >/dev/null
}
rm -f "$dir/disk" "$dir/log"
truncate -s 64M "$dir/disk"
grow &
grower=$!
run ,direct sv.grow
wait $grower || fail "the disk did not grow"
expect "size 131072" "size 196608" "end written"
grep -q "cannot shrink" "$dir/refused" || fail "a disk in use shrank: $(cat "$dir/refused")"
echo "ok grown"
cp "$dir/disk" "$dir/before"
run ,readonly sv.readonly
cmp "$dir/disk" "$dir/before" || fail "the read-only image changed"
expect "write refused"
echo "ok readonly"
