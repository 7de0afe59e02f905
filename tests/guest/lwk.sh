#!/bin/sh
# The lightweight kernel on this machine's KVM, one group of checks per call.
# Usage: lwk.sh SIDEVISOR LWK paging|paging_exits|apps|crashes|scale|sidecores|exits|guest_core|bench|refuse
set -u
sv=$1
lwk=$2
group=$3
. "$(dirname "$0")/../await.sh"
dir=$(mktemp -d)
vm=
trap '[ -n "$vm" ] && kill "$vm" 2>/dev/null; rm -rf "$dir"' EXIT
failed=0

if [ ! -r "${SIDEVISOR_KVM:-/dev/kvm}" ] || [ ! -w "${SIDEVISOR_KVM:-/dev/kvm}" ]; then
	echo "SKIPPED BECAUSE there is no /dev/kvm that we may open: the lightweight kernel's $group"
	exit 0
fi

# check STATUS PATTERN CMDLINE [OPTION...]: how it ends, and what is on the console or stderr.
check() {
	want=$1 pattern=$2 cmdline=$3
	shift 3
	timeout -k 5 120 "$sv" run --private --kernel "$lwk" --memory 64M --cmdline "$cmdline" "$@" \
		>"$dir/out" 2>&1 </dev/null
	got=$?
	if [ "$got" -ne "$want" ] || ! grep -qE -- "$pattern" "$dir/out"; then
		failed=$((failed + 1))
		echo "FAILED '$cmdline' $*: status $got (want $want), no '$pattern' in:"
		sed 's/^/    /' "$dir/out"
	fi
}

apps() {
	check 0 "Hello from CPL 3 on vCPU 0 of 1: 64 MiB" "app=hello"
	check 0 "50000 requests on 1 vCPUs in .*, 0 errors" "app=stress n=50000"
	check 0 "50000 requests on 1 vCPUs in .*, 0 errors" "app=stress n=50000 batch=32"
	check 0 "50000 requests on 1 vCPUs in .*, 0 errors" "app=stress n=50000 batch=2" --ring-entries 2
	check 0 "10 timer interrupts taken" "app=timer"
	check 0 "MiB below 3 GiB and 0 MiB above 4 GiB taken, 0 errors" "app=memory"
	check 0 "and 1024 MiB above 4 GiB taken, 0 errors" "app=memory" --memory 4G --no-populate
	check 1 "exited with status 2" "app=nosuch"
	check 0 "^MSRs done" "app=hostile msrprobe"
	check 0 "^survived" "app=hostile msrprobe"
	check 0 "^MSRs are not ours" "app=hostile step=997"
}

crashes() {
	check 1 "crashed on vCPU 0: null pointer .*address 0," "app=crash how=null"
	check 1 "crashed on vCPU 0: divide error .*vector 0," "app=crash how=divide"
	check 1 "crashed on vCPU 0: general protection fault .*vector 13," "app=crash how=jump"
	check 1 "crashed on vCPU 0: page fault: write not permitted .*address 0x200000," "app=crash how=kernel"
	check 1 "crashed on vCPU 0: page fault: write not permitted .*address 0x400000," "app=crash how=text"
	check 1 "crashed on vCPU 0: page fault: write to unmapped memory" "app=crash how=unmapped"
	check 1 "crashed on vCPU 0: invalid instruction .*vector 6," "app=crash how=invalid"
	check 1 "crashed on vCPU 0: stack overflow" "app=crash how=stack"
	check 1 "crashed on vCPU 3: stack overflow" "app=crash how=stack on=3" --vcpus 4 --overcommit
	check 1 "crashed on vCPU 2: null pointer" "app=crash how=null on=2" --vcpus 3 --overcommit
}

# More vCPUs than cores: they boot, answer and end.
scale() {
	check 0 "64 of 64 vCPUs answered rightly" "app=threads" --vcpus 64 --overcommit
	check 0 "6400 requests on 64 vCPUs in .*, 0 errors" "app=stress n=100" --vcpus 64 --overcommit
	check 0 "15 vCPUs woke 10 times each" "app=wake" --vcpus 16 --overcommit
	check 0 "taken, 0 errors" "app=memory piece=65536" --vcpus 8 --overcommit
}

