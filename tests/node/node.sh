#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A virtual node: a QEMU machine of the given shape with emulated SVM and nested paging, a Debian
# kernel with kvm_amd, and the given programs. Runs a command there and brings back its output, its
# files and its exit status. Needs no KVM and no privileges.
#
# usage: node.sh [OPTION...] -- COMMAND [ARGUMENT...]
#   --cpus N              (default 2)
#   --topology S:D:C:T    sockets, dies, cores, threads (default 1:1:N:1)
#   --l3s                 each die has an L3 of its own, as a Linux in the node sees it
#   --numa N              NUMA nodes, CPUs and memory split evenly (default 1)
#   --memory SIZE         such as 2G or 512M (default 2G)
#   --kernel NAME         of the node, see fetch.sh (default 6.12)
#   --build DIR           sidevisor and lwk.elf of this build directory, into /bin and /root
#   --program FILE[:DST]  an executable with its libraries (default destination /bin/NAME)
#   --file FILE[:DST]     a file (default destination /root/NAME)
#   --disk FILE           a raw image as /dev/vda, vdb … of the node; changes are kept
#   --module NAME         a kernel module to load, with what it needs
#   --append TEXT         more kernel parameters
#   --qemu OPTION         one more argument for QEMU; repeat
#   --get PATH            bring this file of the node back into --out; repeat
#   --out DIR             (default .)
#   --timeout SECONDS     (default 300)
#   --verbose             the node's kernel messages on standard error
# The command runs in /root, with a standard input that never becomes readable.
# Exit status: the command's; 125 the node failed; 124 it did not end in time; 77 what it needs
# cannot be fetched here.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${SIDEVISOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sidevisor}
cpus=2 topology= numa=1 memory=2G kernel=6.12 out=. timeout=300 verbose= append= l3s=
programs= files= gets= disks= modules= qemu_more= nl='
'

die() {
	echo "node.sh: $*" >&2
	exit 125
}

while [ $# -gt 0 ]; do
	case $1 in
	--) shift && break ;;
	-h | --help) sed -n '3,28s/^# \{0,1\}//p' "$0" && exit 0 ;;
	--verbose) verbose=1 && shift && continue ;;
	--l3s) l3s=1 && shift && continue ;;
	esac
	[ $# -gt 1 ] || die "$1: unknown, or its value is missing (see --help)"
	case $1 in
	--cpus) cpus=$2 ;;
	--topology) topology=$2 ;;
	--numa) numa=$2 ;;
	--memory) memory=$2 ;;
	--kernel) kernel=$2 ;;
	--build)
		programs=$programs$2/cli/sidevisor$nl
		files=$files$2/guest/lwk/lwk.elf$nl
		;;
	--program) programs=$programs$2$nl ;;
	--file) files=$files$2$nl ;;
	--disk) disks=$disks$2$nl ;;
	--module) modules="$modules $2" ;;
	--append) append="$append $2" ;;
	--get) gets="$gets $2" ;;
	--out) out=$2 ;;
	--timeout) timeout=$2 ;;
	--qemu) qemu_more=$qemu_more$2$nl ;;
	*) die "unknown option $1 (see --help)" ;;
	esac
	shift 2
done
[ $# -gt 0 ] || die "no command (see --help)"
[ -n "$topology" ] || topology=1:1:$cpus:1
for number in "$timeout" "$numa" $(echo "$topology" | tr : ' '); do
	case $number in '' | 0 | *[!0-9]*) die "$number is not a positive number" ;; esac
done
case ${memory%[GM]} in '' | 0 | *[!0-9]*) die "--memory $memory: give a size such as 2G or 512M" ;; esac
case $memory in
*G) mib=$((${memory%G} * 1024)) ;;
*M) mib=${memory%M} ;;
*) die "--memory $memory: give a size such as 2G or 512M" ;;
esac
for tool in busybox cpio modinfo ldd; do
	command -v $tool >/dev/null || die "$tool is missing (Debian: busybox-static cpio kmod libc-bin)"
done

