# SPDX-License-Identifier: BSD-3-Clause
# Sourced by tests that boot User-mode Linux on our devices; their arguments are SIDEVISOR SHIM. A
# temporary directory is $dir; what the server says is in $dir/server, what a guest prints in $dir/NAME.

sidevisor=$1 shim=$2
server= others=

skip() {
	echo "SKIPPED BECAUSE $*"
	exit 77
}

fail() {
	echo "$(basename "$0"): $*"
	cat "$dir"/server "$dir"/log*
	exit 1
}

# uml_begin MODULE PROGRAM...: is all of it here? From now on $dir is there, and all that was started
# ends with the test: the pids in $server and $others, and the guests.
uml_begin() {
	uml_modules=/usr/lib/uml/modules
	module=$1
	shift
	for p in linux.uml busybox cpio ldd pkill "$@"; do
		command -v "$p" >/dev/null || skip "$p is missing (user-mode-linux, busybox-static, cpio, procps," \
			"e2fsprogs, git, iperf3, ethtool, iproute2, wget)"
	done
	[ -n "$(find $uml_modules -name "$module.ko" 2>/dev/null)" ] ||
		skip "the User-mode Linux kernel here has no $module"
	dir=$(mktemp -d "${TMPDIR:-/tmp}/sidevisor-uml.XXXXXX")
	# shellcheck disable=SC2086 # pids are words
	trap '[ -z "$server$others" ] || kill $server $others 2>/dev/null || :; uml_die; rm -rf "$dir"' EXIT
}

# All processes of the guests, known by the path of the socket: as if the power failed. One that was forked while
# they were looked for is found the next time; it would hold the output open.
uml_die() {
	for _ in $(seq 100); do
		pkill -9 -f "virtio_uml.device=$dir/" || return 0
		sleep 0.05
	done
}

# uml_root MODULES PROGRAM...: an initial root with these, their libraries, and the rest of /init from
# standard input: it says `booted` first.
uml_root() {
	root=$dir/root modules=$1
	shift
	mkdir -p "$root/bin" "$root/mnt" "$root/proc" "$root/sys" "$root/dev" "$root/tmp"
	cp "$(command -v busybox)" "$root/bin/busybox"
	for m in $modules; do
		at=$(find $uml_modules -name "$m.ko" | head -n 1)
		[ -z "$at" ] || cp "$at" "$root/"
	done
	for p in "$@"; do
		at=$(command -v "$p")
		cp "$at" "$root/bin/"
		for lib in $(ldd "$at" | grep -o '/[^ ]*'); do
			mkdir -p "$root$(dirname "$lib")"
			cp -L "$lib" "$root$lib"
		done
	done
	{
		cat <<-END
		#!/bin/busybox sh
		/bin/busybox --install -s /bin
		export PATH=/bin
		echo booted
		mount -t proc none /proc
		mount -t sysfs none /sys
		mount -t devtmpfs none /dev
		mount -t tmpfs none /tmp
		for m in $modules; do
			[ ! -e /\$m.ko ] || insmod /\$m.ko
		done
		END
		cat
	} >"$root/init"
	chmod +x "$root/init"
	(cd "$root" && find . | cpio -o -H newc 2>/dev/null | gzip -1) >"$dir/initrd"
}

# uml_serve SOCKET OPTION...: our server, when it has the socket; with a run directory of its own.
uml_serve() {
	socket=$1
	shift
	SIDEVISOR_RUN_DIR=$dir "$sidevisor" serve --socket "$dir/node" --isolate none "$@" 2>"$dir/server" &
	server=$!
	for _ in $(seq 200); do
		[ ! -S "$socket" ] || return 0
		sleep 0.05
	done
	fail "the server does not come up"
}

# uml_stop SOCKET...: it ends in good order, and these are gone.
uml_stop() {
	kill "$server"
	wait "$server" || fail "the node ended with status $?"
	server=
	for s in "$@"; do
		[ ! -e "$s" ] || fail "$s was left behind"
	done
}

# quiet_server [PATTERN]: it said nothing but how it began, and lines with the pattern.
quiet_server() {
	if grep -v "sidecore, the first on CPU${1:+\\|$1}" "$dir/server"; then
		fail "the node complained"
	fi
}

# uml_boot NAME ARGUMENT...: a guest until it ends by itself, or 100 s.
uml_boot() {
	name=$1
	shift
	mkdir -p "$dir/uml-$name"
	timeout -k 1 100 env LD_PRELOAD="$shim" linux.uml initrd="$dir/initrd" rdinit=/init con=null \
		con0=fd:0,fd:1 ssl=null uml_dir="$dir/uml-$name/" umid=guest "$@" </dev/null 2>&1 |
		sed -u 's/\r//g' >"$dir/$name" || :
}

uml_booted_or_skip() {
	if grep -q "Kernel panic" "$dir/$1" && ! grep -qx booted "$dir/$1"; then
		skip "User-mode Linux does not boot on this machine"
	fi
}

# expect NAME LINE...: the guest said so; extended regular expressions of a whole line.
expect() {
	name=$1
	shift
	for line in "$@"; do
		grep -qxE "$line" "$dir/$name" || fail "the guest did not say '$line' ($name)"
	done
}

# quiet_guest NAME
quiet_guest() {
	if grep -E "^failed|Kernel panic|WARNING:|BUG:" "$dir/$1"; then
		fail "the guest complained ($1)"
	fi
}
