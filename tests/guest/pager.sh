#!/bin/sh
# Guest memory that arrives while the guest runs, on this machine's KVM, one group of checks per call.
# Usage: pager.sh SIDEVISOR LWK MEMORY_SOURCE arrive|lost|bad|full
set -u
sv=$1
lwk=$2
source=$3
group=$4
. "$(dirname "$0")/../await.sh"
dir=$(mktemp -d)
server=
vm=
trap 'for p in $vm $server; do kill "$p" 2>/dev/null; done; rm -rf "$dir"' EXIT
failed=0

if [ ! -r "${SIDEVISOR_KVM:-/dev/kvm}" ] || [ ! -w "${SIDEVISOR_KVM:-/dev/kvm}" ]; then
	echo "SKIPPED BECAUSE there is no /dev/kvm that we may open: the pager's $group"
	exit 0
fi
"$sv" run --private --kernel "$lwk" --memory 16M --memory-source /dev/null 2>&1 </dev/null |
	grep -q "disk /dev/null" || failed=1
"$source" image "$dir/probe" $((16 << 20)) || exit 1
"$sv" run --private --kernel "$lwk" --memory 16M --memory-source "$dir/probe" >"$dir/out" 2>&1 </dev/null
if grep -q "may not handle page faults" "$dir/out"; then
	echo "SKIPPED BECAUSE this user may not have a userfaultfd for KVM: the pager's $group"
	exit 0
fi

fail() {
	failed=$((failed + 1))
	echo "FAILED $*"
	sed 's/^/    /' "$dir/out"
}

# start_source MIB DELAY [FAULT N]
start_source() {
	if [ -n "$server" ]; then
		kill "$server" 2>/dev/null
		wait "$server" 2>/dev/null
	fi
	rm -f "$dir/s"
	: >"$dir/source"
	"$source" serve "$dir/s" $(($1 << 20)) "$2" ${3:+"$3" "$4"} >"$dir/source" 2>&1 &
	server=$!
	await ready "$dir/source" 10 && return
	echo "the source does not come up"
	exit 1
}

# run MIB CMDLINE OPTION...: status in $got, what was said in out.
run() {
	mib=$1 cmdline=$2
	shift 2
	timeout -k 5 120 "$sv" run --private --kernel "$lwk" --memory "${mib}M" --cmdline "$cmdline" \
		"$@" >"$dir/out" 2>&1 </dev/null
	got=$?
}

# right MIB: it ended well, every word was right, and so was the sum.
right() {
	pages=$(sed -n 's/^\([0-9]*\) pages from page .*/\1/p' "$dir/out")
	first=$(sed -n 's/^[0-9]* pages from page \([0-9]*\) .*/\1/p' "$dir/out")
	if [ "$got" -ne 0 ] || [ -z "$pages" ] || [ $((first + pages)) -ne $(($1 * 256)) ]; then
		fail "$2: status $got"
		return
	fi
	sum=$("$source" sum $(($1 << 20)) "$first" "$pages")
	grep -q "sum $sum, 0 words wrong, 0 marks lost" "$dir/out" || fail "$2: not the sum $sum"
}

arrive() {
	"$source" image "$dir/img" $((64 << 20))
	run 64 "app=arrive n=500" --memory-source "$dir/img"
	right 64 "from a file"
	run 64 "app=arrive n=50" --memory-source "file=$dir/img,prefetch=off"
	right 64 "only what is waited for"
	printf '# hot\n0x3f00-0x3fff\n3000-3001 # two\n12288\n' >"$dir/hot"
	run 64 "app=arrive n=500" --memory-source "$dir/img" --memory-hot "$dir/hot"
	right 64 "with a hot list"
	start_source 64 1
	run 64 "app=arrive n=500" --memory-source "$dir/s" --vcpus 2 --numa 2 --overcommit
	right 64 "two nodes"
	[ "$(grep -c requests "$dir/source")" -eq 2 ] || fail "a connection for each of two nodes"
	start_source 64 1 flip 5
	run 64 "app=arrive n=200" --memory-source "unix=$dir/s"
	right 64 "a source that sends wrong bytes now and then"
}

