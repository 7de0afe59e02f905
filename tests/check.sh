#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Build sidevisor and run its tests. On Debian 12; as root it installs the packages that are missing.
#
# usage: check.sh [--quick | --all]
#   --quick leaves the tests in virtual nodes out; --all adds the matrix of kernels and shapes in
#   virtual nodes (about an hour)
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
. tests/packages.sh
install_packages build test

jobs=$(nproc)
cmake --preset release >/dev/null
cmake --build --preset release -j "$jobs" 2>&1 | grep -vE '^\[[0-9]+/[0-9]+\]|ninja: Entering' || true
cmake --build --preset release -j "$jobs" >/dev/null

[ -w "${SIDEVISOR_KVM:-/dev/kvm}" ] || echo "check.sh: no /dev/kvm here: the tests that need it are skipped, by name"
case ${1:-} in
--quick) exclude='-LE node|matrix' ;;
--all) exclude= ;;
'') exclude='-LE matrix' ;;
*)
	sed -n '3,8s/^# \{0,1\}//p' "$0"
	exit 2
	;;
esac
log=build/release/ctest.log
# shellcheck disable=SC2086
{
	ctest --test-dir build/release --output-on-failure --timeout 1000 $exclude 2>&1 && echo 0 >"$log.status" ||
		echo 1 >"$log.status"
} | tee "$log" | grep --line-buffered -vE '^ *Start +[0-9]+:'
status=$(cat "$log.status")

# Why each skipped test was skipped.
skipped=$(grep -oE '[^ ]+ \.+\*\*\*Skipped' "$log" | awk '{ print $1 }')
if [ -n "$skipped" ]; then
	echo "Skipped, and why:"
	for t in $skipped; do
		why=$(ctest --test-dir build/release -R "^$t\$" -V 2>/dev/null |
			grep -oE 'SKIPPED BECAUSE.*' | sort -u | head -n 3)
		echo "  $t: ${why:-no reason given}"
	done
fi
total=$(grep -cE '\*\*\*Skipped|Passed +[0-9.]+ sec|\*\*\*Failed|\*\*\*Timeout' "$log" || true)
passed=$(grep -cE 'Passed +[0-9.]+ sec' "$log" || true)
if [ "$passed" -eq 0 ]; then
	echo "check.sh: of $total tests none ran: that is not a pass"
	exit 1
fi
grep -E 'tests passed|tests failed|Total Test time' "$log"
exit $status
