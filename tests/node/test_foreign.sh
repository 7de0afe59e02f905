#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A stock Debian kernel with devices that other programs serve (`run --vhost-user`): a shared folder by
# QEMU's virtiofsd, a disk by qemu-storage-daemon; with a virtio-rng device of ours, and a virtio-vsock device of the kernel's. A back end that
# is killed ends the VM with a sentence.
# usage: test_foreign.sh BUILD KERNEL
set -u
. "$(dirname "$0")/lib.sh"

storage=$(command -v qemu-storage-daemon) || skip "qemu-storage-daemon is missing (qemu-system-common)"
fsd=/usr/lib/qemu/virtiofsd
[ -x $fsd ] || fsd=/usr/libexec/virtiofsd
[ -x $fsd ] || skip "virtiofsd is missing (qemu-system-common or virtiofsd)"
cat >"$test_dir/inside.sh" <<EOF
truncate -s 64M /image
mkdir -p /share /var/run /run /tmp
echo "from the host" >/share/greeting
qemu-storage-daemon --blockdev driver=file,node-name=f,filename=/image \
	--export type=vhost-user-blk,id=e,node-name=f,addr.type=unix,addr.path=/blk.sock,writable=on,num-queues=2 &
storage=\$!
virtiofsd --socket-path=/fs.sock -o source=/share -o sandbox=chroot -o cache=auto 2>/fs.log &
until [ -S /blk.sock ] && [ -S /fs.sock ]; do usleep 100000; done
vsock_echo serve 1000 &
{
	sidevisor run --name linux --kernel vmlinuz --initrd initrd --disk path=/dev/vda --memory 384M \
		--overcommit --rng --vsock 42 --vhost-user blk,socket=/blk.sock --vhost-user fs,socket=/fs.sock,tag=share \
		--cmdline "console=ttyS0 console=hvc0 quiet panic=-1 sv.run=sh%/root/inside" 2>/run.err
	echo "run ended with status \$?"
} | while read -r line; do
	echo "\$line"
	case \$line in *waiting*) kill -9 \$storage ;; esac
done
cat /run.err
md5sum </share/big
cmp -n 8388608 /image /share/big && echo "image: same"
true
EOF
cat >"$test_dir/in-guest" <<'EOF'
mount -t virtiofs share /mnt && cat /mnt/greeting
echo "rng: $(cat /sys/class/misc/hw_random/rng_current) $(head -c 64 /dev/hwrng | wc -c)"
vsock_echo 2 1000 1000000
dd if=/dev/urandom of=/mnt/big bs=1M count=8 2>/dev/null
dd if=/mnt/big of=/dev/vdb bs=1M oflag=direct 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
a=$(md5sum </mnt/big) b=$(dd if=/dev/vdb bs=1M count=8 iflag=direct 2>/dev/null | md5sum)
echo "guest: $a"
[ "$a" = "$b" ] && echo "disk: same"
echo "disk: $(cat /sys/block/vdb/size) sectors, queues $(ls /sys/block/vdb/mq | wc -l)"
ls -l /mnt/big && rm /mnt/greeting && mkdir /mnt/made
umount /mnt
sync
mount -o remount,ro /
echo waiting
dd if=/dev/vdb of=/dev/null bs=4k iflag=direct
sleep 100
EOF
guest tiny "$2" "$test_dir/in-guest:/root/inside" "$build/tests/vsock_echo:+/bin/vsock_echo"
node --kernel "$2" --cpus 3 --memory 2G --timeout 500 --file "$test_dir/vmlinuz" --program "$storage" \
	--program "$fsd" --program "$build/tests/vsock_echo" --module vhost_vsock --file "$test_dir/initrd" --file "$test_dir/inside.sh" \
	--disk "$test_dir/root.img" -- sh inside.sh
expect_status 0
expect '^from the host'
expect '^rng: virtio_rng.0 64'
expect '^disk: same'
expect '^disk: 131072 sectors'
expect '^echo: same'
expect '^vsock: 1000000 bytes echoed'
expect '^image: same'
sum=$(sed -n 's/^guest: //p' "$test_dir/out")
[ -n "$sum" ] && expect "^$sum" || fail "the guest has no sum"
expect '^run ended with status 1'
expect_clean "$test_dir/root.img"
expect '/blk.sock: vhost-user: the back end went away'
done_testing
