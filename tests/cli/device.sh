#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# sidevisor device against a node service without guests: what it lists, changes and refuses.
sidevisor=$1
dir=$(mktemp -d) || exit 1
export SIDEVISOR_RUN_DIR="$dir/run" SIDEVISOR_ISOLATE=none
mkdir "$dir/run"
failed=0
served=

trap '[ -z "$served" ] || kill "$served" 2>/dev/null; rm -rf "$dir"' EXIT

# expect WHAT STATUS TEXT COMMAND...: the command's status, and a text in what it says.
expect()
{
	what=$1 status=$2 text=$3
	shift 3
	"$@" >"$dir/out" 2>&1
	got=$?
	if [ "$got" -ne "$status" ] || ! grep -qe "$text" "$dir/out"; then
		echo "FAILED: $what: status $got, not $status, or no '$text' in:"
		cat "$dir/out"
		failed=1
	else
		echo "ok $what"
	fi
}

device()
{
	"$sidevisor" device --socket "$dir/node" "$@"
}

truncate -s 1M "$dir/image"
expect "nobody there" 1 "node service" device
"$sidevisor" serve --socket "$dir/node" --share-cores \
	--blk "path=$dir/image,socket=$dir/disk,weight=300,max-iops=5K" \
	--net "path=$dir/port,switch=lan,max-bandwidth=1G,priority=2" 2>"$dir/log" &
served=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do
	[ -S "$dir/port" ] && break
	sleep 0.5
done
expect "the list" 0 "node/disk .*blk .* 300 .* 5120" device
expect "the list of one" 0 "node/port .*net" device node
expect "one device" 0 "weight=300 priority=0" device node/disk
expect "one device, JSON" 0 '"max-bandwidth": 1073741824' device --json node/port
expect "a setting, JSON" 0 "\"weight\": 7" device --json node/disk weight=7 priority=1 min-bandwidth=1M
expect "it holds" 0 "weight=7 priority=1 min-bandwidth=1048576" device node/disk
expect "a wrong value" 2 "1 to 10000" device node/disk weight=0
expect "a wrong setting" 1 "no setting\|no front end" device node/disk wieght=3
expect "no value" 2 "KEY=VALUE" device node/disk weight
expect "no such device" 1 "no device 'none'" device node/none
expect "no such VM" 1 "nobody" device nobody
expect "settings of all of them" 2 "VM/DEVICE" device node weight=3
expect "wrong option" 2 "unknown option" device --wrong
expect "wrong value of serve" 2 "0 to 7" "$sidevisor" serve --blk "path=x,socket=y,priority=8"
expect "wrong key of serve" 2 "wieght" "$sidevisor" serve --blk "path=x,socket=y,wieght=8"
expect "minimum above maximum" 2 "more than max-iops" "$sidevisor" serve \
	--net "path=x,switch=y,min-iops=8,max-iops=7"
kill "$served"
wait "$served" || {
	echo "FAILED: the server ended with status $?"
	cat "$dir/log"
	failed=1
}
served=
exit $failed
