# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154  # lib.sh and run share variables
#
# What the topics about kvmbox bench share.

# need_root: sets $root to the root file system of all engines, which kvmbox bench --setup has made; and waits until no other
# case measures, as they would refuse to at once.
need_root() {
	local fd
	need python3 jq
	[[ $EUID == 0 ]] || skip "kvmbox bench needs root"
	root=$(find "$LAB_HOST_CACHE/bench-root" -mindepth 1 -maxdepth 1 -type d -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2)
	[[ -n $root ]] || skip "there is no root file system: kvmbox bench --setup makes it"
	# On the way to their root some containers are nobody in particular.
	chmod o+x "$dir/../.." "$dir/.." "$dir"
	exec {fd}>/run/kvmbox-bench-test.lock
	flock "$fd"
}

# bench OPTION...: a short run with the results in results.json; $out and $err are its output, $status its exit status.
bench() {
	start_bench --dir "$dir" "$@"
	finish_bench
}

# start_bench OPTION...: the same, without waiting for its end; $pid is its process, whose number is in the names of all it makes.
start_bench() {
	"$kvmbox" bench --root "$root" --short --warm-up 0 -o results.json "$@" >"$out" 2>"$err" &
	pid=$!
}

finish_bench() {
	status=0
	wait "$pid" || status=$?
	cat "$out" "$err"
}

# expect JQ WHAT: fails where the results are not like that.
expect() {
	jq -e "$1" results.json >/dev/null ||
		fail "$2: $(jq -c '[.engines[].missing | select(.)], .failures, .why_incomplete' results.json | tr '\n' ' ')"
}

# all_measured: fails unless the run of bench was complete, without a failure, and left nothing behind.
all_measured() {
	expect '[.engines[] | select(.missing)] == []' "an engine is missing"
	expect '.complete and .failures == []' "something failed"
	[[ $status == 0 ]] || fail "it ended with status $status"
	nothing_left
}

# nothing_left: what the last run has made is gone.
nothing_left() {
	! grep kvmbox-bench /proc/mounts || fail "something is still mounted"
	! ip link show | grep kbench || fail "its network is still there"
	! ip netns list | grep "kbench-$pid-" || fail "a network namespace is still there"
	! pgrep -fl "kbench-$pid-" || fail "some of its processes are still there"
	! find /sys/fs/cgroup -type d -name "*kbench-$pid-*" | grep . || fail "some of its cgroups are still there"
	! grep -s "kbench-$pid-" /sys/kernel/security/apparmor/profiles || fail "a profile of AppArmor is still loaded"
	! find "$dir" -maxdepth 2 -name 'kvmbox-bench.*' | grep . || fail "some of its files are still there"
}
