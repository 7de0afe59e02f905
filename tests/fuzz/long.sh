#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# usage: long.sh BUILD WHAT SECONDS [DIRECTORY]: run the fuzz target WHAT (virtq, vhost, packets) for so
# long at the lowest priority. BUILD: cmake -B BUILD -DSV_FUZZ=ON -DCMAKE_C_COMPILER=COMPILER; clang is
# libFuzzer, afl-clang-fast is AFL++. The last line says how many executions there were.
# libFuzzer: new inputs go to DIRECTORY (default: ./fuzz-WHAT); it ends with the first failure, which
# stays there as crash-*. AFL++: DIRECTORY/default (./afl-WHAT) has queue, crashes and hangs; it goes on after a
# failure, and where an earlier run ended, whose executions and failures it counts, too. $FUZZ_CPU: where AFL++ runs.
# long.sh BUILD WHAT minimise [DIRECTORY]: what of DIRECTORY is needed, into tests/corpus/WHAT (libFuzzer).
set -eu
[ $# -ge 3 ] || { sed -n '3,/^set/s/^# //p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$1" && pwd)
what=$2
long=$3
engine=fuzz
grep -q '^CMAKE_C_COMPILER:.*[=/]afl-' "$build/CMakeCache.txt" && engine=afl
work=${4:-$engine-$what}
cmake --build "$build" --target "fuzz_$what" >/dev/null
mkdir -p "$work" "$here/corpus/$what"
if [ "$long" = minimise ]; then
	[ "$engine" = fuzz ] || { echo "minimise needs a BUILD by clang"; exit 2; }
	kept=$(mktemp -d)
	trap 'rm -rf "$kept"' EXIT
	"$build/tests/fuzz_$what" -set_cover_merge=1 "$kept" "$here/corpus/$what" "$work" >"$work.log" 2>&1 || {
		tail -n 5 "$work.log"
		echo "the merge failed; the corpus stays as it is"
		exit 1
	}
	tail -n 1 "$work.log"
	[ -n "$(find "$kept" -type f -size -512c)" ] || {
		echo "the merge kept nothing; the corpus stays as it is"
		exit 1
	}
	# Named inputs are those of bugs found; the others are replaced.
	find "$here/corpus/$what" -type f -regex '.*/[0-9a-f]*' -delete
	find "$kept" -type f -size -512c -exec cp {} "$here/corpus/$what/" \;
	find "$here/corpus/$what" -type f | wc -l
	exit
fi
# An execution is short: its memory stays warm, and a failure tells its stacks when it is run again.
ASAN_OPTIONS=quarantine_size_mb=4:allocator_release_to_os_interval_ms=-1:malloc_context_size=1
export ASAN_OPTIONS
if [ "$engine" = afl ]; then
	ASAN_OPTIONS=$ASAN_OPTIONS:abort_on_error=1:symbolize=0:detect_leaks=0
	export AFL_AUTORESUME=1 AFL_NO_UI=1 AFL_NO_AFFINITY=1 AFL_SKIP_CPUFREQ=1 \
		AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1
	# The two processes take turns: on one CPU they do so without waking another.
	cpu=${FUZZ_CPU:-$(taskset -cp $$ | sed 's/.*[^0-9]//')}
	nice -n 19 taskset -c "$cpu" afl-fuzz -V "$long" -G 512 -t 2000 -i "$here/corpus/$what" -o "$work" -- \
		"$build/tests/fuzz_$what" >"$work.log" 2>&1 || {
		tail -n 5 "$work.log"
		exit 1
	}
	failures=$(find "$work/default/" -path '*/crashes*/id:*' -o -path '*/hangs*/id:*')
	[ -z "$failures" ] || echo "$failures"
	grep '^execs_done ' "$work/default/fuzzer_stats"
	[ -z "$failures" ]
	exit
fi
rc=0
nice -n 19 "$build/tests/fuzz_$what" -max_len=512 -max_total_time="$long" -print_final_stats=1 -reload=0 \
	-artifact_prefix="$work/" "$work" "$here/corpus/$what" >"$work.log" 2>&1 || rc=$?
grep -a -m 1 'number_of_executed_units' "$work.log" || {
	echo "it ended: $(grep -a -m 1 -E 'broken promise|ERROR|runtime error' "$work.log")"
	[ "$rc" -ne 0 ] || rc=1
}
exit "$rc"
