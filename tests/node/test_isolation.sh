#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A node of 16 CPUs with cgroup v2: two guests with a sidecore each run side by side, isolated; no thread
# of ours is ever on a core of the other's, and the node is as before when they have gone, whether
# stopped or killed. Then the same below a service's cgroup, and with a node service.
set -u
. "$(dirname "$0")/lib.sh"

cat >"$test_dir/inside.sh" <<'EOF'
mount -t cgroup2 none /sys/fs/cgroup || exit 1
snapshot() {
	for f in /proc/irq/*/smp_affinity_list /proc/irq/default_smp_affinity \
		/sys/devices/virtual/workqueue/cpumask /sys/fs/cgroup/cpuset.cpus.isolated; do
		echo "$f $(cat $f)"
	done
	find /sys/fs/cgroup -type d
	find /sys/fs/cgroup -name cgroup.subtree_control -exec grep -H . {} +
	find /sys/fs/cgroup -name cpuset.cpus.exclusive -exec grep -H . {} +
}
unchanged() {
	for n in $(seq 300); do
		snapshot >after
		cmp -s before after && break
		usleep 100000
	done
	diff before after && echo "unchanged: $1"
}
# start NAME OPTION...: a guest; pid in $pid, cores in $cores, sidecore in $side
start() {
	name=$1
	shift
	sidevisor run --name "$name" --kernel lwk.elf --memory 64M --cmdline "app=threads stay" --vcpus 3 \
		--isolate require "$@" >"$name.out" 2>&1 &
	pid=$!
	for n in $(seq 600); do
		grep -q "answered" "$name.out" && break
		kill -0 $pid 2>/dev/null || break
		usleep 100000
	done
	cat "$name.out"
	cores=$(sidevisor ps | awk -v n="$name" '$1 == n { print $7 }')
	side=$(sidevisor ps | awk -v n="$name" '$1 == n { print $8 }')
	control=$(sed -n 's/^ *"control_cpu": \([0-9]*\).*/\1/p' /run/sidevisor/$name.placement.json)
}
end() {
	sidevisor stop "$1"
	wait $2
	echo "$1: status $?"
}
snapshot >before
start a
a=$pid acores=$cores aside=$side acontrol=$control
start b
b=$pid bcores=$cores bside=$side bcontrol=$control
echo "a on $acores with $aside, b on $bcores with $bside"
# l3_of NAME: the L3s of its vCPUs and its sidecore.
l3_of() {
	for cpu in $(sed -n '/_cpus"/,/]/s/^ *\([0-9]*\),*$/\1/p' "/run/sidevisor/$1.placement.json"); do
		cat /sys/devices/system/cpu/cpu$cpu/cache/index3/shared_cpu_list
	done | sort -u | tr '\n' ' '
}
echo "L3 of a: $(l3_of a)"
echo "L3 of b: $(l3_of b)"
[ "$(l3_of a | wc -w)$(l3_of b | wc -w)" = 11 ] && [ "$(l3_of a)" != "$(l3_of b)" ] && echo "an L3 each"
sidevisor ps
echo "isolated: $(cat /sys/fs/cgroup/cpuset.cpus.isolated)"
cat /sys/fs/cgroup/sidevisor.$a/cpuset.cpus.partition
watch_threads 8 "own:$a:$acores:$aside:$acontrol" "own:$b:$bcores:$bside:$bcontrol" \
	"foreign:$acores,$aside:$a" "foreign:$bcores,$bside:$b"
echo "watch: status $?"
refused=$(sed -n 's/.*"irqs_refused": \([0-9]*\).*/\1/p' /run/sidevisor/b.placement.json)
for f in /proc/irq/*/smp_affinity_list; do
	[ "$(cat $f)" = 0-15 ] && echo "$f stays"
done | wc -l >stay
echo "interrupts everywhere: $(cat stay), refused: $refused, e.g. $(cat /proc/irq/default_smp_affinity)"
[ "$(cat stay)" -le "$refused" ] && echo "interrupts: moved"
sidevisor run --private --kernel lwk.elf --memory 64M --cpus "${acores%%[-,]*}" --cmdline app=hello
echo "the same core: status $?"
end a $a
echo "isolated without a: $(cat /sys/fs/cgroup/cpuset.cpus.isolated)"
kill -9 $b
wait $b
unchanged "stopped and killed"

# Below a service's cgroup, as systemd would start it.
mkdir -p /sys/fs/cgroup/a.slice/b.service
echo $$ >/sys/fs/cgroup/a.slice/b.service/cgroup.procs
snapshot >before
start c
echo "c: $(sidevisor stats c | grep 'on the host')"
cat /sys/fs/cgroup/a.slice/b.service/sidevisor.*/cpuset.cpus.partition
end c $pid
unchanged "below a service"
echo $$ >/sys/fs/cgroup/cgroup.procs

# A node service with a sidecore in each of two L3s.
sidevisor serve --cpus 7,11 --isolate require 2>serve.out &
server=$!
for n in $(seq 100); do
	[ -S /run/sidevisor/node.sock ] && break
	usleep 100000
done
cat serve.out
start d --sidecore 7 --cpus 4-6
d=$pid
watch_threads 4 "own:$d:4-6:7:$control" "foreign:4-6:$d" "own:$server:4-6:7,11:0"
echo "watch service: status $?"
end d $d
kill -9 $server
wait $server
rmdir /sys/fs/cgroup/a.slice/b.service /sys/fs/cgroup/a.slice
for n in $(seq 100); do
	[ -e /run/sidevisor/host.journal ] || break
	usleep 100000
done
[ -e /run/sidevisor/host.journal ] && cat /run/sidevisor/host.journal
echo "isolated at the end: $(cat /sys/fs/cgroup/cpuset.cpus.isolated)."
sidevisor restore-host --all
pidof sidevisor && echo "left behind"
true
EOF
node --cpus 16 --topology 1:4:4:1 --l3s --memory 2G --timeout 560 --file "$test_dir/inside.sh" \
	--program "$build/tests/watch_threads" -- sh inside.sh
expect_status 0
expect '^an L3 each'
expect '^isolated: [0-9]'
expect '^isolated$'
expect '^watch: status 0'
expect '^interrupts: moved'
expect '^the same core: status 1'
expect 'is a guest core of' "$test_dir/err"
expect '^a: status 0'
expect '^unchanged: stopped and killed'
expect '^c: on the host: .*cpuset v2'
expect '^unchanged: below a service'
expect '^watch service: status 0'
expect '^d: status 0'
expect '^isolated at the end: \.$'
expect '^nothing to restore'
reject 'left behind'
grep "^watch_threads" "$test_dir/out"
done_testing
