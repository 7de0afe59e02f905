#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The guest-visible headers compile for everyone who may want them, without a warning.
# usage: headers.sh SOURCE-DIR [C-COMPILER...]
set -eu

source=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags='-fsyntax-only -Wall -Wextra -Wundef -Wshadow -Werror'
failed=0
done=0

# compile HEADER WHAT COMPILER FLAGS...
compile() {
	header=$1 what=$2 unit=$3
	shift 3
	printf '#include <%s>\n#include <%s>\nint a_declaration;\n' "$header" "$header" > "$work/$unit"
	# shellcheck disable=SC2086 # the flags are words
	if "$@" $flags "$work/$unit"; then
		done=$((done + 1))
	else
		echo "abi: <$header> is not clean as $what with $1"
		failed=1
	fi
}

for cc in "$@"; do
	command -v "$cc" > /dev/null || continue
	for file in "$source"/channels/abi/sidevisor/*.h; do
		header=sidevisor/$(basename "$file")
		abi="-I$source/channels/abi"
		compile "$header" 'hosted C11' unit.c "$cc" -std=c11 -pedantic "$abi"
		compile "$header" 'freestanding C11' unit.c "$cc" -std=c11 -pedantic -ffreestanding "$abi"
		compile "$header" 'a kernel' unit.c "$cc" -std=gnu11 -ffreestanding -mno-sse -mno-red-zone "$abi"
	done
	# What guest libraries compile besides: the ring, its guest's end, and waiting.
	for header in channels/ring.h channels/client.h channels/wait.h channels/atomics.h; do
		[ -e "$source/channels/include/$header" ] || continue
		compile "$header" 'freestanding C11' unit.c "$cc" -std=gnu11 -ffreestanding -mno-sse \
			"-I$source/channels/abi" "-I$source/channels/include"
	done
done
for cxx in c++ g++ clang++; do
	command -v $cxx > /dev/null || continue
	for file in "$source"/channels/abi/sidevisor/*.h; do
		for std in c++14 c++17; do
			compile "sidevisor/$(basename "$file")" $std unit.cc $cxx -std=$std -pedantic \
				"-I$source/channels/abi"
		done
	done
done
[ $failed = 0 ] || exit 1
echo "abi: $done compilations without a warning"
