# SPDX-License-Identifier: BSD-3-Clause
# Sourced by the scripts: which Debian packages each purpose needs, installed when they are missing.

packages_build="gcc cmake ninja-build pkg-config binutils libc6-dev liburcu-dev libhwloc-dev
	libnuma-dev liburing-dev libjansson-dev libseccomp-dev zlib1g-dev libcyaml-dev
	libyaml-dev libxml2-dev libpcap-dev libxxhash-dev"
packages_build="$packages_build libnbd-dev libssl-dev"
packages_build="$packages_build libslirp-dev"
packages_node="busybox-static cpio kmod xz-utils e2fsprogs ca-certificates dpkg
	debian-archive-keyring libc-bin"
packages_test="libcriterion-dev iproute2 wget acpica-tools spin zstd lz4 bzip2 g++ qemu-utils qemu-system-common
	hwloc-nox libck-dev dpdk dpdk-dev libdpdk-dev user-mode-linux procps fio stress-ng debootstrap iperf3
	ethtool git iputils-ping netsniff-ng $packages_node"
packages_test="$packages_test nbdkit"
packages_strict="clang clang-tidy cppcheck libclang-rt-14-dev $packages_test"
packages_fuzz="clang libclang-rt-14-dev afl++" # tests/fuzz/long.sh

# install_packages PURPOSE...: of build, node, test, strict, fuzz.
install_packages() {
	missing=
	for purpose in "$@"; do
		eval "list=\$packages_$purpose"
		for p in $list; do
			dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q '^install ok installed' ||
				missing="$missing $p"
		done
	done
	[ -z "$missing" ] && return 0
	if [ "$(id -u)" -ne 0 ]; then
		echo "these packages are missing; install them as root:$missing" >&2
		return 1
	fi
	echo "installing:$missing"
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086
	apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 || {
		apt-get update -qq
		# shellcheck disable=SC2086
		apt-get install -y -qq --no-install-recommends $missing >/dev/null
	}
}
