# SPDX-License-Identifier: BSD-3-Clause
# Completion for bash. Verbs and options come from the program itself (`sidevisor VERB --help`), which
# answers in a millisecond: nothing here grows old.

# The verbs, from `sidevisor --help`.
_sidevisor_verbs() {
	"$1" --help 2>/dev/null | awk '/^  [a-z]/ { print $1 }'
}

# The long options of a verb, from its help.
_sidevisor_options() {
	"$@" --help 2>/dev/null | grep -oE '(^ +(-[a-zA-Z], )?|\[)--[a-z0-9-]+' | grep -oE -- '--[a-z0-9-]+'
}

# The words of an option whose help gives a choice, such as `--console stdio|serial|none`.
_sidevisor_choices() {
	"$1" "$2" --help 2>/dev/null | awk -v option="$3" '
		{
			for (i = 1; i < NF; i++)
				if ($i == option && $(i + 1) ~ /^[a-z-]+(\|[a-zA-Z-]+)+$/)
					print $(i + 1)
		}' | tr '|' '\n' | grep -v '[A-Z]'
}

_sidevisor_benches() {
	"$1" bench --help 2>/dev/null | awk '/^  [a-z]+ / { print $1 }'
}

_sidevisor_vms() {
	"$1" ps 2>/dev/null | awk 'NR > 1 { print $1 }'
}

# Profiles of this node, and files of the kind.
_sidevisor_profiles() {
	local f
	for f in /etc/sidevisor/guests/*.yaml; do
		[ -e "$f" ] && basename "$f" .yaml
	done
	compgen -f -X '!*.yaml' -- "$1"
	compgen -d -- "$1"
}

_sidevisor() {
	local program=${COMP_WORDS[0]} verb=${COMP_WORDS[1]} cur=${COMP_WORDS[COMP_CWORD]}
	local previous=${COMP_WORDS[COMP_CWORD - 1]} words name

	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		words="$(_sidevisor_verbs "$program") --help --version"
	elif [[ $cur == -* ]]; then
		[ "$verb" = bench ] && [ "$COMP_CWORD" -gt 2 ] && name=${COMP_WORDS[2]}
		words=$(_sidevisor_options "$program" "$verb" ${name:+"$name"})
	elif [[ $previous == --* ]]; then
		words=$(_sidevisor_choices "$program" "$verb" "$previous")
	fi
	if [ -z "$words" ]; then
		case $verb in
		device | dirty | memory | pause | resume | stats | stop) words=$(_sidevisor_vms "$program") ;;
		profile)
			[ "$COMP_CWORD" -eq 2 ] && words="check show keys import" ||
				words=$(_sidevisor_profiles "$cur")
			;;
		run | plan | serve)
			[[ $previous == -* ]] || words=$(_sidevisor_profiles "$cur")
			;;
		bench) [ "$COMP_CWORD" -eq 2 ] && words=$(_sidevisor_benches "$program") ;;
		esac
	fi
	# Without any of these: files.
	[ -z "$words" ] && return
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -o default -F _sidevisor sidevisor
