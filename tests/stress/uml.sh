# SPDX-License-Identifier: BSD-3-Clause
# Sourced by tests that boot User-mode Linux on our disk: a root of busybox, a server, a boot.
# Needs $sidevisor, $shim, $dir. What a boot prints is in $dir/log, what the server says in $dir/server.

skip() {
	echo "SKIPPED BECAUSE $*"
	exit 77
}

uml_needs() {
	for p in linux.uml busybox cpio ldd pkill "$@"; do
		command -v "$p" >/dev/null || skip "$p is missing"
	done
	module=$(find /usr/lib/uml/modules -name virtio_blk.ko 2>/dev/null | head -n 1)
	[ -n "$module" ] || skip "the User-mode Linux kernel here has no virtio_blk"
}

# uml_root PROGRAM...: an initial root with these, their libraries, and /init from standard input.
uml_root() {
	root=$dir/root
	mkdir -p "$root/bin" "$root/mnt" "$root/proc" "$root/sys" "$root/dev" "$root/tmp"
	cp "$(command -v busybox)" "$root/bin/busybox"
	cp "$module" "$root/virtio_blk.ko"
	for p in "$@"; do
		at=$(command -v "$p")
		cp "$at" "$root/bin/"
		for lib in $(ldd "$at" | grep -o '/[^ ]*'); do
			mkdir -p "$root$(dirname "$lib")"
			cp -L "$lib" "$root$lib"
		done
	done
	cat >"$root/init"
	chmod +x "$root/init"
	(cd "$root" && find . | cpio -o -H newc 2>/dev/null | gzip -1) >"$dir/initrd"
}

# uml_serve OPTIONS: our server with the disk at $dir/disk, in $server.
uml_serve() {
	"$sidevisor" serve --socket "$dir/node" --isolate none \
		--blk "path=$dir/disk,socket=$dir/sock,queues=2$1" 2>"$dir/server" &
	server=$!
	for _ in $(seq 100); do
		[ -S "$dir/sock" ] && return
		sleep 0.05
	done
	fail "the server does not come up"
}

uml_stop() {
	kill "$server"
	wait "$server" || fail "the node ended with status $?"
	server=
}

# uml_boot ARGUMENTS: until it ends by itself, or 90 s.
uml_boot() {
	timeout -k 1 90 env LD_PRELOAD="$shim" linux.uml mem=256M initrd="$dir/initrd" rdinit=/init \
		virtio_uml.device="$dir/sock:2" con=null con0=fd:0,fd:1 ssl=null $1 \
		uml_dir="$dir/" </dev/null 2>&1 | tr -d '\r' >"$dir/log" || :
}

# Of all its processes, known by the path of the socket: as if the power failed.
uml_die() {
	pkill -9 -f "virtio_uml.device=$dir/" || :
}

fail() {
	echo "$(basename "$0"): $*"
	cat "$dir/server" "$dir/log"
	exit 1
}

expect() {
	for word in "$@"; do
		grep -qx "$word" "$dir/log" || fail "the guest did not say '$word'"
	done
}