# Several sidecores for one VM: each vCPU is served by the nearest, or by the one that was named.
sidecores() {
	cpus=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status | tr , '\n' |
		while IFS=- read -r a b; do seq "$a" "${b:-$a}"; done)
	a=$(echo "$cpus" | sed -n 1p) b=$(echo "$cpus" | sed -n 2p)
	if [ -z "$b" ]; then
		echo "SKIPPED BECAUSE this machine has one CPU: several sidecores"
		exit 0
	fi
	check 0 "400 requests on 4 vCPUs in .*, 0 errors" "app=stress n=100" --vcpus 4 --cpus "$a,$b" \
		--sidecore "$a,$b" --overcommit
	check 0 "400 requests on 4 vCPUs in .*, 0 errors" "app=stress n=100" --vcpus 4 --cpus "$a,$b" \
		--sidecore "0-1:$b,2-3:$a" --overcommit
	check 2 "names vCPU 4" "app=hello" --vcpus 2 --sidecore "0:$a,4:$b" --overcommit
	"$sv" run --private --kernel "$lwk" --memory 64M --name "two-$$" --cmdline "app=stress n=100 stay" \
		--vcpus 2 --cpus "$a,$b" --sidecore "0:$b,1:$a" --overcommit >"$dir/out" 2>&1 </dev/null &
	vm=$!
	await " errors" "$dir/out" 30
	timeout 20 "$sv" stats "two-$$" --json >"$dir/stats" 2>&1 || failed=1
	[ "$(sed -n 's/^ *"sidecore_cpu": \([0-9]*\),*$/\1/p' "$dir/stats" | tr '\n' ' ')" = "$b $a " ] ||
		failed=1
	ls /proc/"$(pgrep -P "$vm" -f serve)"/task | wc -l | grep -q '^3$' || failed=1
	[ "$failed" -eq 0 ] || cat "$dir/out" "$dir/stats"
	timeout 20 "$sv" stop "two-$$" >"$dir/stop" 2>&1 || failed=1
	wait "$vm"
	vm=
}

# quiet_on PATTERN CMDLINE [OPTION...]: it says so, and the vCPU has not once come out to the VM process.
quiet_on() {
	pattern=$1 cmdline=$2
	shift 2
	"$sv" run --private --kernel "$lwk" --memory 64M --name "exits-$$" \
		--cmdline "$cmdline stay" "$@" >"$dir/out" 2>&1 </dev/null &
	vm=$!
	for i in $(seq 600); do
		grep -q " errors" "$dir/out" && break
		kill -0 "$vm" 2>/dev/null || break
		sleep 0.1
	done
	grep -qE "$pattern" "$dir/out" || failed=1
	timeout 20 "$sv" stats "exits-$$" --json >"$dir/stats" 2>&1 || failed=1
	grep -q '"exits_to_us": 0,' "$dir/stats" || failed=1
	[ "$failed" -eq 0 ] || cat "$dir/out" "$dir/stats"
	timeout 20 "$sv" stop "exits-$$" >"$dir/stop" 2>&1 || failed=1
	wait "$vm"
	vm=
}

# A million requests; a million page-table updates.
exits() {
	quiet_on "1000000 requests on 1 vCPUs in .*, 0 errors" "app=stress n=1000000"
}

paging_exits() {
	quiet_on "1000000 updates in .*, 0 errors" "app=paging n=1000000" --direct-paging
}

# Mapped is there, unmapped is gone (for another vCPU, too), what is not allowed is refused.
paging() {
	check 0 "100000 updates in .*, 0 errors" "app=paging n=100000" --direct-paging
	check 0 "20000 updates in .*, 0 errors" "app=paging n=20000 batch=512" --direct-paging --memory 4G --no-populate
	check 0 "2000 updates in .*, 0 errors" "app=paging n=2000 via=port" --direct-paging
	check 0 "2000 updates in .*, 0 errors" "app=paging n=2000 via=trap" --direct-paging
	check 0 "2000 updates in .*, 0 errors" "app=paging n=2000 msrprobe" --direct-paging
	check 0 "20000 updates in .*, 0 errors" "app=paging n=20000" --direct-paging --vcpus 2 --overcommit
	check 1 "no direct paging: the machine has none" "app=paging"
}

# contains LIST CPU: is the CPU in a list such as 0-3,8?
contains() {
	for range in $(echo "$1" | tr , ' '); do
		[ "$2" -ge "${range%-*}" ] && [ "$2" -le "${range#*-}" ] && return 0
	done
	return 1
}

