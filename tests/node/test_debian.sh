#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A Debian userland in a guest under sidevisor on kvm_amd: a login shell, the topology as lscpu and
# lstopo see it, a package installed, a program compiled and run, and a clean file system afterwards.
# usage: test_debian.sh BUILD KERNEL
set -u
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" -eq 0 ] || [ -e "${SIDEVISOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sidevisor}/debian-root.tar" ] ||
	skip "making a Debian root file system needs root, once"

cat >"$test_dir/in-guest" <<'EOF'
set -e
echo "login: $(su - root -c 'echo $LOGNAME $0 $PWD')"
lscpu
lstopo-no-graphics --no-legend
cat >/root/hello.c <<'C'
#include <stdio.h>
int main(void) { puts("compiled in the guest"); return 0; }
C
tcc -o /root/hello /root/hello.c
/root/hello
mkdir -p /root/p/DEBIAN /root/p/usr/share/p
printf 'Package: p\nVersion: 1\nArchitecture: all\nMaintainer: p <p@p>\nDescription: p\n' >/root/p/DEBIAN/control
echo "from a package" >/root/p/usr/share/p/p
dpkg-deb -b /root/p /root/p.deb >/dev/null
dpkg -i /root/p.deb
cat /usr/share/p/p
dpkg -l p | tail -n 1
dmesg -r | sed -n 's/^<[0-4]>/complaint: /p'
EOF
guest debian "$2" "$test_dir/in-guest:/root/inside"
cat >"$test_dir/inside.sh" <<'EOF'
sidevisor run --name debian --kernel vmlinuz --initrd initrd --disk path=/dev/vda --memory 1G \
	--vcpus 4 --topology 2:1:2:1 --numa 2 --overcommit \
	--cmdline "console=ttyS0 console=hvc0 quiet panic=-1 sv.run=sh%/root/inside"
EOF
node --cpus 4 --memory 2G --timeout 780 --file "$test_dir/vmlinuz" --file "$test_dir/initrd" \
	--file "$test_dir/inside.sh" --disk "$test_dir/root.img" -- sh inside.sh
expect_status 0
expect '^login: root -'
expect '^CPU\(s\): +4'
expect '^ *Model name: +[A-Z]'
expect '^ *Socket\(s\): +2'
expect '^ *Core\(s\) per socket: +2'
expect 'NUMA node\(s\): +2'
expect '^ +Package L#1'
expect '^ +NUMANode L#1'
expect '^compiled in the guest$'
expect '^from a package$'
expect '^ii +p '
expect 'sv.run ended with status 0'
expect_clean "$test_dir/root.img"
done_testing
