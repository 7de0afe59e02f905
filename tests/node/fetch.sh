#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Fetch what guests and virtual nodes need from the Debian archive this machine uses, into a cache
# outside the tree. Nothing is installed.
#
# usage: fetch.sh kernel 6.1|6.12|6.1-full|6.1-rt    prints VMLINUZ and MODULES directory
#        fetch.sh qemu                               prints the QEMU program to use
# Exit status: 0, 2 wrong usage, 77 nothing can be fetched here (what needs it should be skipped).
set -eu

cache=${SIDEVISOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sidevisor}

die() {
	echo "fetch.sh: $*" >&2
	exit 77
}

say() {
	echo "fetch.sh: $*" >&2
}

# The archive's address is the one this machine has configured.
site() {
	apt-get indextargets --format '$(SITE) $(RELEASE)' 2>/dev/null |
		awk '$2 == "bookworm" { print $1; exit }'
}

# An apt of our own: the machine's archive, bookworm and bookworm-backports, its own lists.
private_apt() {
	mkdir -p "$cache/apt/lists/partial" "$cache/apt/archives/partial" "$cache/apt/empty"
	apt-get -qq \
		-o Dir::Etc::sourcelist="$cache/apt/sources.list" \
		-o Dir::Etc::sourceparts="$cache/apt/empty" \
		-o Dir::State::lists="$cache/apt/lists" \
		-o Dir::Cache::pkgcache="" -o Dir::Cache::srcpkgcache="" \
		-o Dir::Cache::archives="$cache/apt/archives" \
		-o APT::Sandbox::User="" -o Acquire::Languages=none \
		"$@"
}

update() {
	[ -e "$cache/apt/updated" ] && [ -z "$(find "$cache/apt/updated" -mmin +720)" ] && return
	at=$(site)
	[ -n "$at" ] || die "this machine's apt knows no bookworm archive; run \`apt-get update\` first"
	mkdir -p "$cache/apt/lists/partial"
	key=/usr/share/keyrings/debian-archive-keyring.gpg
	signed=
	[ -e "$key" ] && signed="[signed-by=$key]"
	{
		echo "deb $signed $at bookworm main"
		echo "deb $signed $at bookworm-backports main"
	} >"$cache/apt/sources.list"
	say "reading the package lists"
	private_apt update >&2 || die "the package lists cannot be read"
	touch "$cache/apt/updated"
}

# unpack PACKAGE DIRECTORY [RELEASE]
unpack() {
	mkdir -p "$cache/debs"
	say "fetching $1"
	(cd "$cache/debs" && rm -f "$1"_*.deb &&
		private_apt ${3:+-t "$3"} download "$1" >&2) || die "$1 cannot be fetched"
	dpkg -x "$cache/debs/$1"_*.deb "$2"
	rm -f "$cache/debs/$1"_*.deb
}

# The kernel package that a meta package depends on.
real_kernel() {
	apt-cache -o Dir::Etc::sourcelist="$cache/apt/sources.list" \
		-o Dir::Etc::sourceparts="$cache/apt/empty" -o Dir::State::lists="$cache/apt/lists" \
		-o Dir::Cache::pkgcache="" -o Dir::Cache::srcpkgcache="" show "$1" 2>/dev/null |
		awk -v want="$2" '/^Version:/ { v = $2 } /^Depends:/ { if (v ~ want) { print $2; exit } }' |
		tr -d ,
}

kernel() {
	release=bookworm
	case $1 in
	6.1) meta=linux-image-cloud-amd64 want='^6[.]1[.]' ;;
	6.12) meta=linux-image-cloud-amd64 want='^6[.]12[.].*bpo' release=bookworm-backports ;;
	6.1-full) meta=linux-image-amd64 want='^6[.]1[.]' ;;
	6.1-rt) meta=linux-image-rt-amd64 want='^6[.]1[.]' ;;
	*)
		echo "fetch.sh: kernel $1: choose 6.1, 6.12, 6.1-full or 6.1-rt" >&2
		exit 2
		;;
	esac
	dir=$cache/kernel-$1
	if [ ! -e "$dir/complete" ]; then
		update
		package=$(real_kernel $meta "$want")
		[ -n "$package" ] || die "the archive has no $meta of version $1"
		rm -rf "$dir"
		mkdir -p "$dir"
		unpack "$package" "$dir" $release
		touch "$dir/complete"
	fi
	echo "VMLINUZ=$(echo "$dir"/boot/vmlinuz-*)"
	echo "MODULES=$(echo "$dir"/lib/modules/*)"
}

# QEMU 10 from backports: what its dependency closure adds to this machine, unpacked side by side.
qemu() {
	dir=$cache/qemu
	if [ ! -e "$dir/complete" ]; then
		update
		rm -rf "$dir"
		mkdir -p "$dir"
		rm -f "$cache"/apt/archives/*.deb
		say "fetching QEMU 10 and its libraries"
		private_apt install -y --download-only --no-install-recommends --reinstall \
			-t bookworm-backports qemu-system-x86 seabios ipxe-qemu >&2 ||
			die "QEMU cannot be fetched"
		for deb in "$cache"/apt/archives/*.deb; do
			dpkg -x "$deb" "$dir"
		done
		rm -f "$cache"/apt/archives/*.deb
		rm -rf "$dir/usr/share/doc" "$dir/usr/share/man" "$dir/usr/share/locale"
		cat >"$dir/qemu" <<EOF
#!/bin/sh
export LD_LIBRARY_PATH=$dir/usr/lib/x86_64-linux-gnu:$dir/lib/x86_64-linux-gnu
export QEMU_MODULE_DIR=$dir/usr/lib/x86_64-linux-gnu/qemu
exec $dir/usr/bin/qemu-system-x86_64 -L $dir/usr/share/qemu -L $dir/usr/share/seabios "\$@"
EOF
		chmod +x "$dir/qemu"
		"$dir/qemu" --version >&2 || die "the fetched QEMU does not run here"
		touch "$dir/complete"
	fi
	echo "$dir/qemu"
}

mkdir -p "$cache"
exec 8>"$cache/lock"
flock -w 600 8 || die "another fetch.sh has held $cache/lock for ten minutes"
case ${1:-} in
kernel) kernel "${2:-6.1}" ;;
qemu) qemu ;;
*)
	sed -n '3,9s/^# \{0,1\}//p' "$0"
	exit 2
	;;
esac
