#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# How a stock guest ends is reported for what it is: power-off, reboot, panic, triple fault.
set -u
. "$(dirname "$0")/lib.sh"
guest tiny 6.1

cat >"$test_dir/inside.sh" <<'EOF'
# end NAME COMMAND [PARAMETER]
end() {
	sidevisor run --name "$1" --kernel vmlinuz --initrd initrd --disk path=/dev/vda,readonly \
		--memory 128M --no-populate --json --cmdline "console=ttyS0 console=hvc0 quiet panic=-1 ro $3 sv.run=$2"
	code=$?
	printf "\n%s: status %s\n" "$1" "$code"
}
end off poweroff%-f
end again reboot%-f
end triple reboot%-f reboot=t
end panic "echo%c>/proc/sysrq-trigger"
ls /run/sidevisor 2>/dev/null
pidof sidevisor && echo "left behind"
true
EOF
node --cpus 2 --memory 1G --timeout 560 --file "$test_dir/vmlinuz" --file "$test_dir/initrd" \
	--file "$test_dir/inside.sh" --disk "$test_dir/root.img" -- sh inside.sh
expect_status 0
expect '^off: status 0'
expect '^again: status 0'
expect '^triple: status 1'
expect '^panic: status 1'
reject 'left behind'
sed -n 's/.*\("end": "[^"]*"\).*\("name": "[^"]*"\).*/\2 \1/p' "$test_dir/err"
expect '"end": "poweroff".*"name": "off"' "$test_dir/err"
expect '"end": "reboot".*"name": "again"' "$test_dir/err"
expect '"end": "triple-fault".*"name": "triple"' "$test_dir/err"
expect '"end": "panic".*"name": "panic"' "$test_dir/err"
done_testing
