#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Fetch what guests and virtual nodes need from the Debian archive this machine uses, into a cache
# outside the tree. Nothing is installed.
#
# usage: fetch.sh kernel 6.1|6.12|6.1-full|6.1-rt    prints VMLINUZ and MODULES directory
#        fetch.sh qemu                               prints the QEMU program of tests and guests
#        fetch.sh emulator                           prints the QEMU program that virtual nodes run in
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

# An apt of our own in $apt: the machine's archive, a release and its backports, its own lists.
apt=$cache/apt
release=bookworm
private_apt() {
	mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/empty"
	apt-get -qq \
		-o Dir::Etc::sourcelist="$apt/sources.list" \
		-o Dir::Etc::sourceparts="$apt/empty" \
		-o Dir::State::lists="$apt/lists" \
		-o Dir::Cache::pkgcache="" -o Dir::Cache::srcpkgcache="" \
		-o Dir::Cache::archives="$apt/archives" \
		-o APT::Sandbox::User="" -o Acquire::Languages=none \
		"$@"
}

update() {
	[ -e "$apt/updated" ] && [ -z "$(find "$apt/updated" -mmin +720)" ] && return
	at=$(site)
	[ -n "$at" ] || die "this machine's apt knows no bookworm archive; run \`apt-get update\` first"
	mkdir -p "$apt/lists/partial"
	key=/usr/share/keyrings/debian-archive-keyring.gpg
	signed=
	[ -e "$key" ] && signed="[signed-by=$key]"
	{
		echo "deb $signed $at $release main"
		echo "deb $signed $at $release-backports main"
	} >"$apt/sources.list"
	say "reading the package lists of $release"
	private_apt update >&2 || die "the package lists of $release cannot be read"
	touch "$apt/updated"
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
	apt-cache -o Dir::Etc::sourcelist="$apt/sources.list" \
		-o Dir::Etc::sourceparts="$apt/empty" -o Dir::State::lists="$apt/lists" \
		-o Dir::Cache::pkgcache="" -o Dir::Cache::srcpkgcache="" show "$1" 2>/dev/null |
		awk -v want="$2" '/^Version:/ { v = $2 } /^Depends:/ { if (v ~ want) { print $2; exit } }' |
		tr -d ,
}

kernel() {
	from=bookworm
	case $1 in
	6.1) meta=linux-image-cloud-amd64 want='^6[.]1[.]' ;;
	6.12) meta=linux-image-cloud-amd64 want='^6[.]12[.].*bpo' from=bookworm-backports ;;
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
		unpack "$package" "$dir" $from
		touch "$dir/complete"
	fi
	echo "VMLINUZ=$(echo "$dir"/boot/vmlinuz-*)"
	echo "MODULES=$(echo "$dir"/lib/modules/*)"
}

# fetch_qemu DIRECTORY OPTION...: QEMU and what its dependency closure adds, by the options of apt.
fetch_qemu() {
	to=$1
	shift
	update
	rm -rf "$to"
	mkdir -p "$to"
	rm -f "$apt"/archives/*.deb
	say "fetching QEMU of $release-backports and its libraries"
	private_apt install -y --download-only --no-install-recommends -t "$release-backports" "$@" \
		qemu-system-x86 seabios ipxe-qemu >&2 || die "QEMU of $release-backports cannot be fetched"
	for deb in "$apt"/archives/*.deb; do
		dpkg -x "$deb" "$to"
	done
	rm -f "$apt"/archives/*.deb
	rm -rf "$to/usr/share/doc" "$to/usr/share/man" "$to/usr/share/locale"
}

# runs DIRECTORY: its program runs; it is printed.
runs() {
	[ -e "$1/complete" ] || {
		chmod +x "$1/qemu"
		"$1/qemu" --version >&2 || die "the fetched QEMU does not run here"
		touch "$1/complete"
	}
	echo "$1/qemu"
}

# mend DIRECTORY: make cpu_clear_ignne() of its emulator return at once. FXRSTOR and XRSTOR of any CPU
# call it, each on a thread of its own, and without a lock it clears a bit in a word of CPU 0, which only
# the FERR# of real-mode times sets; VMRUN, #VMEXIT, STGI and CLGI of CPU 0 change other bits of this word
# meanwhile (HF2_NPT_MASK, HF2_GIF_MASK), and their change is sometimes lost. Then the host runs with its
# guest's nested paging, and the next exit stores the host's registers as the guest's; or the guest runs
# with interrupts off for good.
mend() {
	[ ! -e "$1/mended" ] || return 0
	program=$1/usr/bin/qemu-system-x86_64
	at=$(nm -D --defined-only "$program" 2>/dev/null | sed -n 's/^0*\([0-9a-f]*\) T cpu_clear_ignne.*/\1/p')
	[ -n "$at" ] || say "nm (Debian: binutils) finds no cpu_clear_ignne in $program"
	at=$((0x${at:-0})) # the file offset, too
	case $(od -An -tx1 -j "$at" -N 4 "$program" | tr -d ' ') in
	f30f1efa) at=$((at + 4)) ;; # endbr64
	4883ec08) ;;		    # sub $8,%rsp
	c3*)			    # ret: mended, but the file that says so did not come to be
		touch "$1/mended"
		return
		;;
	*)
		say "cpu_clear_ignne of $program is not as expected: guests in virtual nodes may die"
		return
		;;
	esac
	cp "$program" "$program.new"
	printf '\303' | dd of="$program.new" bs=1 seek="$at" conv=notrunc status=none # ret
	mv "$program.new" "$program"
	touch "$1/mended"
}

# QEMU 10, beside this machine's libraries.
qemu() {
	dir=$cache/qemu
	[ -e "$dir/complete" ] || {
		fetch_qemu "$dir" --reinstall
		cat >"$dir/qemu" <<EOF
#!/bin/sh
export LD_LIBRARY_PATH=$dir/usr/lib/x86_64-linux-gnu:$dir/lib/x86_64-linux-gnu
export QEMU_MODULE_DIR=$dir/usr/lib/x86_64-linux-gnu/qemu
exec $dir/usr/bin/qemu-system-x86_64 -L $dir/usr/share/qemu -L $dir/usr/share/seabios "\$@"
EOF
	}
	mend "$dir"
	runs "$dir"
}

# QEMU 11 of the next Debian, with that one's C library and loader.
emulator() {
	dir=$cache/emulator
	apt=$cache/apt-emulator
	release=trixie
	[ -e "$dir/complete" ] || {
		mkdir -p "$apt"
		: >"$apt/status"
		fetch_qemu "$dir" -o Dir::State::status="$apt/status" libc6
		cat >"$dir/qemu" <<EOF
#!/bin/sh
at=$dir/usr/lib/x86_64-linux-gnu
export QEMU_MODULE_DIR=\$at/qemu
exec "\$at/ld-linux-x86-64.so.2" --library-path "\$at:$dir/lib/x86_64-linux-gnu" \\
	$dir/usr/bin/qemu-system-x86_64 -L $dir/usr/share/qemu -L $dir/usr/share/seabios "\$@"
EOF
	}
	mend "$dir"
	runs "$dir"
}

mkdir -p "$cache"
exec 8>"$cache/lock"
flock -w 600 8 || die "another fetch.sh has held $cache/lock for ten minutes"
case ${1:-} in
kernel) kernel "${2:-6.1}" ;;
qemu) qemu ;;
emulator) emulator ;;
*)
	sed -n '3,10s/^# \{0,1\}//p' "$0"
	exit 2
	;;
esac