# Threads of ours that may run on the guest core: the vCPU's, and no other of either process.
guest_core() {
	"$sv" run --private --kernel "$lwk" --memory 64M --name "core-$$" --cmdline "app=hello stay" \
		>"$dir/out" 2>&1 </dev/null &
	vm=$!
	await Hello "$dir/out" 30
	timeout 20 "$sv" stats "core-$$" --json >"$dir/stats" 2>&1 || failed=1
	core=$(sed -n 's/^ *"cpu": \([0-9]*\),$/\1/p' "$dir/stats" | head -n 1)
	[ -n "$core" ] || failed=1
	for task in /proc/$vm/task/* /proc/$(pgrep -P "$vm" -f serve)/task/*; do
		name=$(cat "$task/comm")
		cpus=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' "$task/status")
		echo "$name: $cpus"
		case $name in
		kvm-*) continue ;; # KVM's own
		vcpu-0) [ "$cpus" = "$core" ] || failed=1 ;;
		*) contains "$cpus" "$core" && failed=1 ;;
		esac
	done >"$dir/tasks"
	grep -q "^vcpu-0: $core\$" "$dir/tasks" || failed=1
	grep -q "^sidecore-" "$dir/tasks" || failed=1
	[ "$failed" -eq 0 ] || cat "$dir/out" "$dir/stats" "$dir/tasks"
	timeout 20 "$sv" stop "core-$$" >"$dir/stop" 2>&1 || failed=1
	wait "$vm"
	vm=
}

bench() {
	SIDEVISOR_LWK=$lwk timeout -k 5 240 "$sv" bench exit --rounds 5 --count 500 --exits 5 --json \
		>"$dir/out" 2>&1 || failed=1
	for key in substrate emulated cpus pingpong ring exit_kernel exit_user_pio exit_user_mmio \
		exit_hypercall kick_ioeventfd ring_over_pingpong exit_over_ring; do
		grep -q "\"$key\":" "$dir/out" || failed=1
	done
	grep -A 5 '"ring": {' "$dir/out" | grep -q '"n": 2500' || failed=1
	[ "$failed" -eq 0 ] || cat "$dir/out"
}

# Every method is measured, the ring without an exit, the others with one per update.
paging_bench() {
	SIDEVISOR_LWK=$lwk timeout -k 5 240 "$sv" bench paging --only updates --rounds 2 --count 64 --exits 3 --json \
		--report "$dir/report" >"$dir/out" 2>&1 || failed=1
	for key in substrate tables ring_empty ring_map ring_batch_8 ring_batch_64 ring_batch_512 \
		ring_stream_64 ring_settle port_map trap_map map_over_ring ring_over_exit in_process; do
		grep -q "\"$key\":" "$dir/out" || failed=1
	done
	cmp -s "$dir/out" "$dir/report/paging.json" || failed=1
	grep -q '</svg>' "$dir/report/paging.svg" || failed=1
	[ "$(grep -c '<rect' "$dir/report/paging.svg")" -eq "$(grep -c '"updates":' "$dir/out")" ] || failed=1
	grep -A 8 '"ring_map": {' "$dir/out" | grep -q '"exits": 0.0' || failed=1
	grep -A 8 '"ring_settle": {' "$dir/out" | grep -q '"exits": 0.0' || failed=1
	grep -A 8 '"port_map": {' "$dir/out" | grep -q '"exits": 1.0' || failed=1
	grep -A 8 '"trap_map": {' "$dir/out" | grep -q '"exits": 1.0' || failed=1
	[ "$failed" -eq 0 ] || cat "$dir/out"
}

# Memory that is mapped for the guest costs it next to no faults; by itself it has one for each page.
stage2() {
	SIDEVISOR_LWK=$lwk timeout -k 5 240 "$sv" bench paging --only stage2 --memory 32 --vcpus 2 --json \
		--backing 4k --report "$dir/report" >"$dir/out" 2>"$dir/err" || failed=1
	cmp -s "$dir/out" "$dir/report/paging.json" || failed=1
	for bar in "on demand" "before the start" "while the guest runs"; do
		[ "$(grep -cE "$bar.*, (1 vCPU|2 vCPUs)<.*<rect.* faults, .* exits<" "$dir/report/paging.svg")" -eq 2 ] ||
			failed=1
	done
	grep -q 'page-table updates' "$dir/report/paging.svg" && failed=1
	for key in substrate stage2 rows faults exits mean_ns p50_ns p99_ns faults_running_over_demand; do
		grep -q "\"$key\":" "$dir/out" || failed=1
	done
	grep -A 8 '"when": "demand"' "$dir/out" | grep -qE '"faults": (819[2-9]|8[2-9][0-9]{2}),' || failed=1
	grep -A 8 '"when": "running"' "$dir/out" | grep -qE '"pages": 8192' || failed=1
	[ "$failed" -eq 0 ] || cat "$dir/out" "$dir/err"
	check 0 "16384 pages touched, 0 errors" "app=touch mib=64" --no-populate --stage2 running --memory 128M
	check 0 "16384 pages touched, 0 errors" "app=touch mib=64" --stage2 before --memory 128M
	check 0 "16384 pages touched, 0 errors" "app=touch mib=64" --backing 4k --memory 128M
}

# verified NAME N: N times, some pages changed, and none of them was missed.
verified() {
	timeout 20 "$sv" dirty "$1" verify >"$dir/verify" 2>&1 || failed=1
	for i in $(seq "$2"); do
		for k in 1 2 3 4 5; do # a busy host may give its vCPUs no time for a while
			sleep 0.2
			timeout 20 "$sv" dirty "$1" verify >"$dir/verify" 2>&1 || failed=1
			grep -q '"missed": 0,' "$dir/verify" || failed=1
			grep -q '"changed": 0,' "$dir/verify" || break
		done
		grep -q '"changed": 0,' "$dir/verify" && failed=1
	done
}

# What is found dirty against checksums of all memory: rings, rings that fill up, and the log.
dirty() {
	for way in "rings KVM_CAP_NONE 4096" "rings KVM_CAP_NONE 512" "log KVM_CAP_DIRTY_LOG_RING 4096"; do
		: >"$dir/out"
		# shellcheck disable=SC2086
		set -- $way
		SIDEVISOR_KVM_WITHOUT=$2 SIDEVISOR_DIRTY_RING=$3 "$sv" run --private --kernel "$lwk" \
			--memory 64M --vcpus 2 --overcommit --name "dirty-$$" --track-dirty \
			--cmdline "app=dirty mib=32" >"$dir/out" 2>&1 </dev/null &
		vm=$!
		await "^writing" "$dir/out" 30
		timeout 20 "$sv" dirty "dirty-$$" verify >"$dir/verify" 2>&1 && failed=1
		grep -q "not being tracked; start that first" "$dir/verify" || failed=1
		timeout 20 "$sv" dirty "dirty-$$" start >"$dir/start" 2>&1 || failed=1
		grep -q "\"by\": \"$1\"" "$dir/start" || failed=1
		verified "dirty-$$" 5
		timeout 20 "$sv" dirty "dirty-$$" stop >"$dir/stop" 2>&1 || failed=1
		timeout 20 "$sv" dirty "dirty-$$" start >"$dir/start" 2>&1 || failed=1
		verified "dirty-$$" 1
		[ "$failed" -eq 0 ] || cat "$dir/out" "$dir/start" "$dir/verify"
		timeout 20 "$sv" stop "dirty-$$" >"$dir/stop" 2>&1 || failed=1
		wait "$vm"
		vm=
	done
}

# record_of NAME: what was printed has its form, and the record the same choice and what it rests on. Which
# choice follows from which measurement is unit test advise's.
record_of() {
	for line in "populate: (on|off), " "stage2: (before|running|demand), " "backing: (auto|4k|thp|2m|1g), " \
		"direct_paging: (on|off), "; do
		[ "$(grep -cE "^$line" "$dir/$1")" -eq 1 ] || failed=1
	done
	sed 's/^ *"\([a-z2_]*\)": "*\([^",]*\).*/\1: \2/; s/: true$/: on/; s/: false$/: off/' \
		"$dir/$1.paging.json" >"$dir/record"
	sed 's/,.*//' "$dir/$1" >"$dir/choice"
	while read -r line; do
		grep -qx "$line" "$dir/record" || failed=1
	done <"$dir/choice"
	for key in substrate memory_bytes why seconds touched_bytes written_bytes faults_per_s updates_per_s \
		touch_ns small_over_huge; do
		grep -q "^ *\"$key\":" "$dir/$1.paging.json" || failed=1
	done
	[ "$failed" -eq 0 ] || cat "$dir/$1" "$dir/$1.paging.json" "$dir/err"
}

