#!/bin/sh
# Bad input on the command line: exit status 1 or 2, one sentence that names the thing, nothing left
# behind. Usage: bad_input.sh SIDEVISOR [LWK]
set -u
sv=$1
lwk=${2:-}
dir=$(mktemp -d)
trap 'chmod -R u+rwX "$dir" 2>/dev/null; rm -rf "$dir"' EXIT
passed=0
failed=0

# expect NAME STATUS PATTERN COMMAND...: the status, the pattern on stderr, at most two lines there.
expect() {
	name=$1 want=$2 pattern=$3
	shift 3
	timeout 20 "$@" >"$dir/out" 2>"$dir/err" </dev/null
	got=$?
	lines=$(grep -c . "$dir/err")
	if [ "$got" -eq "$want" ] && grep -qE -- "$pattern" "$dir/err" && [ "$lines" -le 2 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED $name: status $got (want $want), stderr ($lines lines):"
		sed 's/^/    /' "$dir/err"
	fi
}

run() {
	name=$1 want=$2 pattern=$3
	shift 3
	expect "$name" "$want" "$pattern" "$sv" run --private --console none "$@"
}

head -c 65536 /dev/zero >"$dir/zeros"
: >"$dir/empty"

expect "unknown verb" 2 "unknown verb 'fly'" "$sv" fly
expect "no kernel" 2 "--kernel" "$sv" run
expect "unknown option" 2 "unknown option '--frobnicate'" "$sv" run --frobnicate
expect "option without value" 2 "needs a value" "$sv" run --kernel
run "operand" 2 "unexpected operand 'more'" --kernel "$dir/zeros" extra more
run "no such profile" 1 "extra: no such file, and there is no guest profile" --kernel "$dir/zeros" extra
run "flag" 2 "'maybe' is neither on nor off" --kernel "$dir/zeros" --quiet=maybe
run "memory 0" 2 "--memory 0" --kernel "$dir/zeros" --memory 0
run "memory nonsense" 2 "--memory 12Q" --kernel "$dir/zeros" --memory 12Q
run "memory negative" 2 "--memory -1" --kernel "$dir/zeros" --memory -1
run "memory overflow" 2 "--memory 99999999999T" --kernel "$dir/zeros" --memory 99999999999T
run "vcpus 0" 2 "--vcpus 0" --kernel "$dir/zeros" --vcpus 0
run "vcpus absurd" 2 "--vcpus 100000" --kernel "$dir/zeros" --vcpus 100000
run "topology disagrees" 2 "--topology 2:1:1:1" --kernel "$dir/zeros" --topology 2:1:1:1 --vcpus 3
run "topology nonsense" 2 "--topology 2x2" --kernel "$dir/zeros" --topology 2x2
run "numa" 2 "--numa 3" --kernel "$dir/zeros" --numa 3 --vcpus 2 --overcommit
run "console" 2 "stdio, serial, none" --kernel "$dir/zeros" --console fax
run "cpus" 2 "--cpus a-b" --kernel "$dir/zeros" --cpus a-b
for list in a-b 1, ,1 0: :3 3:4: 5-2:1 0-1 -1 1:2:3 0:99999999999; do
	run "sidecore $list" 2 "sidecore $list: write CPUs" --kernel "$dir/zeros" --sidecore="$list"
done
run "sidecore of nobody" 2 "names vCPU 2; the VM has 2" --kernel "$dir/zeros" --vcpus 2 --overcommit \
	--sidecore "0-2:$(sed -n 's/^Cpus_allowed_list:[[:space:]]*\([0-9]*\).*/\1/p' /proc/self/status)"
run "disk of a foreign sidecore" 2 "sidecore=4711" --kernel "$dir/zeros" --overcommit \
	--disk path=x,sidecore=4711
run "disk without path" 2 "path=FILE" --kernel "$dir/zeros" --disk readonly
run "disk key" 2 "path=FILE" --kernel "$dir/zeros" --disk path=x,speed=9
for flag in readonly=off direct=on writethrough=off nodiscard=no pinned=on iopoll=on; do
	run "disk $flag" 2 "--disk path=x,$flag: ${flag%=*} takes no value" --kernel "$dir/zeros" \
		--disk "path=x,$flag"
done
run "net spoof=off" 2 "--net: spoof=off: spoof takes no value" --kernel "$dir/zeros" --net switch=lan,spoof=off
expect "blk readonly=off" 2 "--blk: readonly=off: readonly takes no value" "$sv" serve \
	--blk "path=x,socket=$dir/x,readonly=off"
expect "serve net trunk=on" 2 "--net: trunk=on: trunk takes no value" "$sv" serve \
	--net "path=$dir/x,switch=lan,trunk=on"
run "ring entries" 2 "power of two" --kernel "$dir/zeros" --ring-entries 48
run "name" 2 "--name" --kernel "$dir/zeros" --name "a/b"
run "idle" 2 "--idle soon" --kernel "$dir/zeros" --idle soon
run "kernel missing" 1 "$dir/none" --kernel "$dir/none"
run "kernel is a directory" 1 "$dir" --kernel "$dir"
run "kernel empty" 1 "$dir/empty" --kernel "$dir/empty"
expect "no KVM" 1 "no KVM on this machine" env SIDEVISOR_KVM="$dir/kvm" \
	"$sv" run --private --console none --kernel "${lwk:-$dir/zeros}"
expect "node missing" 1 "no sidevisor node service" "$sv" run --node "$dir/node.sock" \
	--kernel "$dir/zeros"
expect "node is no socket" 1 "no sidevisor node service" "$sv" run --node "$dir/zeros" \
	--kernel "$dir/zeros"
expect "stats of nobody" 1 "no VM of this name" "$sv" stats nobody-here
expect "stop nobody" 1 "no VM of this name" "$sv" stop nobody-here
expect "dirty, the option first" 1 "no VM of this name" "$sv" dirty --json nobody-here
expect "dirty, the option last" 1 "no VM of this name" "$sv" dirty nobody-here show --json
expect "dirty without a name" 2 "which VM" "$sv" dirty
expect "dirty operand" 2 "give start, stop, show or verify" "$sv" dirty nobody-here sweep
"$sv" dirty nobody-here --help | grep -q "^usage: sidevisor dirty" || {
	failed=$((failed + 1))
	echo "FAILED dirty NAME --help"
}
expect "stats without a name" 2 "name one VM" "$sv" stats
run "isolate" 2 "auto, require, none" --kernel "$dir/zeros" --isolate some
expect "isolate in the environment" 2 "SIDEVISOR_ISOLATE=some" env SIDEVISOR_ISOLATE=some "$sv" run \
	--kernel "$dir/zeros"
run "placement missing" 2 "$dir/none" --kernel "$dir/zeros" --placement "$dir/none"
run "placement is none" 2 "$dir/zeros.*placement" --kernel "$dir/zeros" --placement "$dir/zeros"
run "placement and CPUs" 2 "leave --cpus" --kernel "$dir/zeros" --placement "$dir/zeros" --cpus 0
expect "run directory" 1 "SIDEVISOR_RUN_DIR=$dir/zeros" env SIDEVISOR_RUN_DIR="$dir/zeros" "$sv" run \
	--private --kernel "$dir/zeros"
for cpus in 0 x 0,1, 0,1x; do
	expect "bench io --cpus $cpus" 2 "--cpus $cpus: (write GUEST|this process may not run)" "$sv" bench io --cpus "$cpus"
done
expect "bench net --cpus 9999,0" 2 "may not run on CPU 9999" "$sv" bench net --cpus 9999,0
expect "bench io --rounds 3x" 2 "--rounds is 1 to 101" "$sv" bench io --rounds 3x
expect "bench fairness --rounds 8x" 2 "--rounds is a number" "$sv" bench fairness --rounds 8x
expect "advice for a profile that is not there" 2 "nobody-here: no such profile" "$sv" bench paging --advise nobody-here
expect "restore-host operand" 2 "no operand" "$sv" restore-host all
mkdir "$dir/run" && echo "not a journal" >"$dir/run/host.journal"
expect "hostile journal" 1 "$dir/run/host.journal: not a journal of ours" \
	env SIDEVISOR_RUN_DIR="$dir/run" "$sv" restore-host
expect "serve on a foreign file" 1 "$dir/zeros" "$sv" serve --socket "$dir/zeros"

if [ -n "$lwk" ] && [ -w "${SIDEVISOR_KVM:-/dev/kvm}" ]; then
	run "kernel is no kernel" 1 "$dir/zeros" --kernel "$dir/zeros"
	for cap in KVM_CAP_IRQFD KVM_CAP_IOEVENTFD KVM_CAP_SPLIT_IRQCHIP; do
		expect "KVM without $cap" 1 "$cap" env SIDEVISOR_KVM_WITHOUT=$cap \
			"$sv" run --private --console none --kernel "$lwk"
	done
	expect "not a KVM device" 1 "/dev/null" env SIDEVISOR_KVM=/dev/null \
		"$sv" run --private --console none --kernel "$lwk"
	# Memory binding refused: nothing of what had been done before it is left.
	cpu=$(sed -n 's/^Cpus_allowed_list:[^0-9]*\([0-9]*\).*/\1/p' /proc/self/status)
	echo "{\"version\": 1, \"vcpu_cpus\": [$cpu], \"sidecore_cpus\": [$cpu], \"control_cpu\": $cpu," \
		'"memory_nodes": [63], "private_sidecores": true}' >"$dir/placement"
	run "memory binding refused" 1 "NUMA node 63: .*may use nodes [0-9]" --kernel "$lwk" --overcommit \
		--placement "$dir/placement" --isolate auto
	"$sv" restore-host --dry-run | grep -q "nothing to restore" || {
		failed=$((failed + 1))
		echo "FAILED memory binding refused: isolation is left"
	}
	run "placement of another size" 2 "of 1 vCPUs, --vcpus says 2" --kernel "$lwk" --vcpus 2 \
		--placement "$dir/placement"
	run "more memory than the host" 1 "has only" --kernel "$lwk" --memory 900G
	run "tiny memory" 2 "at least 4 MiB" --kernel "$lwk" --memory 64K
	run "more vCPUs than cores" 1 "--overcommit" --kernel "$lwk" --vcpus 64
else
	echo "SKIPPED BECAUSE there is no /dev/kvm here: KVM without a capability, memory and vCPU limits"
fi

# Disks belong to kernels with PCI: a stock Linux, which need not get far.
if [ -w "${SIDEVISOR_KVM:-/dev/kvm}" ] && found=$(sh "$(dirname "$0")/../node/fetch.sh" kernel 6.1 2>/dev/null); then
	eval "$found"
	mkdir "$dir/dir"
	head -c 1000 /dev/zero >"$dir/odd"
	truncate -s 1M "$dir/disk"
	run "disk missing" 1 "$dir/nodisk" --kernel "$VMLINUZ" --disk "path=$dir/nodisk"
	run "disk empty" 2 "$dir/empty" --kernel "$VMLINUZ" --disk "path=$dir/empty"
	run "disk is a directory" 1 "$dir/dir" --kernel "$VMLINUZ" --disk "path=$dir/dir"
	run "disk of an odd size" 2 "$dir/odd" --kernel "$VMLINUZ" --disk "path=$dir/odd"
	"$sv" run --private --quiet --console none --name "holder-$$" --share-cores --kernel "$VMLINUZ" \
		--disk "path=$dir/disk" </dev/null &
	holder=$!
	for n in $(seq 100); do
		"$sv" stats "holder-$$" >/dev/null 2>&1 && break
		sleep 0.1
	done
	run "core of another VM" 1 "CPU [0-9]+ .*of .holder-$$.*--share-cores" --kernel "$VMLINUZ" \
		--cpus "$("$sv" ps --json | sed -n 's/^ *"cpu": \([0-9]*\),$/\1/p' | head -n 1)"
	run "disk locked by another VM" 1 "$dir/disk.*(in use|locked)" --share-cores --kernel "$VMLINUZ" --disk "path=$dir/disk"
	run "name taken" 1 "holder-$$.*running" --share-cores \
		--kernel "$VMLINUZ" --name "holder-$$"
	"$sv" stop "holder-$$"
	wait "$holder"
else
	echo "SKIPPED BECAUSE there is no /dev/kvm, or no Linux kernel can be fetched: disk errors"
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
