#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Our disk under an unmodified Linux driver at native speed, without any KVM: User-mode Linux makes a
# file system, fills, trims, checks and verifies it, once per way of opening the image.
# usage: test_uml_disk.sh SIDEVISOR SHIM
set -eu

. "$(dirname "$0")/uml.sh"
uml_begin virtio_blk mkfs.ext4 e2fsck
image= noise=

uml_root virtio_blk mkfs.ext4 e2fsck <<'INIT'
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

# run OPTIONS KERNEL-ARGUMENT: one boot against a server with these options.
run() {
	uml_serve "$dir/sock" --blk "path=${image:-$dir/disk},socket=$dir/sock,queues=2$1"
	uml_boot log virtio_uml.device="$dir/sock:2" mem=192M ${2:+"$2"}
	uml_stop "$dir/sock"
	quiet_server "$noise"
}

for options in ,discard ,discard,direct ,discard,writethrough; do
	cache="write back"
	case $options in *writethrough) cache="write through" ;; esac
	rm -f "$dir/disk"
	truncate -s 64M "$dir/disk"
	run $options ""
	uml_booted_or_skip log
	expect log "cache $cache" made trimmed clean verified
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
# The first as soon as the guest has read from it, for it may be quick.
deaths() {
	nbd=
	trap '[ -z "$nbd" ] || kill $nbd; exit' TERM
	serve_nbd
	for _ in $(seq 3000); do
		grep -q "^cache " "$dir/log" && break
		sleep 0.02
	done
	for _ in 1 2 3 4 5 6; do
		kill -9 $nbd
		serve_nbd
		sleep 0.5
	done
	wait $nbd
}
if command -v nbdkit >/dev/null; then
	rm -f "$dir/disk"
	truncate -s 64M "$dir/disk"
	: >"$dir/log"
	deaths &
	others=$!
	for _ in $(seq 100); do
		[ -S "$dir/nbd" ] && break
		sleep 0.05
	done
	image="nbd+unix:///?socket=$dir/nbd" noise="no connection\\|its server is"
	run ,discard ""
	image='' noise=''
	kill $others
	wait $others || :
	others=
	expect log made trimmed clean verified
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
	expect log made trimmed clean verified
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
expect log made trimmed clean verified
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
expect log "size 131072" "size 196608" "end written"
grep -q "cannot shrink" "$dir/refused" || fail "a disk in use shrank: $(cat "$dir/refused")"
echo "ok grown"
cp "$dir/disk" "$dir/before"
run ,readonly sv.readonly
cmp "$dir/disk" "$dir/before" || fail "the read-only image changed"
expect log "write refused"
echo "ok readonly"
