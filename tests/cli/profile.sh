#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Profiles on the command line: bad files, the examples, what `show` and `import` print, `run PROFILE`.
# Usage: profile.sh SIDEVISOR SOURCE_DIR [LWK]
set -u
sv=$1
source=$2
lwk=${3:-}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0
failed=0
skipped=

# expect NAME STATUS PATTERN COMMAND...: the status, and the pattern on stdout or stderr.
expect() {
	name=$1 want=$2 pattern=$3
	shift 3
	(cd "$dir" && timeout 20 "$@" >out 2>err </dev/null)
	got=$?
	if [ "$got" -eq "$want" ] && cat "$dir/err" "$dir/out" | grep -qE -- "$pattern"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED $name: status $got (want $want):"
		head -n 5 "$dir/err" "$dir/out" | sed 's/^/    /'
	fi
}

put() {
	printf '%b' "$2" >"$dir/$1"
}

profile() {
	name=$1 want=$2 pattern=$3
	shift 3
	expect "$name" "$want" "$pattern" "$sv" profile "$@"
}

# --- bad input
put bomb.yaml 'a: &a ["x","x"]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\nd: [*c,*c,*c,*c]\n'
put type.yaml 'vcpus: [1]\nmemory: 12Q\nvcpu: 2\n'
put latin.yaml 'name: \0351t\0351\n'
put cycle.yaml 'inherits: other\n'
put other.yaml 'inherits: cycle\n'
: >"$dir/empty.yaml"
truncate -s 100M "$dir/big.yaml" "$dir/big.xml"
mkdir "$dir/folder.yaml"
profile "alias bomb" 1 '^bomb.yaml:1:4: anchors and aliases are not read' check bomb.yaml
profile "wrong type" 1 '^type.yaml:1:8: vcpus: a list where a single value is expected' check type.yaml
profile "wrong unit" 1 "^type.yaml:2:9: memory: '12Q' is not a size such as 512M or 4G" check type.yaml
profile "suggestion" 1 "^type.yaml:3:1: unknown key 'vcpu'; did you mean 'vcpus'\?" check type.yaml
profile "not UTF-8" 1 '^latin.yaml:1:7: not UTF-8 \(a byte 0xe9\)' check latin.yaml
profile "cycle" 1 'a cycle: cycle.yaml -> other.yaml -> cycle.yaml' check cycle.yaml
profile "empty" 1 '^empty.yaml: it is empty' check empty.yaml
profile "100 MB" 1 '^big.yaml: it has 104857600 bytes; at most 1048576' check big.yaml
profile "directory" 1 '^folder.yaml: it is a directory' check folder.yaml
profile "missing" 1 '^none.yaml: No such file' check none.yaml
profile "device" 1 '^/dev/zero: it is not a regular file' check /dev/zero
profile "a good one among bad ones" 1 'bomb.yaml' check "$source/docs/examples/node.yaml" bomb.yaml
profile "show what is bad" 1 'and 2 more: see `sidevisor profile check`' show type.yaml
expect "run what is bad" 1 'and 2 more: see `sidevisor profile check`' "$sv" run type.yaml
expect "run a node" 1 'it is a node profile where a guest profile is expected|guest profile' \
	"$sv" run "$source/docs/examples/node.yaml"
put nokernel.yaml 'vcpus: 1\n'
expect "no kernel" 2 'no kernel: the profile has none' "$sv" run nokernel.yaml
put guest.yaml 'kind: guest\n'
put kernel.yaml 'kernel: boot/none\n'
expect "kernel that is not there" 1 'boot/none' "$sv" run kernel.yaml --private
profile "no verb" 2 'say check, show, keys or import'
profile "unknown verb" 2 "unknown verb 'fly'" fly
profile "unknown option" 2 "unknown option '--fly'" check --fly
profile "check nothing" 2 'name one profile or more' check
profile "show nothing" 2 'name one profile' show

# --- hostile XML
put laughs.xml '<!DOCTYPE profile [\n<!ENTITY a "aaaa">\n<!ENTITY b "&a;&a;&a;&a;">\n<!ENTITY c "&b;&b;&b;&b;">\n]>\n<profile><name>&c;</name></profile>\n'
put external.xml '<!DOCTYPE profile [<!ENTITY e SYSTEM "file:///etc/passwd">]>\n<profile><name>&e;</name></profile>\n'
put dtd.xml '<!DOCTYPE profile SYSTEM "file:///dev/zero">\n<profile><name>a</name><image>/i</image></profile>\n'
put broken.xml '<profile><name>a</profile>\n'
put other.xml '<domain type="kvm"/>\n'
profile "entity bomb" 1 'laughs.xml:2: it has an entity' import laughs.xml
profile "external entity" 1 'external.xml:1: it has an entity' import external.xml
profile "external DTD is not read" 0 '^name: a$' import dtd.xml
profile "not well-formed" 1 'broken.xml:1: not XML: Opening and ending tag mismatch' import broken.xml
profile "another root" 1 'its root is <domain>' import other.xml
profile "100 MB of XML" 1 'big.xml: it has 104857600 bytes' import big.xml
profile "missing XML" 1 'none.xml: No such file' import none.xml
profile "a directory as XML" 1 'it is a directory' import folder.yaml
profile "import nothing" 2 'name one XML file' import

