# SPDX-License-Identifier: BSD-3-Clause
# Sourced in a virtual node.

# kill_children SERVER VM TIMES LEAST SPAN: kill the child of SERVER so often, LEAST to LEAST + SPAN us after
# it was back, as the caller's `back` counts it; one of four does not wait for that. Then VM is told to stop,
# on the image `control`.
kill_children() {
	kills=0
	while kill -0 "$2" 2>/dev/null && [ $kills -lt "$3" ]; do
		was=$(back)
		usleep $(($4 + $(od -An -N4 -tu4 /dev/urandom) % $5))
		child=$(cat "/proc/$1/task/$1/children")
		# shellcheck disable=SC2086 # one number and a blank
		[ -n "$child" ] && kill -9 $child || continue
		kills=$((kills + 1))
		[ $((kills % 4)) -eq 0 ] || until [ "$(back)" -gt "$was" ] || ! kill -0 "$2" 2>/dev/null; do
			usleep 20000
		done
	done
	echo stop | dd of=control conv=notrunc 2>/dev/null
	echo "killed $kills times, the guest $(kill -0 "$2" 2>/dev/null && echo runs || echo has ended)"
}
