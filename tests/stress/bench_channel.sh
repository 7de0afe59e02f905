#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# usage: bench_channel.sh SIDEVISOR    one short round of every queue: nothing lost, the keys are there
set -eu

sidevisor=$1
cpus=$(taskset -cp $$ 2>/dev/null | sed 's/.*: //')
case $cpus in
*[,-]*) ;;
*)
	echo "SKIPPED BECAUSE this process may use one CPU only"
	exit 0
	;;
esac

out=$("$sidevisor" bench channel --rounds 1 --messages 8192 --json)
for key in bench cpus rounds messages entries throughput sidevisor batch_1 batch_8 batch_32 p10 p50 \
	p90 p99 ours_over_it latency pingpong ring ring_over_pingpong ring_p99_over_pingpong_p99; do
	echo "$out" | grep -q "\"$key\":" || {
		echo "bench channel --json lacks the key $key"
		exit 1
	}
done
"$sidevisor" bench channel --rounds 1 --messages 8192 | grep -q 'ring over ping-pong'

for bad in '--cpus 0,0' '--cpus 0' '--rounds 0' '--messages x' '--entries 100' '--nothing' 'word'; do
	status=0
	# shellcheck disable=SC2086
	"$sidevisor" bench channel $bad >/dev/null 2>bench_channel.err || status=$?
	if [ $status -ne 2 ] || [ "$(wc -l <bench_channel.err)" -ne 1 ]; then
		echo "bench channel $bad: exit status $status, not 2 with one sentence:"
		cat bench_channel.err
		exit 1
	fi
done
rm -f bench_channel.err