found=$(sh "$here/fetch.sh" kernel "$kernel") || exit $?
eval "$found"
model=EPYC-v3,+svm,+npt,+x2apic
qemu=$(sh "$here/fetch.sh" emulator || sh "$here/fetch.sh" qemu) || {
	# The cmpxchg16b of older ones is wrong: better without.
	qemu=$(command -v qemu-system-x86_64) || exit 77
	model=$model,-cx16
}
# What is shared is told by the extended topology, which QEMU's emulator has but does not admit to:
# taken by force, without the other features that it leaves out. (The first Zen model goes by APIC id.)
[ -z "$l3s" ] || {
	model=EPYC-Rome${model#EPYC-v3},x-force-features=on
	for feature in fxsr-opt misalignsse osvw perfctr-core clzero ibpb amd-stibp nrip-save xsavec xsaves; do
		model=$model,-$feature
	done
}
work=$(mktemp -d "${TMPDIR:-/tmp}/sidevisor-node.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

# --- the initial RAM disk: a part that is the same for every node of a kernel, and this one's -------

# copy_module NAME: it and what it needs, decompressed, in loading order, into $base.
loaded=
copy_module() {
	case " $loaded " in *" $1 "*) return ;; esac
	loaded="$loaded $1"
	at=$(find "$MODULES" -name "$1.ko*" | head -n 1)
	[ -n "$at" ] || at=$(find "$MODULES" -name "$(echo "$1" | tr _ -).ko*" | head -n 1)
	[ -n "$at" ] || return 0 # built in
	case $at in
	*.xz) xz -dc "$at" >"$base/lib/modules/$1.ko" ;;
	*) cp "$at" "$base/lib/modules/$1.ko" ;;
	esac
	for need in $(modinfo -F depends "$base/lib/modules/$1.ko" | tr ',' ' '); do
		copy_module "$need"
	done
	echo "$1" >>"$base/lib/modules/order"
}

write_init() {
	cat >"$1" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=dumb
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts none /dev/pts
mount -t tmpfs none /dev/shm
mount -t tmpfs none /run
mount -t tmpfs none /tmp
mkdir -p /run/lock
ifconfig lo up 2>/dev/null
while read -r m; do
	insmod "/lib/modules/$m.ko" || echo "node: module $m does not load"
done </lib/modules/order
ln -sf /proc/self/fd /dev/fd
ports=0
for n in $(seq 100); do
	ports=$(cat /sys/class/virtio-ports/*/name 2>/dev/null | grep -c .)
	[ "$ports" -ge 4 ] && break
	usleep 20000
done
[ "$ports" -ge 4 ] || echo "node: the ports to the host are missing"
for p in /sys/class/virtio-ports/*; do
	ln -sf "/dev/${p##*/}" "/dev/node-$(cat "$p/name")"
done
mkfifo /dev/never
exec 9<>/dev/never
cd /root
echo "node: up after $(cut -d ' ' -f 1 /proc/uptime) s"
setsid sh /etc/command <&9 >/dev/node-out 2>/dev/node-err 9<&-
status=$?
tar -c $(for g in $(cat /etc/gets); do [ -e "$g" ] && echo "$g"; done) /etc/gets >/dev/node-files 2>/dev/null
echo "$status" >/dev/node-status
sync
poweroff -f
INIT
	chmod +x "$1"
}

make_base() {
	base=$work/base
	mkdir -p "$base/bin" "$base/dev" "$base/proc" "$base/sys" "$base/tmp" "$base/run" \
		"$base/root" "$base/etc" "$base/lib/modules"
	cp "$(command -v busybox)" "$base/bin/busybox"
	# shellcheck disable=SC2086
	for m in virtio_pci virtio_blk virtio_console kvm kvm_amd $modules; do
		copy_module $m
	done
	write_init "$base/init"
	mkdir -p "$cache/nodes"
	(cd "$base" && find . | cpio -o -H newc --quiet) >"$1.$$"
	mv "$1.$$" "$1"
	# Not more than a few: each has the modules of a kernel.
	find "$cache/nodes" -name '*.cpio' -mtime +30 -exec rm -f {} +
}
key=$({
	echo "$VMLINUZ $modules"
	cat "$0" "$(command -v busybox)"
} | sha256sum | cut -c 1-24)
[ -s "$cache/nodes/$key.cpio" ] || make_base "$cache/nodes/$key.cpio"

