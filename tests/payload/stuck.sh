#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# stuck.sh KVMBOX GUEST: a monitor that does not go on, as in a frozen cgroup. It is asked for more than the channel to it
# holds; then what needs it is refused in words, the rest is answered, and it can be ended.
set -euo pipefail

# shellcheck source=tests/payload/lib.sh
. "$(dirname "$0")/lib.sh"

fail() {
	printf '%s\n' "$*" >&2
	exit 1
}

need_kvm
command -v jq >/dev/null || skip 'there is no jq'
kvmbox=$1 guest=$2
dir=$(mktemp -d)
export KVMBOX_STATE=$dir/state
trap 'kill -KILL "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT
"$kvmbox" boot --name a --mem 64M --kernel "$guest" --append halt -- true >"$dir/out" 2>"$dir/err" &
pid=$!
until monitor=$(jq -e .monitor_pid "$KVMBOX_STATE/a/state.json" 2>/dev/null); do
	kill -0 "$pid" || fail "it has ended: $(<"$dir/err")"
	sleep 0.1
done
sleep 0.3
kill -STOP "$monitor"
for _ in {1..40}; do
	timeout 60 "$kvmbox" stats --no-stream a >>"$dir/asked" 2>&1 &
	asked+=($!)
done
# Until the channel has been full for two seconds, there is no answer at all.
timeout 25 "$kvmbox" ps >"$dir/ps"
grep -q '^a ' "$dir/ps" || fail 'ps does not list it'
sleep 3
if timeout 25 "$kvmbox" stats --no-stream a 2>"$dir/stats"; then
	fail 'there are counters'
fi
[[ $(<"$dir/stats") == "kvmbox: a: the VM's monitor does not answer" ]] || fail "stats says $(<"$dir/stats")"
timeout 60 "$kvmbox" kill a >/dev/null || fail 'it cannot be killed'
status=0
wait "$pid" || status=$?
[[ $status == 137 ]] || fail "status $status: $(<"$dir/err")"
[[ -z $(ls "$KVMBOX_STATE") ]] || fail "something is left: $(ls "$KVMBOX_STATE")"
wait "${asked[@]}" || true
[[ $(sort "$dir/asked" | uniq | wc -l) -le 2 ]] || fail "stats says $(<"$dir/asked")"
