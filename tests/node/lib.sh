# SPDX-License-Identifier: BSD-3-Clause
# Sourced by the tests in virtual nodes: $1 of each test is the build directory.

here=$(cd "$(dirname "$0")" && pwd)
build=$1
test_dir=$(mktemp -d "${TMPDIR:-/tmp}/sidevisor-test.XXXXXX")
server= vmm=
# shellcheck disable=SC2086 # pids are words
trap '[ -z "$server$vmm" ] || kill $server $vmm 2>/dev/null; rm -rf "$test_dir"' EXIT
trap 'exit 130' INT TERM HUP
failures=0
. "$here/../await.sh"

skip() {
	echo "SKIPPED BECAUSE $*"
	exit 77
}

# node OPTION...: a node with our build and await.sh in it. Its output goes to $test_dir/out, its status to $status.
node() {
	status=0
	sh "$here/node.sh" --build "$build" --file "$here/../await.sh" "$@" >"$test_dir/out" 2>"$test_dir/err" || status=$?
	tr -d '\r' <"$test_dir/out" >"$test_dir/out.clean"
	mv "$test_dir/out.clean" "$test_dir/out"
	[ "$status" -ne 77 ] || skip "what a virtual node needs cannot be fetched here:" \
		"$(grep fetch.sh "$test_dir/err" | tail -n 1)"
}

# guest KIND KERNEL [FILE:DST...]: vmlinuz, initrd and root.img in $test_dir.
guest() {
	code=0 kind=$1 of_kernel=$2
	shift 2
	sh "$here/make-guest.sh" "$kind" "$of_kernel" "$test_dir" "$@" >"$test_dir/make.log" 2>&1 || code=$?
	[ "$code" -ne 77 ] || skip "guest images cannot be made here: $(tail -n 1 "$test_dir/make.log")"
	[ "$code" -eq 0 ] || {
		cat "$test_dir/make.log"
		exit 1
	}
}

# need_qemu: the one of the cache is $qemu.
need_qemu() {
	qemu=$(sh "$here/fetch.sh" qemu 2>"$test_dir/fetch") ||
		skip "QEMU cannot be fetched here: $(tail -n 1 "$test_dir/fetch")"
}

# node_with_qemu OPTION...: a node that has this QEMU, too, and what it boots with, in /root; it runs
# there with LD_LIBRARY_PATH=$(qemu_libraries).
node_with_qemu() {
	qemu_at=${qemu%/qemu}
	for rom in qboot.rom linuxboot_dma.bin; do
		found=$(find "$qemu_at/usr/share" -name "$rom" | head -n 1)
		[ -z "$found" ] || set -- --file "$found" "$@"
	done
	LD_LIBRARY_PATH=$(qemu_libraries)
	export LD_LIBRARY_PATH
	code=0
	node --program "$qemu_at/usr/bin/qemu-system-x86_64" "$@" || code=$?
	unset LD_LIBRARY_PATH
	return $code
}
qemu_libraries() {
	echo "${qemu%/qemu}/usr/lib/x86_64-linux-gnu:${qemu%/qemu}/lib/x86_64-linux-gnu"
}

# serve_start SOCKET OPTION...: our server on this machine, in $server, when it has the socket.
serve_start() {
	socket=$1
	shift
	SIDEVISOR_RUN_DIR="$test_dir" SIDEVISOR_ISOLATE=none "$build/cli/sidevisor" serve \
		--socket "$test_dir/node.sock" "$@" 2>"$test_dir/server" &
	server=$!
	for _ in $(seq 1000); do
		[ ! -S "$socket" ] || return 0
		sleep 0.02
	done
	cat "$test_dir/server"
	exit 1
}

serve_stop() {
	kill "$server"
	wait "$server" || fail "the server ended with status $?"
	server=
	reject 'runtime error|Sanitizer' "$test_dir/server"
}

# serve_disk NAME [,SETTING...]: words for serve_start, of NAME.img at NAME.sock; qemu_disk NAME QUEUES
# [,SETTING...]: for qemu_start, the front end there.
serve_disk() {
	echo "--blk path=$test_dir/$1.img,socket=$test_dir/$1.sock${2:-}"
}
reconnect=
qemu_disk() {
	echo "-chardev socket,id=$1,path=$test_dir/$1.sock$reconnect" \
		"-device vhost-user-blk-pci,chardev=$1,num-queues=$2${3:-}"
}

# qemu_start SECONDS PARAMETERS OPTION...: a stock guest of QEMU, in $vmm, that runs /script on emulated
# CPUs, at most so long.
guest_cpus=2 guest_mib=512 guest_in=/dev/null guest_out=raw
qemu_start() {
	limit=$1 parameters=$2
	shift 2
	: >"$test_dir/$guest_out"
	timeout "$limit" "$qemu" -M q35,memory-backend=mem -accel tcg,thread=multi -cpu EPYC-v3 \
		-smp "$guest_cpus" -m "$guest_mib" \
		-object "memory-backend-memfd,id=mem,size=${guest_mib}M,share=on" -nographic -nodefaults \
		-kernel "$test_dir/vmlinuz" -initrd "$test_dir/initrd" \
		-append "console=ttyS0 panic=-1 quiet $parameters sv.run=sh%/script" "$@" \
		<"$guest_in" >"$test_dir/$guest_out" 2>"$test_dir/err" &
	vmm=$!
}

# qemu_wait: until it ends; its status in $status, what the guest said in $test_dir/out.
qemu_wait() {
	status=0
	wait "$vmm" || status=$?
	vmm=
	tr -d '\r' <"$test_dir/$guest_out" >"$test_dir/out"
}

# restart_record SUBSTRATE HOW KILLS [MEMBERS] <FILE: of outages in ms, one in each line.
restart_record() {
	sort -n | awk -v substrate="$1" -v how="$2" -v kills="$3" -v members="${4:-}" '
		{ ms[NR] = $1 } END { if (!NR) exit 1
		printf "{\"schema\": \"sidevisor-restart/1\", \"substrate\": \"%s\", ", substrate
		printf "\"restart\": \"%s\", %s\"kills\": %d, \"outages\": %d, ", how, members, kills, NR
		printf "\"outage_ms\": {\"median\": %d, \"p90\": %d, \"max\": %d}}\n",
			ms[int((NR + 1) / 2)], ms[int((NR * 9 + 9) / 10)], ms[NR]
		}' || fail "no outage was reported"
}

fail() {
	echo "FAILED: $*"
	failures=$((failures + 1))
}

# expect TEXT [FILE]: the extended regular expression is in the output.
expect() {
	grep -qE -- "$1" "${2:-$test_dir/out}" || fail "'$1' is not in the output"
}

reject() {
	if grep -E -- "$1" "${2:-$test_dir/out}" >"$test_dir/found"; then
		fail "the output has: $(head -n 3 "$test_dir/found")"
	fi
}

expect_status() {
	[ "$status" -eq "$1" ] || fail "status $status, expected $1"
}

# The image of a guest that ended in good order needs no repair.
expect_clean() {
	/sbin/e2fsck -fn "$1" >"$test_dir/fsck" 2>&1 || {
		fail "$1 is not clean"
		cat "$test_dir/fsck"
	}
}

# done_testing: what happened, in full where something failed.
done_testing() {
	if [ "$failures" -ne 0 ]; then
		echo "--- output"
		tail -n 80 "$test_dir/out"
		echo "--- errors"
		tail -n 30 "$test_dir/err"
		exit 1
	fi
	echo "passed"
}