root=$work/root
mkdir -p "$root/etc"
# copy_program FILE DST: and the libraries that its loader would find here.
copy_program() {
	mkdir -p "$root/$(dirname "$2")"
	cp -L "$1" "$root/$2"
	ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | while read -r lib; do
		[ -e "$root/$lib" ] && continue
		mkdir -p "$root/$(dirname "$lib")"
		cp -L "$lib" "$root/$lib"
	done
}
IFS=$nl
for p in $programs; do
	src=${p%%:*}
	case $p in *:*) dst=${p#*:} ;; *) dst=/bin/$(basename "$src") ;; esac
	[ -f "$src" ] || die "--program $src: no such file"
	copy_program "$src" "$dst"
done
for f in $files; do
	src=${f%%:*}
	case $f in *:*) dst=${f#*:} ;; *) dst=/root/$(basename "$src") ;; esac
	[ -f "$src" ] || die "--file $src: no such file"
	mkdir -p "$root/$(dirname "$dst")"
	cp -L "$src" "$root/$dst"
done
for disk in $disks; do
	[ -f "$disk" ] || die "--disk $disk: no such file"
done
unset IFS

# The command, quoted for the node's shell.
for a in "$@"; do
	printf "'%s' " "$(printf %s "$a" | sed "s/'/'\\\\''/g")"
done >"$root/etc/command"
echo "$gets" >"$root/etc/gets"
{
	cat "$cache/nodes/$key.cpio"
	(cd "$root" && find . | cpio -o -H newc --quiet)
} >"$work/initrd"
rm -rf "$root"

# --- the machine ------------------------------------------------------------------------------------
IFS=: read -r s d c t <<EOF
$topology
EOF
n=$((s * d * c * t))
[ "$numa" -le "$n" ] || die "--numa $numa: more nodes than CPUs ($n)"
set -- -M q35 -name node -accel tcg,thread=multi -cpu "$model" \
	-smp "$n,sockets=$s,dies=$d,cores=$c,threads=$t" -m "$memory" -nographic -no-reboot -nodefaults
i=0
while [ "$numa" -gt 1 ] && [ "$i" -lt "$numa" ]; do
	first=$((i * n / numa)) last=$(((i + 1) * n / numa - 1))
	size=$(((i + 1) * mib / numa - i * mib / numa))
	set -- "$@" -object "memory-backend-ram,id=m$i,size=${size}M" \
		-numa "node,nodeid=$i,cpus=$first-$last,memdev=m$i"
	i=$((i + 1))
done
[ "$n" -le 8 ] || append="$append cpuhp.parallel=0"
set -- "$@" -kernel "$VMLINUZ" -initrd "$work/initrd" \
	-append "console=ttyS0 panic=-1 quiet$append" \
	-device virtio-serial-pci,max_ports=8 \
	-chardev "file,id=out,path=$work/out" -device virtserialport,chardev=out,name=out \
	-chardev "file,id=err,path=$work/err" -device virtserialport,chardev=err,name=err \
	-chardev "file,id=st,path=$work/status" -device virtserialport,chardev=st,name=status \
	-chardev "file,id=fi,path=$work/files" -device virtserialport,chardev=fi,name=files \
	-serial "file:$work/console" -d cpu_reset -D "$work/resets"
i=0
IFS=$nl
for disk in $disks; do
	set -- "$@" -drive "file=$disk,format=raw,if=none,id=d$i,cache=unsafe" \
		-device "virtio-blk-pci,drive=d$i"
	i=$((i + 1))
done
for q in $qemu_more; do
	set -- "$@" "$q"
done
unset IFS

: >"$work/out"
: >"$work/err"
: >"$work/console"
code=0
echo "node.sh: booting a node of $n CPUs, $numa NUMA node(s), $memory, $(basename "$VMLINUZ")" >&2
timeout "$timeout" "$qemu" "$@" </dev/null >/dev/null 2>"$work/qemu" &
pid=$!
trap 'kill $pid 2>/dev/null; exit 130' INT TERM HUP
tail -n +1 -s 0.1 --pid=$pid -f "$work/err" >&2 2>/dev/null &
tail -n +1 -s 0.1 --pid=$pid -f "$work/out" 2>/dev/null &
wait "$pid" || code=$?
wait
[ -z "$verbose" ] || sed 's/\r$//; s/^/node: /' "$work/console" >&2
if [ ! -s "$work/status" ]; then
	grep -v "TCG doesn't support" "$work/qemu" >&2 || true
	[ -n "$verbose" ] || sed 's/\r$//; s/^/node: /' "$work/console" | tail -n 20 >&2
	sed -n '/^Triple fault/,$p' "$work/resets" 2>/dev/null | head -n 24 | sed 's/^/node: /' >&2
	[ "$code" -ne 124 ] || {
		echo "node.sh: the node did not end within $timeout s; raise --timeout" >&2
		exit 124
	}
	die "the node ended without a status (QEMU: $code)"
fi
if [ -n "$gets" ]; then
	mkdir -p "$out"
	tar -C "$out" --exclude=etc/gets -xf "$work/files"
fi
exit "$(cat "$work/status")"
