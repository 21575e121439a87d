# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the tests here share that drive the real program.

skip() {
	printf 'skipped: %s\n' "$*" >&2
	exit 77
}

need_kvm() {
	{ : <>/dev/kvm; } 2>/dev/null || skip 'there is no usable /dev/kvm'
}

# own_namespaces "WHAT NEEDS ROOT" TOOL... -- ARG...: begins the script anew with ARG... in network, mount and process
# namespaces of its own, with an empty directory in $TMPDIR that is gone when it has ended; returns there.
own_namespaces() {
	local why=$1
	[[ -z ${OWN_NAMESPACES:-} ]] || return 0
	[[ $EUID == 0 ]] || skip "$why need root"
	need_kvm
	[[ -e /dev/net/tun ]] || modprobe tun 2>/dev/null || skip 'the host has no tap interfaces'
	shift
	while [[ $1 != -- ]]; do
		command -v "$1" >/dev/null || skip "there is no $1"
		shift
	done
	shift
	TMPDIR=$(mktemp -d)
	trap 'rm -rf "$TMPDIR"' EXIT
	OWN_NAMESPACES=1 TMPDIR=$TMPDIR unshare --net --mount --pid --fork --mount-proc --kill-child bash "$0" "$@"
	exit
}
