#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# sidevisor plan as a user meets it. Usage: plan.sh SIDEVISOR SOURCE_DIRECTORY
set -u
sv=$1
src=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0
failed=0
epyc="pack:2 numa:1 l3:8 core:8 pu:2(indexes=2*128:1*2)"

# expect NAME STATUS PATTERN OPTION...: the status, the pattern on stdout or stderr; where it fails,
# one line on stderr and nothing on stdout.
expect() {
	name=$1 want=$2 pattern=$3
	shift 3
	timeout 60 "$sv" plan "$@" >"$dir/out" 2>"$dir/err" </dev/null
	got=$?
	why=
	[ "$got" -eq "$want" ] || why="status $got, not $want"
	cat "$dir/out" "$dir/err" | grep -qE -- "$pattern" || why="$why; no '$pattern'"
	if [ "$want" -ne 0 ]; then
		[ ! -s "$dir/out" ] || why="$why; something on stdout"
		[ "$(wc -l <"$dir/err")" -eq 1 ] || why="$why; not one line on stderr"
	fi
	if [ -z "$why" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED $name: $why"
		head -n 5 "$dir/out" "$dir/err" | sed 's/^/    /'
	fi
}

# that NAME COMMAND...: it holds.
that() {
	name=$1
	shift
	if "$@" >"$dir/that" 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED $name"
		head -n 5 "$dir/that" | sed 's/^/    /'
	fi
}

expect "help" 0 "usage: sidevisor plan" --help
expect "this machine" 0 "^sidecores" --guest name=a,share=on
expect "a synthetic machine" 0 "^policy locality: 1 guest, 1[0-9] sidecores" -t "$epyc" -g name=a,vcpus=100
expect "an option of each kind" 0 "^policy spread: 2 guests, 3 sidecores" -t "$epyc" \
	--guests 2 --vcpus 8 --sidecores 3 --policy spread --housekeeping 2 --exclude 60-63
expect "auto" 0 "^policy smt-sibling" -t "$epyc" --guests 1 --vcpus 4 --sidecores auto \
	--housekeeping auto --policy smt-sibling
expect "guest keys" 0 "A  a: 4 vCPUs on 2 cores" -t "$epyc" -g name=a,vcpus=4,memory=512M,smt=on,share=off,untrusted=on
expect "housekeeping by CPU" 0 "^housekeeping +CPUs 5,133" -t "$epyc" -g name=a --housekeeping 5,
expect "no guest named" 0 "planned for 1 guest of 110, as many as fit" -t "$epyc"
expect "guests without vCPUs" 0 "planned for 2 guests of [0-9]+, as many as fit" -t "$epyc" --guests 2
expect "one core" 0 "one core" -t "core:1 pu:1"
expect "two cores" 0 "1 guest, 1 sidecore" -t "pack:1 core:2 pu:1"
for what in kernel cgroup systemd slurm libvirt; do
	expect "export $what" 0 "isolcpus=|cpuset.cpus|AllowedCPUs=|CpuSpecList=|<cputune>" \
		-t "$epyc" -g name=a,vcpus=4 --export "$what"
done

expect "unknown option" 2 "unknown option '--frobnicate'" --frobnicate
expect "option without value" 2 "'--topology' needs a value" --topology
expect "topology missing" 1 "$dir/none.xml" -t "$dir/none.xml"
expect "topology nonsense" 1 "not a synthetic description" -t "pack:x"
expect "topology is a directory" 1 "$dir" -t "$dir"
echo '<topology version="2.0">' >"$dir/broken.xml"
expect "topology broken" 1 "$dir/broken.xml" -t "$dir/broken.xml"
expect "guest without a name" 2 "name=NAME is missing" -t "$epyc" -g vcpus=3
expect "guest key" 2 "write name=NAME" -t "$epyc" -g name=a,speed=9
expect "guest without value" 2 "write name=NAME" -t "$epyc" -g name=a,vcpus
expect "guest vcpus" 2 "guest vcpus 0" -t "$epyc" -g name=a,vcpus=0
expect "guest switch" 2 "smt=maybe: give on or off" -t "$epyc" -g name=a,smt=maybe
expect "guest memory" 2 "guest memory much" -t "$epyc" -g name=a,memory=much
expect "guest name" 2 "letters, digits" -t "$epyc" -g "name=a b"
expect "guest name too long" 2 "letters, digits" -t "$epyc" -g name=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
expect "two of a name" 2 "two guests are called a" -t "$epyc" -g name=a -g name=a
expect "too many guests" 2 "--guests 5000" --guests 5000
expect "vcpus" 2 "--vcpus -1" --vcpus -1
expect "sidecores" 2 "--sidecores many: give a whole number from 1 to 65536, or auto" --sidecores many
expect "policy" 2 "--policy best: give one of locality, spread, smt-sibling" --policy best
expect "export" 2 "--export xen: give one of kernel, cgroup, systemd, slurm, libvirt" --export xen
expect "housekeeping" 2 "--housekeeping x" --housekeeping x
expect "housekeeping list" 2 "list of CPUs" --housekeeping 3-1
expect "exclude" 2 "--exclude 1-: give a list of CPUs" --exclude 1-
expect "exclude huge" 2 "list of CPUs" --exclude 0-99999999999
expect "json and export" 2 "choose one" --json --export slurm
expect "no such device" 1 "near eth9: no such device" -t "$epyc" -g name=a,near=eth9
expect "more than there is" 1 "." -t "core:4 pu:1" -g name=a,vcpus=64
expect "profile missing" 1 "none.yaml: No such file" "$dir/none.yaml"
expect "node profile missing" 1 "$dir/none.yaml" --node "$dir/none.yaml"
expect "nothing for the operating system" 1 "--housekeeping 1" -t "pack:1 core:2 pu:1" -g name=a --export kernel

printf 'name: web\nkernel: vmlinuz\nvcpus: 6\nmemory: 2G\n' >"$dir/web.yaml"
printf 'kind: guest\nkernel: vmlinuz\nvcpus: 3\n' >"$dir/batch.yaml"
printf 'kind: node\npolicy: spread\nhousekeeping: "2"\n' >"$dir/node.yaml"
expect "profiles" 0 "B  batch: 3 vCPUs" -t "$epyc" "$dir/web.yaml" "$dir/batch.yaml"
expect "node profile" 0 "^policy spread" -t "$epyc" --node "$dir/node.yaml" "$dir/web.yaml"
expect "options before profiles" 0 "^policy locality" -t "$epyc" --policy locality --node "$dir/node.yaml" "$dir/web.yaml"
echo 'vcpus: many' >"$dir/bad.yaml"
expect "bad profile" 1 "$dir/bad.yaml:1" -t "$epyc" "$dir/bad.yaml"

# Files.
expect "svg" 0 "." -t "$epyc" -g name=a,vcpus=4 --svg "$dir/plan.svg"
that "svg is whole" grep -q "</svg>" "$dir/plan.svg"
that "nothing beside it" test "$(ls "$dir" | grep -c '^plan')" -eq 1
expect "svg and json" 0 '"schema": "sidevisor-plan/1"' -t "$epyc" -g name=a --svg "$dir/plan.svg" --json
that "replaced" test "$(ls "$dir" | grep -c '^plan')" -eq 1
expect "svg nowhere" 1 "--svg $dir/no/plan.svg" -t "$epyc" -g name=a --svg "$dir/no/plan.svg"
expect "svg on a directory" 1 "--svg $dir" -t "$epyc" -g name=a --svg "$dir"
that "and nothing left" sh -c "! ls '$dir'.* 2>/dev/null"
if [ -c /dev/full ]; then
	expect "svg on a full device" 1 "/dev/full: No space left" -t "$epyc" -g name=a --svg /dev/full
	"$sv" plan -t "$epyc" -g name=a >/dev/full 2>"$dir/err"
	that "a full standard output" test $? -eq 1 -a -s "$dir/err"
fi
"$sv" plan -t "$epyc" -g name=a,vcpus=20 --json >"$dir/a.json"
"$sv" plan -t "$epyc" -g name=a,vcpus=20 --json >"$dir/b.json"
that "deterministic" cmp "$dir/a.json" "$dir/b.json"
"$sv" plan -t "$epyc" -g name=a,vcpus=20 >"$dir/text"
that "no colour in a file" sh -c "! grep -q '$(printf '\033')' '$dir/text'"

# The documentation of the JSON has every key, and the help every option the manual speaks of.
that "every key is documented" sh -c "grep -oE '\"[a-z_]+\":' '$dir/a.json' | tr -d '\":' | sort -u |
	while read -r key; do grep -q '\`'\$key'\`' '$src/docs/plan-json.md' || { echo \$key; exit 1; }; done"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