# The table of what a source can do wrong: the guest stops, and the sentence says why.
lost() {
	while read -r fault n pattern; do
		start_source 64 1 "$fault" "$n"
		run 64 "app=arrive" --memory-source "unix=$dir/s,timeout=1"
		[ "$got" -eq 1 ] && grep -q "memory source $dir/s: .*$pattern.* pages had arrived" "$dir/out" ||
			fail "$fault: status $got, no '$pattern'"
	done <<-END
	die 8 it closed the connection
	stall 8 no answer within 1000 ms
	corrupt 8 does not match its checksum, 3 times
	liar 8 bytes at offset
	change 8 another one than in the beginning
	refuse 8 it cannot give what lies at offset
	garble 8 answers what nobody asked
	END
	# Killed outright, while the guest waits for a page.
	start_source 64 200
	: >"$dir/out"
	(first_page; kill -9 "$server") &
	killer=$!
	run 64 "app=arrive" --memory-source "unix=$dir/s"
	wait "$killer"
	[ "$got" -eq 1 ] && grep -q "it closed the connection" "$dir/out" || fail "killed"
	server=
	# A guest that waits for memory can be stopped.
	start_source 64 1 stall 4
	"$sv" run --private --kernel "$lwk" --name "pager-$$" --memory 64M --cmdline "app=arrive" \
		--track-dirty --memory-source "$dir/s" >"$dir/out" 2>&1 </dev/null &
	vm=$!
	sleep 1
	timeout 20 "$sv" stats "pager-$$" >"$dir/stats"
	grep -q "^memory source: [0-9]* of 16384 pages there, so far [0-9]* ms; " "$dir/stats" || fail "stats"
	timeout 20 "$sv" dirty "pager-$$" start >"$dir/dirty" 2>&1
	[ $? -eq 1 ] && grep -q "still arriving" "$dir/dirty" || fail "dirty start: $(cat "$dir/dirty")"
	timeout 20 "$sv" stop "pager-$$" >"$dir/stop" 2>&1 || fail "stop: $(cat "$dir/stop")"
	wait "$vm" || fail "a guest that waits for memory does not stop"
	vm=
	grep -q "stopped by request" "$dir/out" || fail "stopped"
	# A file that changes, or gets shorter, under the guest.
	"$source" image "$dir/img" $((64 << 20))
	(while [ -e "$dir/img" ]; do
		printf x | dd of="$dir/img" bs=1 seek=9000000 conv=notrunc 2>/dev/null
		sleep 0.05
	done) &
	writer=$!
	run 64 "app=arrive n=2000" --memory-source "file=$dir/img,prefetch=off"
	[ "$got" -eq 1 ] && grep -q "it changed while" "$dir/out" || fail "a file that changes"
	kill "$writer"
	wait "$writer"
	# On a busy machine the guest may be through before it is cut off.
	for try in 1 2 3 4 5; do
		"$source" image "$dir/img" $((64 << 20))
		: >"$dir/out"
		(first_page; truncate -s 9000000 "$dir/img") &
		writer=$!
		run 64 "app=arrive n=2000" --memory-source "file=$dir/img,prefetch=off"
		wait "$writer"
		[ "$got" -ne 0 ] && break
	done
	[ "$got" -eq 1 ] && grep -q "it changed while\|it ends at offset" "$dir/out" || fail "a file that gets shorter"
}

# Sooner after it than await sees it.
first_page() {
	for i in $(seq 3000); do
		grep -q "first page" "$dir/out" && return
		sleep 0.01
	done
}

# Before the start.
bad() {
	"$source" image "$dir/img" $((16 << 20))
	while IFS='|' read -r pattern options; do
		# shellcheck disable=SC2086
		run 64 app=hello $options
		[ "$got" -ne 0 ] && grep -qF -- "$pattern" "$dir/out" || fail "'$options': no '$pattern'"
		grep -q Hello "$dir/out" && fail "'$options': it ran"
	done <<-END
	it has 16777216 bytes, --memory asks for 67108864|--memory-source $dir/img
	no such file|--memory-source $dir/nosuch
	no such socket; is the process that has the memory running|--memory-source unix=$dir/nosuch
	a directory|--memory-source $dir
	the path is missing|--memory-source file=
	write a path, or file=FILE|--memory-source file=$dir/img,nonsense=1
	--memory-source is missing|--memory-hot $dir/img
	leave one of them out|--memory-source $dir/img --direct-paging
	END
	start_source 16 0
	run 64 app=hello --memory-source "$dir/s"
	grep -q "it has 16777216 bytes" "$dir/out" || fail "a short process"
	while IFS='|' read -r pattern line; do
		printf '%b' "$line" >"$dir/hot"
		run 16 app=hello --memory-source "$dir/img" --memory-hot "$dir/hot"
		[ "$got" -ne 0 ] && grep -qF "hot list $dir/hot:$pattern" "$dir/out" || fail "'$line': no '$pattern'"
	done <<-END
	1: write a page number|nonsense\n
	2: write a page number|1\n-2\n
	1: write a page number|5-3\n
	2: past the guest's 4096 pages|1\n4096\n
	END
	run 16 app=hello --memory-source "$dir/img" --memory-hot "$dir/nosuch"
	grep -q "hot list $dir/nosuch: No such file" "$dir/out" || fail "no hot list"
}

# 1 GiB behind 10 ms a request: the first instruction at once, all of it right in the end.
full() {
	start_source 1024 10
	run 1024 "app=arrive n=2000" --memory-source "unix=$dir/s" --json
	cat "$dir/out" "$dir/source"
	right 1024 "1 GiB"
	grep -q "^2000 pages touched" "$dir/out" || fail "2000 pages"
}

case $group in
arrive | lost | bad | full) $group ;;
*)
	echo "pager.sh: no group '$group'"
	exit 2
	;;
esac
echo "$group: $failed failed"
[ "$failed" -eq 0 ]
