#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# usage: long.sh BUILD WHAT SECONDS [DIRECTORY]: run the fuzz target WHAT (virtq, vhost, packets) for so
# long at the lowest priority. BUILD: cmake -B BUILD -DSV_FUZZ=ON -DCMAKE_C_COMPILER=clang. New inputs
# go to DIRECTORY (default: ./fuzz-WHAT); failures stay there as crash-*. The last line says how many
# executions there were.
# long.sh BUILD WHAT minimise [DIRECTORY]: what of DIRECTORY is needed, into tests/corpus/WHAT.
set -eu
[ $# -ge 3 ] || { sed -n 's/^# //p' "$0" | sed 1d; exit 2; }
here=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$1" && pwd)
what=$2
long=$3
work=${4:-fuzz-$what}
cmake --build "$build" --target "fuzz_$what" >/dev/null
mkdir -p "$work" "$here/corpus/$what"
if [ "$long" = minimise ]; then
	kept=$(mktemp -d)
	trap 'rm -rf "$kept"' EXIT
	"$build/tests/fuzz_$what" -use_counters=0 -set_cover_merge=1 "$kept" "$here/corpus/$what" "$work" >"$work.log" 2>&1 || {
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
rc=0
nice -n 19 "$build/tests/fuzz_$what" -max_len=512 -max_total_time="$long" -print_final_stats=1 -reload=0 \
	-artifact_prefix="$work/" "$work" "$here/corpus/$what" >"$work.log" 2>&1 || rc=$?
grep -m 1 'number_of_executed_units' "$work.log" ||
	echo "it ended: $(grep -m 1 -E 'broken promise|ERROR|runtime error' "$work.log")"
exit "$rc"
