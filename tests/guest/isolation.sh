#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A placement is kept and the host comes back: real VMs on this machine's KVM and its real interrupts
# and cpusets, ended by stop, by SIGKILL of any process, and started again.
# Usage: isolation.sh SIDEVISOR LWK WATCH_THREADS
set -u
sv=$1
lwk=$2
watch=$3
dir=$(mktemp -d)
vm=
server=
trap 'kill -9 $vm $server 2>/dev/null; rm -rf "$dir"' EXIT
failed=0

skip() {
	echo "SKIPPED BECAUSE $*"
	exit 0
}
[ -r "${SIDEVISOR_KVM:-/dev/kvm}" ] && [ -w "${SIDEVISOR_KVM:-/dev/kvm}" ] || skip "there is no /dev/kvm that we may open: isolation"
[ "$(nproc)" -ge 2 ] || skip "one CPU only: isolation"
# The host is one: with the VMs that are there, in the directory that they use.
unset SIDEVISOR_RUN_DIR SIDEVISOR_ISOLATE
"$sv" ps | grep -q . && [ "$("$sv" ps | wc -l)" -eq 1 ] || skip "other VMs run on this host: isolation"
"$sv" restore-host >/dev/null || true

fail() {
	failed=$((failed + 1))
	echo "FAILED: $*"
	sed 's/^/    /' "$dir/out" 2>/dev/null
}

# Everything that we ever change, as text.
snapshot() {
	for f in /proc/irq/*/smp_affinity_list /proc/irq/default_smp_affinity \
		/sys/devices/virtual/workqueue/cpumask; do
		[ -r "$f" ] && echo "$f $(cat "$f" 2>/dev/null)"
	done
	find /sys/fs/cgroup -name 'sidevisor.*' 2>/dev/null
	find /sys/fs/cgroup -maxdepth 2 -name cgroup.subtree_control -exec grep -H . {} + 2>/dev/null
}

# unchanged WHEN: the host is as before; others have 10 s.
unchanged() {
	for n in $(seq 100); do
		snapshot >"$dir/after"
		cmp -s "$dir/before" "$dir/after" && return
		sleep 0.1
	done
	diff "$dir/before" "$dir/after" >"$dir/out"
	fail "$1: the host has changed"
}

# start_vm OPTION...: a guest that stays; its pid in $vm, its CPUs in $guest, $side and $control.
start_vm() {
	: >"$dir/out" # the last one's greeting is not this one's
	"$sv" run --kernel "$lwk" --memory 64M --name "iso-$$" --cmdline "app=hello stay" --isolate auto "$@" \
		>"$dir/out" 2>&1 </dev/null &
	vm=$!
	for n in $(seq 200); do
		grep -q Hello "$dir/out" && break
		kill -0 "$vm" 2>/dev/null || break
		sleep 0.05
	done
	grep -q Hello "$dir/out" || fail "the guest does not start"
	"$sv" ps --json >"$dir/ps"
	guest=$(sed -n '/"vcpu_cpus"/,/]/s/^ *\([0-9]*\),*$/\1/p' "$dir/ps" | head -n 1)
	side=$(sed -n '/"sidecore_cpus"/,/]/s/^ *\([0-9]*\),*$/\1/p' "$dir/ps" | head -n 1)
	control=$(sed -n 's/^ *"control_cpu": \([0-9]*\),*$/\1/p' "$dir/ps" | head -n 1)
	others=$(awk -v g="$guest" -v n="$(nproc --all)" 'BEGIN {
		for (i = 0; i < n; i++) if (i != g) { printf "%s%d", s, i; s = "," } }')
}

keeper_of() {
	for p in $(pgrep -P "$1"); do
		[ "$(cat "/proc/$p/comm")" = sidevisor-keep ] && echo "$p"
	done
}

end_vm() {
	"$sv" stop "iso-$$" >"$dir/stop" 2>&1 || {
		fail "stop: $(cat "$dir/stop")"
		kill "$vm"
	}
	wait "$vm" || fail "the VM's exit status is $?"
	vm=
}

snapshot >"$dir/before"

# A run, watched: no thread of ours elsewhere, ever; no interrupt may come to the guest core.
start_vm --private
"$watch" 3 "own:$vm:$guest:$side:$others" >"$dir/watch" || fail "threads: $(cat "$dir/watch")"
cat "$dir/watch"
if grep -q '"default_irq": true' "$dir/ps"; then
	refused=$(sed -n 's/^ *"irqs_refused": \([0-9]*\),*$/\1/p' "$dir/ps" | head -n 1)
	there=0
	for f in /proc/irq/*/smp_affinity_list; do
		[ "$(cat "$f")" != "$guest" ] && case ,$(cat "$f"), in
		*,$guest,* | *,0-*) there=$((there + 1)) ;;
		esac
	done
	[ "$there" -le "$refused" ] || fail "$there interrupts may come to CPU $guest, $refused refused"
else
	echo "SKIPPED BECAUSE this host does not let us move interrupts: their part"
fi
# Nobody else gets this core, and a dry run finds nothing to do.
"$sv" run --private --kernel "$lwk" --memory 64M --cpus "$guest" --cmdline "app=hello" >"$dir/out" 2>&1 &&
	fail "two VMs on CPU $guest"
grep -q "CPU $guest is a guest core of 'iso-$$'" "$dir/out" || fail "the error names no VM"
"$sv" restore-host --dry-run | grep -q "nothing to restore" || fail "a living VM's changes are listed"
end_vm
unchanged "a normal end"

start_vm --private --keep-placement "$dir/placement"
kill -9 "$vm"
wait "$vm" 2>/dev/null
unchanged "SIGKILL of run"

# Its keeper is killed as well: what it left stands in the journal, and the next VM undoes it.
start_vm --placement "$dir/placement"
kill -9 "$vm" $(keeper_of "$vm")
wait "$vm" 2>/dev/null
snapshot >"$dir/after"
cmp -s "$dir/before" "$dir/after" || "$sv" restore-host --dry-run | grep -q "would be restored" ||
	fail "a crash that nobody undid is not seen"
start_vm --private
end_vm
unchanged "SIGKILL of run and its keeper, and a new run"

# The node service, and its end in every manner.
start_server() {
	rm -f "$dir/node.sock"
	"$sv" serve --cpus 1 --socket "$dir/node.sock" --isolate auto 2>"$dir/serve" &
	server=$!
	for n in $(seq 100); do
		[ -S "$dir/node.sock" ] && return
		sleep 0.05
	done
	fail "serve: $(cat "$dir/serve")"
}
start_server
start_vm --node "$dir/node.sock"
"$watch" 2 "own:$vm:$guest:$side:$others" "own:$server:$guest:1:$others" >"$dir/watch" ||
	fail "threads with a service: $(cat "$dir/watch")"
kill -9 "$server"
wait "$server" 2>/dev/null
wait "$vm" # ends with a sentence
unchanged "SIGKILL of serve"
start_server
kill -9 "$server" $(keeper_of "$server")
wait "$server" 2>/dev/null
start_server
kill "$server"
wait "$server" || fail "serve: status $?"
unchanged "SIGKILL of serve and its keeper, and a new serve"
server=
vm=
[ ! -e /run/sidevisor/host.journal ] || fail "a journal is left"
ls /run/sidevisor/*.placement.json 2>/dev/null && fail "a record is left"
echo "isolation: $failed failed"
[ "$failed" -eq 0 ]
