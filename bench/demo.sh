#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The main job, on whatever this machine has: build sidevisor, run the lightweight kernel with its
# exits offloaded to a sidecore, and boot a stock Debian Linux from its own bzImage with its root file
# system on a disk that the sidecore serves. With KVM on real VMX or SVM both run here; otherwise
# Linux (and, with no KVM at all, the lightweight kernel too) runs in a virtual node: a QEMU machine
# with emulated SVM and a real kvm_amd. On Debian 12; as root it installs what is missing.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
. tests/packages.sh
began=$(date +%s)

say() {
	printf '\n== %s\n' "$*"
}

say "1/5 packages and build"
install_packages build node
cmake --preset release -DSV_TESTS=OFF -DSV_PEERS=OFF -B build/demo >/dev/null
cmake --build build/demo -j "$(nproc)" >build/demo.log 2>&1 || {
	tail -n 20 build/demo.log
	exit 1
}
sv=$top/build/demo/cli/sidevisor
lwk=$top/build/demo/guest/lwk/lwk.elf
echo "built $("$sv" --version)"

say "2/5 a Debian kernel and a root file system for it"
work=$(mktemp -d "${TMPDIR:-/tmp}/sidevisor-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
sh tests/node/make-guest.sh tiny 6.1 "$work" >/dev/null
echo "$(basename "$(readlink -f "$work/vmlinuz")"): $(wc -c <"$work/vmlinuz") bytes, unmodified; root.img: ext4"

# Is there a KVM here, and can it run a stock kernel at speed?
kvm=none
if [ -w "${SIDEVISOR_KVM:-/dev/kvm}" ] && "$sv" run --quiet --kernel "$lwk" --cmdline "app=hello quiet" </dev/null 2>"$work/why"; then
	kvm=software
	grep -qE '^flags.*\b(vmx|svm)\b' /proc/cpuinfo && kvm=hardware
fi
linux="console=hvc0 quiet panic=-1 sv.run=echo%Linux%on%virtio-blk:;cat%/proc/partitions;dd%if=/dev/zero%of=/root/file%bs=1M%count=8%conv=fsync;ls%-l%/root"

guest_lwk() {
	echo "--- the lightweight kernel: hello, 10^6 requests through its channel, then what an exit costs"
	"$1" run --kernel "$2" --cmdline "app=hello" </dev/null
	"$1" run --kernel "$2" --cmdline "app=stress n=1000000" </dev/null
	SIDEVISOR_LWK=$2 "$1" bench exit --rounds 40 --count 1000 --exits 20
}

lwk_where="this machine's own KVM ($kvm)" linux_where=$lwk_where
if [ $kvm = none ]; then
	lwk_where="the virtual node (emulated kvm_amd)"
	echo "no usable /dev/kvm here: $(cat "$work/why" 2>/dev/null || echo 'it is missing')"
fi
[ $kvm = hardware ] || linux_where="the virtual node (emulated kvm_amd)"

say "3/5 the lightweight kernel on $lwk_where"
status=0
if [ $kvm != none ]; then
	guest_lwk "$sv" "$lwk" || status=1
else
	cat >"$work/lwk.sh" <<'EOF'
sidevisor run --kernel lwk.elf --cmdline app=hello &&
sidevisor run --kernel lwk.elf --cmdline "app=stress n=100000" &&
SIDEVISOR_LWK=lwk.elf sidevisor bench exit --rounds 20 --count 200 --exits 20
EOF
	sh tests/node/node.sh --cpus 2 --memory 1G --program "$sv" --file "$lwk" --file "$work/lwk.sh" \
		-- sh lwk.sh || status=1
fi

say "4/5 stock Debian Linux on $linux_where"
if [ $kvm = hardware ]; then
	"$sv" run --kernel "$work/vmlinuz" --initrd "$work/initrd" --disk "path=$work/root.img" \
		--memory 512M --cmdline "$linux" </dev/null || status=1
else
	cat >"$work/linux.sh" <<EOF
sidevisor run --name debian --kernel vmlinuz --initrd initrd --disk path=/dev/vda --memory 512M \
	--cmdline "$linux"
EOF
	sh tests/node/node.sh --cpus 2 --memory 2G --timeout 200 --program "$sv" \
		--file "$work/vmlinuz" --file "$work/initrd" --file "$work/linux.sh" \
		--disk "$work/root.img" -- sh linux.sh || status=1
fi
if e2fsck -fn "$work/root.img" >"$work/fsck" 2>&1; then
	echo "its file system is clean afterwards (e2fsck)"
else
	cat "$work/fsck"
	status=1
fi

say "5/5 what ran where ($(($(date +%s) - began)) s)"
echo "lightweight kernel:  $lwk_where"
echo "Debian Linux:        $linux_where"
[ $status -eq 0 ] && echo "both guests ran" || echo "a guest failed: see above"
exit $status
