#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A virtual node: a QEMU machine of the given shape with emulated SVM and nested paging, a Debian
# kernel with kvm_amd, and the given programs. Runs a command there and brings back its output, its
# files and its exit status. Needs no KVM and no privileges.
#
# usage: node.sh [OPTION...] -- COMMAND [ARGUMENT...]
#   --cpus N              (default 2)
#   --topology S:D:C:T    sockets, dies, cores, threads (default 1:1:N:1)
#   --numa N              NUMA nodes, CPUs and memory split evenly (default 1)
#   --memory SIZE         (default 2G)
#   --kernel 6.1|6.12     of the node (default 6.12)
#   --program FILE[:DST]  an executable with its libraries (default destination /bin/NAME)
#   --file FILE[:DST]     a file (default destination /root/NAME)
#   --disk FILE           a raw image as /dev/vda, vdb … of the node; changes are kept
#   --get PATH            bring this file of the node back into --out
#   --out DIR             (default .)
#   --timeout SECONDS     (default 300)
#   --qemu OPTION         passed to QEMU; repeat
#   --verbose             the node's kernel messages on standard error
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cpus=2 topology= numa=1 memory=2G kernel=6.12 out=. timeout=300 verbose=
programs= files= gets= nl='
'
qemu_more=
disks=

die() {
	echo "node.sh: $*" >&2
	exit 125
}

while [ $# -gt 0 ]; do
	case $1 in
	--cpus) cpus=$2 && shift 2 ;;
	--topology) topology=$2 && shift 2 ;;
	--numa) numa=$2 && shift 2 ;;
	--memory) memory=$2 && shift 2 ;;
	--kernel) kernel=$2 && shift 2 ;;
	--program) programs=$programs$2$nl && shift 2 ;;
	--file) files=$files$2$nl && shift 2 ;;
	--disk) disks=$disks$2$nl && shift 2 ;;
	--get) gets="$gets $2" && shift 2 ;;
	--out) out=$2 && shift 2 ;;
	--timeout) timeout=$2 && shift 2 ;;
	--qemu) qemu_more=$qemu_more$2$nl && shift 2 ;;
	--verbose) verbose=1 && shift ;;
	--) shift && break ;;
	-h | --help) sed -n '3,24s/^# \{0,1\}//p' "$0" && exit 0 ;;
	*) die "unknown option $1 (see --help)" ;;
	esac
done
[ $# -gt 0 ] || die "no command (see --help)"
command -v busybox >/dev/null || die "busybox is missing: install busybox-static"
command -v cpio >/dev/null || die "cpio is missing"

eval "$(sh "$here/fetch.sh" kernel "$kernel")"
qemu=$(sh "$here/fetch.sh" qemu)
work=$(mktemp -d "${TMPDIR:-/tmp}/sidevisor-node.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
root=$work/root
mkdir -p "$root/bin" "$root/root" "$root/dev" "$root/proc" "$root/sys" "$root/tmp" "$root/run" \
	"$root/etc" "$root/lib64"

cp "$(command -v busybox)" "$root/bin/busybox"

# copy_module NAME: it and what it needs, decompressed, in loading order.
loaded=
copy_module() {
	case " $loaded " in *" $1 "*) return ;; esac
	loaded="$loaded $1"
	at=$(find "$MODULES" -name "$1.ko*" | head -n 1)
	[ -n "$at" ] || return 0 # built in
	case $at in
	*.xz) xz -dc "$at" >"$root/lib/modules/$1.ko" ;;
	*) cp "$at" "$root/lib/modules/$1.ko" ;;
	esac
	for need in $(modinfo -F depends "$root/lib/modules/$1.ko" | tr ',' ' '); do
		copy_module "$(echo "$need" | tr _ -)"
		copy_module "$need"
	done
	echo "$1" >>"$root/lib/modules/order"
}
mkdir -p "$root/lib/modules"
for m in virtio_pci virtio_blk virtio_console kvm kvm-amd; do
	copy_module $m
done

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
	[ -e "$src" ] || die "--program $src: no such file"
	copy_program "$src" "$dst"
