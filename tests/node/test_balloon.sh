#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A stock Debian kernel gives memory back and takes it again under stress-ng, which verifies what it
# writes: the resident memory of the VM process falls each time, and nothing is lost.
# usage: test_balloon.sh BUILD KERNEL ROUNDS
set -u
. "$(dirname "$0")/lib.sh"
kernel=$2 rounds=$3
stress=$(command -v stress-ng) || skip "stress-ng is not installed"

cat >"$test_dir/in-guest" <<EOF
echo "round 0 used"
read -r go </dev/hvc0
# 4096 operations a 128 MiB: with fewer than 5120 it ends before all is written, and verifies nothing.
for i in \$(seq $rounds); do
	stress-ng --vm 1 --vm-bytes 160M --vm-ops 5200 --vm-method rand-set --verify --quiet --temp-path /tmp ||
		echo "stress-ng failed: \$?"
	echo "round \$i used"
	read -r go </dev/hvc0
done
read -r answer </dev/hvc0
echo "asked for less: \$answer"
EOF
guest tiny "$kernel" "$test_dir/in-guest:/root/inside" "$stress:+/bin/stress-ng"
cat >"$test_dir/inside.sh" <<EOF
rounds=$rounds
EOF
cat >>"$test_dir/inside.sh" <<'EOF'
mkfifo in
: >out
exec 8<>in
sidevisor run --name b --kernel vmlinuz --initrd initrd --disk path=/dev/vda --memory 384M --balloon \
	--cmdline "console=ttyS0 console=hvc0 quiet panic=-1 sv.run=sh%/root/inside" <&8 >out 2>&1 &
vm=$!
rss() { awk '/^Rss:/ { print int($2 / 1024) }' /proc/$vm/smaps_rollup; }
most=0
wait_for() {
	for i in $(seq 1200); do
		now=$(rss)
		[ "${now:-0}" -le "$most" ] || most=$now
		grep -q "$1" out && return
		kill -0 $vm 2>/dev/null || break
		sleep 0.1
	done
	echo "'$1' did not come"
}
# fell FROM: to 100 MiB less, in a minute; the guest goes on only then.
fell() {
	for i in $(seq 600); do
		now=$(rss)
		[ $(($1 - ${now:-$1})) -ge 100 ] && return
		sleep 0.1
	done
	return 1
}
# Round 0 is the guest's start, with all of its memory there.
for r in $(seq 0 $rounds); do
	wait_for "round $r used"
	used=$most
	sidevisor memory b --json >used.json
	if fell "$used"; then
		[ $r -eq 0 ] || echo "fell in round $r"
	else
		cat used.json
		sidevisor memory b --json
	fi
	echo "round $r: $used MiB used, $now MiB free"
	most=0
	echo go >&8
done
sidevisor memory b 256M
for i in $(seq 300); do
	sidevisor memory b --json >m
	[ "$(sed -n 's/.*"actual_bytes": \([0-9]*\),*/\1/p' m)" -ge 134217728 ] && break
	sleep 0.1
done
cat m
sidevisor memory b 384M
for i in $(seq 300); do
	sidevisor memory b --json >m2
	grep -q '"actual_bytes": 0,' m2 && break
	sleep 0.1
done
cat m2
sidevisor memory b 1G
echo "too much: status $?"
echo yes >&8
wait $vm
echo "vm: status $?"
cat out
EOF
node --cpus 3 --memory 1536M --timeout 580 --file "$test_dir/vmlinuz" --file "$test_dir/initrd" \
	--file "$test_dir/inside.sh" --disk "$test_dir/root.img" -- sh inside.sh
expect_status 0
expect '^vm: status 0'
expect 'sv.run ended with status 0'
reject "' did not come"
reject 'stress-ng failed|stress-ng: (error|fail)'
[ "$(grep -c '^fell in round' "$test_dir/out")" -ge $((rounds - rounds / 5)) ] ||
	fail "memory was not given back: $(grep '^round [0-9]*:' "$test_dir/out" | tr '\n' ';')"
expect '"ahead_bytes": [1-9]'
expect '"again_bytes": [1-9]'
expect '"balloon_bytes": 134217728'
expect '"failed": 0'
expect '^too much: status 1'
expect '^asked for less: yes'
expect 'give a size up to that of its memory' "$test_dir/err"
grep '^round [0-9]*:' "$test_dir/out"
done_testing
