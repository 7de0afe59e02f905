# SPDX-License-Identifier: BSD-3-Clause
# Sourced by tests, on this machine and in virtual nodes.

# await PATTERN FILE SECONDS: the extended regular expression is in the file. Return: 1 when it does not come.
await() {
	await_tries=$(($3 * 10))
	until grep -qE -- "$1" "$2" 2>/dev/null; do
		await_tries=$((await_tries - 1))
		[ $await_tries -gt 0 ] || return 1
		sleep 0.1
	done
}
