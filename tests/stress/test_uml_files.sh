#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Files that applications count on, on our disk under an unmodified driver: a guest that is killed while
# it writes finds, after the journal's replay, everything that it had made durable; a repository and the
# files of packages are what they were.
# usage: test_uml_files.sh SIDEVISOR SHIM [OPTIONS DEATHS]
#   OPTIONS of the disk, such as ,direct; DEATHS (1)
set -eu

. "$(dirname "$0")/uml.sh"
uml_begin virtio_blk mkfs.ext4 e2fsck git dpkg-deb

# Packages with files of all sizes, installed under /packed.
for p in one two three; do
	mkdir -p "$dir/$p/DEBIAN" "$dir/$p/usr/share/$p"
	printf 'Package: %s\nVersion: 1\nArchitecture: all\nMaintainer: p <p@p>\nDescription: p\n' $p \
		>"$dir/$p/DEBIAN/control"
	for i in $(seq 20); do
		head -c $((i * i * 100)) /dev/urandom >"$dir/$p/usr/share/$p/file$i"
	done
	(cd "$dir/$p" && find usr -type f -exec md5sum {} + >DEBIAN/md5sums)
	dpkg-deb -Znone -b "$dir/$p" "$dir/$p.deb" >/dev/null
done
mkdir -p "$dir/root/packed/var/lib/dpkg/info" "$dir/root/packed/var/lib/dpkg/updates"
: >"$dir/root/packed/var/lib/dpkg/status"
dpkg --root="$dir/root/packed" --force-not-root --force-script-chrootless --log=/dev/null \
	-i "$dir/one.deb" "$dir/two.deb" "$dir/three.deb" >"$dir/dpkg" 2>&1 ||
	skip "packages cannot be installed in a directory here: $(tail -n 1 "$dir/dpkg")"

uml_root virtio_blk mkfs.ext4 e2fsck git dpkg dpkg-query <<'INIT'
export HOME=/tmp GIT_CONFIG_NOSYSTEM=1
write() {
	n=0
	while :; do
		n=$((n + 1))
		dd if=/dev/urandom of=/mnt/new bs=4k count=$((n % 40 + 1)) conv=fsync 2>/dev/null
		sum=$(md5sum </mnt/new)
		mv /mnt/new "/mnt/f$n"
		sync
		echo "durable f$n ${sum%% *}"
	done
}
git() {
	/bin/git -c user.name=a -c user.email=a@b -c init.defaultBranch=main \
		-c core.fsyncMethod=fsync "$@"
}
commit() {
	mkdir /mnt/repo
	cd /mnt/repo
	git init -q .
	for i in $(seq 20); do
		dd if=/dev/urandom of=blob$i bs=10k count=$i 2>/dev/null
		cp -r /proc/sys/kernel text$i 2>/dev/null
		git add -A >/dev/null
		git commit -q -m "commit $i"
	done
	git gc -q 2>/dev/null
	git rev-parse HEAD >/mnt/head
	cd /
	cp -a /packed /mnt/packed
	sync
}
case $(cat /proc/cmdline) in
*sv.make*)
	mkfs.ext4 -q -F /dev/vda
	mount -t ext4 -o discard /dev/vda /mnt
	write
	;;
*sv.more*)
	mount -t ext4 -o discard /dev/vda /mnt && echo "replayed"
	cd /mnt
	md5sum f* | sed 's/\(.*\)  \(.*\)/have \2 \1/'
	cd /
	rm -f /mnt/f* /mnt/new
	write
	;;
*sv.repo*)
	mount -t ext4 -o discard /dev/vda /mnt && echo "replayed"
	commit && echo "committed"
	umount /mnt
	echo 3 >/proc/sys/vm/drop_caches
	e2fsck -f -n /dev/vda >/dev/null 2>&1 && echo "clean"
	mount -t ext4 -o ro /dev/vda /mnt
	cd /mnt/repo
	[ "$(git rev-parse HEAD)" = "$(cat /mnt/head)" ] && git fsck --full --strict 2>&1 && echo "repository whole"
	cd /
	/bin/dpkg --root=/mnt/packed --verify >/tmp/verify 2>&1 && [ ! -s /tmp/verify ] &&
		echo "packages whole"
	cat /tmp/verify
	umount /mnt
	;;
esac
poweroff -f
INIT

boot() {
	uml_boot log virtio_uml.device="$dir/sock:2" mem=256M "$1"
}
# die ARGUMENT SECONDS: boot, and kill the guest while it writes.
die() {
	: >"$dir/log"
	boot "$1" &
	boot=$!
	for _ in $(seq 600); do
		grep -q "^durable f3 " "$dir/log" && break
		sleep 0.1
	done
	sleep "$2"
	uml_die
	wait $boot || :
	uml_booted_or_skip log
	grep -E "^durable f[0-9]+ [0-9a-f]{32}$" "$dir/log" >"$dir/durable" || fail "nothing was written"
}
# Everything that was durable when the guest before died.
check() {
	expect log replayed
	while read -r _ file sum; do
		grep -qx "have $file $sum" "$dir/log" || fail "$file is lost or damaged (deaths: $deaths)"
	done <"$dir/asked"
}

deaths=0
rm -f "$dir/disk"
truncate -s 96M "$dir/disk"
uml_serve "$dir/sock" --blk "path=$dir/disk,socket=$dir/sock,queues=2,discard${3-}"
die sv.make 1
while [ $deaths -lt "${4:-1}" ]; do
	deaths=$((deaths + 1))
	cp "$dir/durable" "$dir/asked"
	die sv.more "0.$((deaths * 7 % 10))"
	check
done
boot sv.repo
expect log replayed committed clean "repository whole" "packages whole"
uml_stop "$dir/sock"
quiet_server
e2fsck -f -n "$dir/disk" >"$dir/fsck" 2>&1 || fail "the image is not clean: $(cat "$dir/fsck")"
echo "ok: $((deaths + 1)) deaths, every durable file was there; repository and packages whole"
