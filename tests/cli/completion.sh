#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Completion for bash: every verb, every option of a verb's help, choices, profiles.
# Usage: completion.sh SIDEVISOR SOURCE_DIR
set -u
sv=$1
source=$2
command -v bash >/dev/null || {
	echo "SKIPPED BECAUSE there is no bash here"
	exit 77
}
failed=0

# complete WORD...: what bash would offer for the last one.
complete() {
	bash -c '
		. "$0"
		COMP_WORDS=("$@")
		COMP_CWORD=$(($# - 1))
		_sidevisor
		printf "%s\n" "${COMPREPLY[@]}"' "$source/deploy/completion/sidevisor.bash" "$sv" "$@"
}

# expect WANTED WORD...: the line is offered.
expect() {
	want=$1
	shift
	complete "$@" | grep -qxF -- "$want" && return
	failed=$((failed + 1))
	echo "FAILED sidevisor $*: '$want' is not offered, but"
	complete "$@" | head -n 50 | sed 's/^/    /'
}

for verb in $("$sv" --help | awk '/^  [a-z]/ { print $1 }'); do
	expect "$verb" "${verb%?}"
	[ "$verb" = bench ] && continue
	for option in $("$sv" "$verb" --help | grep -oE '^ +(-., )?--[a-z0-9-]+' | grep -oE -- '--[a-z0-9-]+'); do
		expect "$option" "$verb" "$option"
	done
done
expect --json stats --js
expect --keep-placement run guest.yaml --keep
expect serial run --console s
expect require run --isolate r
expect smt-sibling plan --policy sm
expect channel bench ch
expect --json bench channel --j
expect import profile im
cd "$source/docs/examples" || exit 1
expect guest.yaml run gue
expect hpc-base.yaml profile check hpc
[ -z "$(complete run --console x)" ] || failed=$((failed + 1))
# Names of VMs, from a program that has some.
program=$(mktemp)
trap 'rm -f "$program"' EXIT
printf '#!/bin/sh\n[ "$1" != ps ] || printf "NAME PID\\nweb-7 1\\n"\n' >"$program"
chmod +x "$program"
sv=$program
for verb in device dirty memory pause resume stats stop; do
	expect web-7 "$verb" we
done
[ "$failed" -eq 0 ]