# Two workloads are measured; what a record says is taken at the next run, unless overridden.
advise() {
	for w in "array app=dirty%mib=160" "tables app=paging%n=1000000000%batch=1"; do
		printf 'kernel: %s\ncmdline: %s\nmemory: 192M\nprivate: on\npaging: auto\n' "$lwk" \
			"$(echo "${w#* }" | tr % ' ')" >"$dir/${w%% *}.yaml"
		SIDEVISOR_LWK=$lwk timeout -k 5 100 "$sv" bench paging --advise --seconds 4 "$dir/${w%% *}.yaml" \
			>"$dir/${w%% *}" 2>"$dir/err" </dev/null || failed=1
		record_of "${w%% *}"
	done
	grep -qE '"touched_bytes": [1-9]' "$dir/array.paging.json" || failed=1
	grep -qE '"updates_per_s": [1-9]' "$dir/tables.paging.json" || failed=1
	sed -i 's/"populate": [a-z]*/"populate": false/; s/"stage2": "[a-z]*"/"stage2": "demand"/
		s/"backing": "[a-z0-9]*"/"backing": "4k"/; s/"direct_paging": [a-z]*/"direct_paging": true/' \
		"$dir/tables.paging.json"
	"$sv" run "$dir/tables.yaml" --name "advised-$$" >"$dir/out" 2>&1 </dev/null &
	vm=$!
	for i in $(seq 300); do
		timeout 20 "$sv" stats "advised-$$" --json >"$dir/stats" 2>&1 && break
		sleep 0.1
	done
	grep -q '"why": \[' "$dir/stats" && grep -q '"when": "demand"' "$dir/stats" || failed=1
	timeout 20 "$sv" stop "advised-$$" >"$dir/stop" 2>&1 || failed=1
	wait "$vm"
	vm=
	grep -q "no direct paging" "$dir/out" && failed=1
	# What is said goes first; a record of another machine or size does not count.
	timeout -k 5 60 "$sv" run "$dir/tables.yaml" --direct-paging=off >"$dir/out2" 2>&1 </dev/null
	grep -q "no direct paging" "$dir/out2" || failed=1
	timeout -k 5 60 "$sv" run "$dir/tables.yaml" --memory 64M >"$dir/out3" 2>&1 </dev/null
	grep -q "with 192 MiB, this is .* with 64 MiB; it is not used" "$dir/out3" || failed=1
	echo nonsense >"$dir/tables.paging.json"
	timeout -k 5 60 "$sv" run "$dir/tables.yaml" >"$dir/out4" 2>&1 </dev/null && failed=1
	grep -q "tables.paging.json:1: not a record of" "$dir/out4" || failed=1
	[ "$failed" -eq 0 ] || cat "$dir/stats" "$dir/out" "$dir/out2" "$dir/out3" "$dir/out4"
}

refuse() {
	check 1 "too little memory below 3 GiB for the stacks" "app=threads" --memory 12M --vcpus 256 \
		--overcommit --no-populate
	# Pages that are not there, and more memory than there is: said before anything starts.
	check 1 "2 ?m: 32 pages of 2 MiB are needed and 0 are free; reserve them|Hello" "app=hello" --backing 2m
	check 2 "1g: --memory 64M is not a whole number of pages of 1024 MiB" "app=hello" --backing 1g
	check 1 "(1 pages of 1024 MiB are needed and 0 are free|no pages of 1 GiB|Hello)" "app=hello" \
		--backing 1g --memory 1G
	check 1 "this machine has only [0-9]*M; ask for less" "app=hello" --memory 64T
	check 2 "--backing 3k: give one of auto, 4k, thp, 2m, 1g" "app=hello" --backing 3k
	check 2 "--stage2 never: give one of before, running, demand" "app=hello" --stage2 never
}

case $group in
paging | paging_exits | paging_bench | apps | crashes | scale | sidecores | exits | guest_core | bench | stage2 | dirty | advise | refuse) $group ;;
*)
	echo "lwk.sh: no group '$group'"
	exit 2
	;;
esac
echo "$group: $failed failed"
[ "$failed" -eq 0 ]
