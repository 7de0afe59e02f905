# SPDX-License-Identifier: BSD-3-Clause
# Sourced in a guest that has fio, whose second disk is written and whose third tells it when to end.

# stopped: the test has written so on the last disk.
stopped() {
	dd if=/dev/vdc bs=512 count=1 iflag=direct 2>/dev/null | grep -q stop
}

# verified_writes: fio writes and verifies until then, or until it fails. Sets $runs and $status, its last.
verified_writes() {
	runs=0 status=0
	until stopped || [ $status -ne 0 ]; do
		fio --name=verified --filename=/dev/vdb --size=24M --rw=randwrite --bsrange=4k-32k --direct=1 \
			--ioengine=libaio --iodepth=16 --verify=crc32c --verify_fatal=1 --verify_backlog=64 --fsync=40 \
			--time_based --runtime=8 --eta=never --output=/tmp/fio 2>&1
		status=$? runs=$((runs + 1))
	done
}
