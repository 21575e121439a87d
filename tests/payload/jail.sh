#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# jail.sh KVMBOX GUEST BREAKOUT: the program itself with a bare-metal guest, whose monitor is made to try what breakout.c
# can do. Each attempt ends it, and kvmbox says so; as root, and as a user who has /dev/kvm.
set -euo pipefail

# shellcheck source=tests/payload/lib.sh
. "$(dirname "$0")/lib.sh"

fail() {
	printf '%s: %s\n' "$who, $what" "$*" >&2
	exit 1
}

need_kvm
kvmbox=$1 guest=$2 breakout=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 777 "$dir"
truncate -s 4M "$dir/disk"
chmod 666 "$dir/disk"

# boot [ARG]...: as $who; its status in $status, its words in $dir/words.
boot() {
	local as=()
	[[ $who == root ]] || as=(setpriv --reuid 65534 --regid 65534 --groups "$(stat -c %g /dev/kvm)")
	status=0
	"${as[@]}" env KVMBOX_STATE="$dir/$who" LD_PRELOAD="$breakout" BREAKOUT="$what" "$kvmbox" boot --json \
		--kernel "$guest" --disk "$dir/disk" "$@" -- true >"$dir/words" 2>&1 || status=$?
	[[ $status == 125 ]] || fail "status $status: $(<"$dir/words")"
}

expect() {
	grep -q -e "$1" "$dir/words" || fail "nothing says $1: $(<"$dir/words")"
}

users=("$(id -un)")
[[ $EUID != 0 ]] || users=(root nobody)
for who in "${users[@]}"; do
	for what in open exec socket kill code ring; do
		boot
		expect '"reason":"forbidden-call"'
		expect 'a system call that its jail forbids'
		! grep -q 'it lives on' "$dir/words" || fail 'the monitor was not killed'
	done
	# An error of our own is told from that.
	what=abort
	boot
	expect '"reason":"monitor-killed"'
	# And whether the test would see it.
	what=open
	boot --unsafe-no-jail
	expect 'it lives on, and has it'
	# Without anything of this, the guest comes to its end.
	what=nothing
	boot
	expect '"reason":"reset"'
done
