#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Time from starting the VM process to userspace on an ext4 root on virtio-blk: sidevisor against
# `qemu -M microvm`, interleaved in the same virtual node, the same kernel, initrd and disk.
#
# usage: boot-compare.sh BUILD [KERNEL [ROUNDS]]     (default 6.1 5)
# Prints each time and the medians, in seconds of the node's clock (emulated: only ratios mean much).
set -u
[ $# -ge 1 ] || {
	sed -n '3,7s/^# \{0,1\}//p' "$0"
	exit 2
}
. "$(dirname "$0")/lib.sh"
kernel=${2:-6.1} rounds=${3:-5}
need_qemu
guest tiny "$kernel"

cat >"$test_dir/inside.sh" <<EOF
export LD_LIBRARY_PATH=$(qemu_libraries)
rounds=$rounds
EOF
cat >>"$test_dir/inside.sh" <<'EOF'
common="console=ttyS0 quiet panic=-1 ro sv.run=true"
now() { cut -d ' ' -f 1 /proc/uptime; }
# until_up NAME COMMAND...: the time until its console says so.
until_up() {
	name=$1
	shift
	start=$(now)
	"$@" 2>/root/$name.err </dev/never | while read -r line; do
		case $line in
		*"userspace up"*) echo "$name $start $(now)" | awk '{ printf "%s %.2f\n", $1, $3 - $2 }' ;;
		esac
	done
}
ours() {
	until_up $1 sidevisor run --name $1 --kernel vmlinuz --initrd initrd --memory 256M \
		--disk path=/dev/vda,readonly --console serial --cmdline "$common" $2
}
microvm() {
	until_up microvm qemu-system-x86_64 -L /root -enable-kvm -cpu host -m 256 -nodefaults \
		-no-user-config -no-reboot -display none -serial stdio -bios qboot.rom \
		-M microvm,acpi=on,rtc=on,pit=off,pic=off,x-option-roms=off,isa-serial=on \
		-kernel vmlinuz -initrd initrd -append "$common" \
		-object iothread,id=t0 \
		-drive file=/dev/vda,format=raw,if=none,id=d,readonly=on,cache=none,aio=native \
		-device virtio-blk-device,drive=d,iothread=t0
}
# Memory that this node has never touched costs page faults of the machine below: touch it.
dd if=/dev/zero of=fill bs=1M count=1400 2>/dev/null
rm fill
for i in $(seq $rounds); do
	ours sidevisor
	microvm
	ours sidevisor-unpopulated --no-populate
done
for f in *.err; do
	[ -s "$f" ] && tail -n 3 "$f" | sed "s/^/$f: /" >&2
done
true
EOF
# What it says comes as it goes.
node() {
	sh "$here/node.sh" --build "$build" "$@" | tee "$test_dir/times"
}
node_with_qemu --cpus 2 --memory 2G --timeout 900 --file "$test_dir/vmlinuz" --file "$test_dir/initrd" \
	--disk "$test_dir/root.img" --file "$test_dir/inside.sh" -- sh inside.sh
for name in sidevisor sidevisor-unpopulated microvm; do
	awk -v n=$name '$1 == n { print $2 }' "$test_dir/times" | sort -n |
		awk -v n=$name '{ v[NR] = $1 } END { if (NR) printf "%s: median %.2f s of %d\n", n, v[int((NR + 1) / 2)], NR }'
done
awk '$1 == "sidevisor" { s++ } $1 == "microvm" { m++ } END { exit !(s && m) }' "$test_dir/times"