# --- what is good
for f in "$source"/docs/examples/*.yaml; do
	profile "example $f" 0 '.*' show "$f"
	"$sv" profile check "$f" 2>"$dir/err" || failed=$((failed + 1))
	[ -s "$dir/err" ] && { failed=$((failed + 1)); cat "$dir/err"; }
	# What show prints is a profile that says the same.
	"$sv" profile show "$f" | sed 's/  #.*//; /^#/d' >"$dir/once.yaml"
	"$sv" profile show "$dir/once.yaml" 2>&1 | sed 's/  #.*//' >"$dir/twice.yaml"
	if ! cmp -s "$dir/once.yaml" "$dir/twice.yaml"; then
		failed=$((failed + 1))
		echo "FAILED show $f is not what it was:"
		diff "$dir/once.yaml" "$dir/twice.yaml"
	fi
done
profile "origin" 0 '^vcpus: 32  # .*/hpc-base.yaml:5$' show "$source/docs/examples/hpc.yaml"
profile "origin in JSON" 0 '"line": 5' show "$source/docs/examples/hpc.yaml" --json
profile "keys" 0 '^sidecore_policy: locality, spread or smt-sibling' keys
profile "keys of nodes" 0 '^housekeeping: ' keys --node
put v3m.xml '<?xml version="1.0"?>\n<!DOCTYPE profile PUBLIC "" "v3m_profile.dtd">\n<profile>\n<name>test</name>\n<type>Xen</type>\n<image size="50">/home/user/test.img</image>\n<nic1><type>TUN/TAP</type><mac>00:02:03:04:05:06</mac></nic1>\n</profile>\n'
profile "import says what is left out" 0 '^v3m.xml:7:1: the network card <nic1> of type TUN/TAP with MAC 00:02' \
	import v3m.xml -o imported.yaml
profile "what was imported" 0 '^name: test  # imported.yaml:3$' show imported.yaml
profile "no overwriting" 1 'imported.yaml: File exists; remove it' import v3m.xml -o imported.yaml

# --- serve
put node.yaml 'socket: run/node.sock\nisolate: none\nallow_bench: on\ndisks:\n- path: disk.img\n  socket: run/disk.sock\n'
mkdir "$dir/run"
truncate -s 1M "$dir/disk.img"
expect "serve what is no node" 1 'it is a guest profile where a node profile is expected' \
	"$sv" serve "$dir/guest.yaml"
expect "serve with a bad option" 2 "'maybe' is neither on nor off" "$sv" serve node.yaml --share-cores=maybe
put near.yaml 'kind: node\nsocket: run/near.sock\nisolate: none\nnear: nosuch0\n'
expect "serve near nothing" 1 'nosuch0' "$sv" serve near.yaml
(cd "$dir" && exec "$sv" serve node.yaml >serve.out 2>&1) &
serve=$!
for i in $(seq 100); do
	[ -S "$dir/run/node.sock" ] && [ -S "$dir/run/disk.sock" ] && break
	sleep 0.1
done
if [ -S "$dir/run/node.sock" ] && [ -S "$dir/run/disk.sock" ]; then
	passed=$((passed + 1))
else
	failed=$((failed + 1))
	echo "FAILED serve NODE.yaml:"
	sed 's/^/    /' "$dir/serve.out"
fi
kill "$serve" 2>/dev/null
wait "$serve"

# --- run
if [ -n "$lwk" ] && [ -w "${SIDEVISOR_KVM:-/dev/kvm}" ]; then
	mkdir "$dir/boot"
	cp "$lwk" "$dir/boot/lwk.elf"
	put base.yaml 'memory: 64M\nprivate: on\nkernel: boot/lwk.elf\n'
	put hello.yaml 'inherits: base\ncmdline: hello\n'
	expect "run PROFILE" 0 '64 MiB of memory' "$sv" run hello.yaml
	expect "the VM has the file's name" 0 'sidevisor: hello: the guest exited' "$sv" run hello.yaml
	expect "an option overrides" 0 '32 MiB of memory' "$sv" run --memory 32M hello.yaml
else
	skipped="SKIPPED BECAUSE there is no /dev/kvm here: run PROFILE"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] || exit 1
[ -z "$skipped" ] || echo "$skipped"
exit 0
