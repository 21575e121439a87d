#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# scarce.sh KVMBOX GUEST: a host that has too little of something for a machine to start, from nothing up to enough of it.
# Each time there is one sentence, the status is 125, and nothing is left.
set -euo pipefail

# shellcheck source=tests/payload/lib.sh
. "$(dirname "$0")/lib.sh"

fail() {
	printf '%s: %s\n' "$what" "$*" >&2
	exit 1
}

need_kvm
kvmbox=$1 guest=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
truncate -s 4M "$dir/disk"
export KVMBOX_STATE=$dir/state

# boot ULIMIT VALUE: true when there is enough, and the guest has run.
boot() {
	local status=0
	what="ulimit $1 $2"
	(
		ulimit "$1" "$2"
		exec "$kvmbox" boot --mem 64M --kernel "$guest" --disk "$dir/disk" -- true >"$dir/out" 2>"$dir/err"
	) || status=$?
	[[ $status == 125 ]] || fail "status $status: $(<"$dir/err")"
	[[ ! -s $dir/out ]] || fail "it writes to standard output: $(<"$dir/out")"
	[[ -z $(ls "$KVMBOX_STATE" 2>/dev/null) ]] || fail "something is left: $(ls "$KVMBOX_STATE")"
	! grep -q 'the guest reset' "$dir/err" || return 0
	[[ $(wc -l <"$dir/err") == 1 && $(<"$dir/err") == kvmbox:\ * ]] || fail "it does not say so in one sentence: $(<"$dir/err")"
	! grep -Eq 'killed by|without a word' "$dir/err" || fail "$(<"$dir/err")"
	sed -n 's/^kvmbox: \([^:]*\).*/\1/p' "$dir/err" >>"$dir/said"
	return 1
}

# Open files: one more each time, as far as the monitor's own, and then what its ring asks for.
for n in {8..48} 128 256 512 1024; do
	! boot -n "$n" || break
	((n < 1024)) || fail "it is never enough"
done
((n > 48)) || fail "$n descriptors are enough: the test is void"
# Address space in KiB, from what the program itself needs.
for ((n = 16384; ; n += 8192)); do
	((n < 4000000)) || fail "it is never enough"
	! boot -v "$n" || break
done
((n > 65536)) || fail "$n KiB are enough: the test is void"
sort "$dir/said" | uniq -c