done
for f in $files; do
	src=${f%%:*}
	case $f in *:*) dst=${f#*:} ;; *) dst=/root/$(basename "$src") ;; esac
	[ -e "$src" ] || die "--file $src: no such file"
	mkdir -p "$root/$(dirname "$dst")"
	cp -L "$src" "$root/$dst"
done
unset IFS

# The command, quoted for the node's shell.
for a in "$@"; do
	printf "'%s' " "$(printf %s "$a" | sed "s/'/'\\\\''/g")"
done >"$root/etc/command"
echo "$gets" >"$root/etc/gets"
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=dumb
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mkdir -p /dev/pts /dev/shm /run/lock
mount -t devpts none /dev/pts
mount -t tmpfs none /dev/shm
mount -t tmpfs none /run
mount -t tmpfs none /tmp
ifconfig lo up 2>/dev/null
while read -r m; do
	insmod "/lib/modules/$m.ko" || echo "node: module $m does not load"
done </lib/modules/order
ln -sf /proc/self/fd /dev/fd
for n in $(seq 50); do
	grep -q . /sys/class/virtio-ports/*/name 2>/dev/null && break
	usleep 20000
done
for p in /sys/class/virtio-ports/*; do
	ln -sf "/dev/${p##*/}" "/dev/node-$(cat "$p/name")"
done
mkfifo /dev/never
exec 9<>/dev/never
cd /root
setsid sh /etc/command <&9 >/dev/node-out 2>/dev/node-err
status=$?
tar -c $(for g in $(cat /etc/gets); do [ -e "$g" ] && echo "$g"; done) /etc/gets >/dev/node-files 2>/dev/null
echo "$status" >/dev/node-status
sync
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet) >"$work/initrd"

# The shape.
[ -n "$topology" ] || topology=1:1:$cpus:1
IFS=: read -r s d c t <<EOF
$topology
EOF
n=$((s * d * c * t))
set -- -M q35 -name node -accel tcg,thread=multi -cpu EPYC-v3,+svm,+npt,+x2apic \
	-smp "$n,sockets=$s,dies=$d,cores=$c,threads=$t" -m "$memory" -nographic -no-reboot -nodefaults
if [ "$numa" -gt 1 ]; then
	case $memory in
	*G) mib=$((${memory%G} * 1024)) ;;
	*M) mib=${memory%M} ;;
	*) die "--memory $memory: give a size such as 2G or 512M" ;;
	esac
	each=$((mib / numa)) per=$((n / numa)) i=0
	while [ "$i" -lt "$numa" ]; do
		set -- "$@" -object "memory-backend-ram,id=m$i,size=${each}M" \
			-numa "node,nodeid=$i,cpus=$((i * per))-$((i * per + per - 1)),memdev=m$i"
		i=$((i + 1))
	done
fi
parallel=
[ "$n" -gt 8 ] && parallel=cpuhp.parallel=0
set -- "$@" -kernel "$VMLINUZ" -initrd "$work/initrd" \
	-append "console=ttyS0 panic=-1 quiet $parallel" \
	-device virtio-serial-pci,max_ports=8 \
	-chardev "file,id=out,path=$work/out" -device virtserialport,chardev=out,name=out \
	-chardev "file,id=err,path=$work/err" -device virtserialport,chardev=err,name=err \
	-chardev "file,id=st,path=$work/status" -device virtserialport,chardev=st,name=status \
	-chardev "file,id=fi,path=$work/files" -device virtserialport,chardev=fi,name=files \
	-serial "file:$work/console"
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
code=0
timeout "$timeout" "$qemu" "$@" </dev/null >/dev/null 2>"$work/qemu" &
pid=$!
trap 'kill $pid 2>/dev/null; exit 130' INT TERM
tail -n +1 -s 0.1 --pid=$pid -f "$work/err" >&2 2>/dev/null &
tail -n +1 -s 0.1 --pid=$pid -f "$work/out" 2>/dev/null
wait "$pid" || code=$?
wait
[ -z "$verbose" ] || sed 's/\r$//; s/^/node: /' "$work/console" >&2
if [ ! -s "$work/status" ]; then
	grep -v "TCG doesn't support" "$work/qemu" >&2 || true
	sed 's/\r$//; s/^/node: /' "$work/console" | tail -n 20 >&2
	[ "$code" -eq 124 ] && die "the node did not end within $timeout s; raise --timeout"
	die "the node ended without a status (QEMU: $code)"
fi
if [ -n "$gets" ]; then
	mkdir -p "$out"
	tar -C "$out" -xf "$work/files"
	rm -rf "$out/etc/gets"
	rmdir "$out/etc" 2>/dev/null || true
fi
exit "$(cat "$work/status")"
