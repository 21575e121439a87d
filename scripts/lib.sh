# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What scripts/lab, scripts/test and scripts/quickstart share. Source it; it only defines functions.

# say WORD...: one line to stderr, so that stdout stays the workload's own.
say() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# die WORD...: one sentence to stderr, then exit 125 (the code docker keeps for its own failures).
die() {
	say "$*"
	exit 125
}

# missing_packages PKG...: prints those which dpkg does not hold installed, one a line.
missing_packages() {
	local installed pkg
	installed=$(dpkg-query -W -f ' ${db:Status-Status}:${Package} ' "$@" 2>/dev/null) || true
	for pkg in "$@"; do
		[[ $installed == *" installed:$pkg "* ]] || printf '%s\n' "$pkg"
	done
}

# apt_run ARG...: apt-get with its chatter in a log, of which only what is being fetched and set up is shown.
apt_run() {
	local log status=0
	log=$(mktemp)
	DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 "$@" </dev/null 2>&1 | tee "$log" |
		sed -u -n -e 's/^Get:\([0-9]*\) [^ ]* [^ ]* [^ ]* \([^ ]*\) .*\[\(.*\)\]$/  fetching \2 (\3)/p' \
			-e 's/^Setting up \([^ ]*\) .*/  setting up \1/p' >&2 || status=$?
	[[ $status == 0 ]] || tail -n 15 "$log" >&2
	rm -f "$log"
	return "$status"
}

# need_packages PKG...: sees to it that these Debian packages are installed, and installs only what is missing.
need_packages() {
	local missing
	{ command -v dpkg-query && command -v apt-get; } >/dev/null ||
		die "this is not Debian (no dpkg and apt-get): install what these Debian packages hold by hand: $*"
	mapfile -t missing < <(missing_packages "$@")
	[[ ${#missing[@]} -gt 0 ]] || return 0
	[[ $EUID == 0 ]] || die "packages are missing and only root can install them: apt-get install ${missing[*]}"

	say "installing ${#missing[@]} missing package(s): ${missing[*]}"
	# The lists may be absent or older than the mirror: fetch them only once that has shown.
	if apt-get install -s -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 &&
		apt_run install -y -q --no-install-recommends "${missing[@]}"; then
		return 0
	fi
	say "updating the package lists"
	apt_run update -q || die "apt-get update failed: this machine needs a working Debian mirror"
	apt_run install -y -q --no-install-recommends "${missing[@]}" ||
		die "apt-get could not install ${missing[*]}"
}

# host_has_virt: true when this machine itself can run guests: KVM with VT-x or AMD-V underneath.
# A KVM without either (a paravirtual one inside another VM) opens too but cannot run Linux guests.
host_has_virt() {
	grep -qE '^flags\b.*\b(vmx|svm)\b' /proc/cpuinfo && { : <>/dev/kvm; } 2>/dev/null
}

# cache_dir: prints where built kernels and images are kept between runs.
cache_dir() {
	if [[ -n ${KVMBOX_CACHE:-} ]]; then
		printf '%s\n' "$KVMBOX_CACHE"
	elif [[ $EUID == 0 ]]; then
		printf '%s\n' /var/lib/kvmbox/cache
	else
		printf '%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}/kvmbox"
	fi
}

# build_packages: prints the Debian packages that building kvmbox and its guest takes.
build_packages() {
	printf '%s\n' meson ninja-build gcc libc6-dev pkg-config liburing-dev libfdt-dev libjson-c-dev libhttp-parser-dev \
		zlib1g-dev liblzma-dev libzstd-dev liblz4-dev libnftables-dev libseccomp-dev libcap-ng-dev musl-tools linux-libc-dev \
		linux-source-6.12 make patch flex bison bc libelf-dev libssl-dev xz-utils cpio python3 \
		busybox-static erofs-utils libcriterion-dev
}

# build_kvmbox DIR MESON-ARG...: configures build directory DIR once and brings it up to date.
build_kvmbox() {
	local dir=$1
	shift
	[[ -f $dir/build.ninja ]] || meson setup "$dir" "$@" >"$dir.log" 2>&1 || {
		tail -n 20 "$dir.log" >&2
		die "meson could not configure $dir: the end of $dir.log is above"
	}
	rm -f "$dir.log"
	ninja -C "$dir" >&2
}

# build_docker_host DIR: has a configured build directory build the docker host as well, now and from now on.
build_docker_host() {
	meson configure "$1" -Ddocker_host=true >/dev/null && ninja -C "$1" >&2
}
