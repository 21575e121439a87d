# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # lib.sh and run share variables
#
# kvmbox bench with real engines: all of them start something, all workloads are measured, a planted slowdown is found,
# and whatever goes wrong is said and keeps what was measured. Times are of no interest here.

limit_engines=600
limit_workloads_kvmbox=900
limit_workloads_container=600
limit_planted=300

# need_root: sets $root to the root file system of all engines, which kvmbox bench --setup has made outside.
need_root() {
	need python3
	root=$(find "$host_cache/bench-root" -mindepth 1 -maxdepth 1 -type d -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2)
	[[ -n $root ]] || skip "there is no root file system: kvmbox bench --setup makes it"
}

# bench OPTION...: a short run with the results in results.json; $out and $err are its output, $status its exit status.
bench() {
	status=0
	"$kvmbox" bench --root "$root" --dir "$dir" --short --warm-up 0 -o results.json "$@" >"$out" 2>"$err" || status=$?
	cat "$out" "$err"
}

# expect JQ WHAT: fails where the results are not like that.
expect() {
	jq -e "$1" results.json >/dev/null || fail "$2: $(jq -c '[.engines[] | select(.missing) | .missing], .failures, .why_incomplete' results.json)"
}

# nothing_left: what a run makes is gone.
nothing_left() {
	! grep kvmbox-bench /proc/mounts || fail "something is still mounted"
	! ip link show | grep kbench || fail "its network is still there"
	! ip netns list | grep kbench || fail "a network namespace is still there"
	! pgrep -fl 'kbench-[0-9]' || fail "some of its processes are still there"
	! find /sys/fs/cgroup -type d -name '*kbench-*' | grep . || fail "some of its cgroups are still there"
	! find "$dir" -maxdepth 1 -name 'kvmbox-bench.*' | grep . || fail "some of its files are still there"
}

case_engines() {
	need_root
	bench --workload start --workload memory --rounds 1
	[[ $status == 0 ]] || fail "it ended with status $status"
	expect '[.engines[] | select(.missing)] == []' "an engine is missing"
	expect '.complete and .failures == []' "something failed"
	expect '. as $all | .engines | all(.name as $e | $all.samples |
		any(.engine == $e and .metric == "first_answer" and .value > 0) and any(.engine == $e and .metric == "idle" and .value > 0))' \
		"an engine was not measured"
	expect '.machine.virtualisation == (if env.IN_LAB == "amdv" then "emulated" else .machine.virtualisation end)' \
		"the emulated host is not taken for one"
	nothing_left
}

# workloads ENGINE: all of them, once.
workloads() {
	need_root
	bench --engine "$1" --rounds 1
	[[ $status == 0 ]] || fail "it ended with status $status"
	expect '.complete and .failures == []' "something failed"
	expect '. as $all | .workloads | all(.name as $w | $all.samples + $all.outcomes | any(.workload == $w))' "a workload was not measured"
	nothing_left
	"$kvmbox" bench report results.json -o page.html
	grep -q '</html>' page.html || fail "there is no page"
}

case_workloads_kvmbox() {
	workloads kvmbox
}

case_workloads_container() {
	workloads runc
}

# Whether a slowdown is found, and none between an engine and itself.
case_planted() {
	need_root
	need_cgroups
	python3 -B "$lab/bench_planted.py" "$lab/../../bench" "$root" "$dir" "$cgroups"
}

case_broken_engine() {
	need_root
	mkdir bin
	printf '#!/bin/sh\n[ "$1" != --version ] || exec echo 1.1\necho "no such luck" >&2\nexit 1\n' >bin/runc
	chmod +x bin/runc
	PATH=$dir/bin:$PATH bench --engine host --engine runc --workload start --rounds 2
	[[ $status == 1 ]] || fail "it ended with status $status"
	expect '.complete and (.failures | length == 1) and .failures[0].engine == "runc" and (.failures[0].why | contains("no such luck"))' \
		"the failure is not told"
	expect '[.samples[] | select(.engine == "host" and .metric == "first_answer") | .round] == [0, 1]' \
		"the other engine was not measured on"
	grep -q 'no such luck' "$out" || fail "the failure is not shown"
	nothing_left
}

case_interrupted() {
	need_root
	"$kvmbox" bench --root "$root" --dir "$dir" --short --warm-up 0 -o results.json --engine host --engine runc \
		--workload start --rounds 1000 >"$out" 2>"$err" &
	pid=$!
	await 60 "a round" has_samples
	kill -INT "$pid"
	status=0
	wait "$pid" || status=$?
	cat "$out" "$err"
	[[ $status == 1 ]] || fail "it ended with status $status"
	expect '(.complete | not) and .why_incomplete == "interrupted by the user" and (.samples | length > 0)' "it is not told"
	grep -q 'interrupted by the user: what was measured until then is in results.json' "$err" || fail "it is not said"
	nothing_left
}

has_samples() {
	jq -e '.samples | length > 0' results.json >/dev/null 2>&1
}

# The file system of the results is full, and then that of what is measured.
case_full_disk() {
	need_root
	mkdir small data
	mount -t tmpfs -o size=256k small small
	mounts+=("$dir/small")
	cd small
	(
		until [[ -s results.json ]]; do nap 0.2; done
		head -c 1M /dev/zero >filler || true
	) &
	bench --engine host --workload start --rounds 3
	wait
	cd ..
	[[ $status == 125 ]] || fail "it ended with status $status"
	grep -q 'cannot write results.json: No space left on device; what it held before is still there' "$err" || fail "it is not said"
	jq -e '.schema == "kvmbox-bench-1"' small/results.json >/dev/null || fail "what was there is lost"
	nothing_left

	mount -t tmpfs -o size=1M data data
	mounts+=("$dir/data")
	status=0
	"$kvmbox" bench --root "$root" --dir data --engine host --short 2>"$err" || status=$?
	[[ $status == 125 ]] || fail "it ended with status $status"
	grep -q 'data has 1 MiB left, and 512 MiB are needed: choose another --dir' "$err" || fail "it is not said: $(<"$err")"

	mount -o remount,size=600M data
	(
		until compgen -G 'data/kvmbox-bench.*/data/*' >/dev/null; do nap 0.1; done
		head -c 1G /dev/zero >data/filler || true
	) 2>/dev/null &
	"$kvmbox" bench --root "$root" --dir data --short --warm-up 0 -o results.json --engine host --workload start --workload disk \
		--rounds 1 >"$out" 2>"$err" || status=$?
	wait
	cat "$out" "$err"
	[[ $status == 1 ]] || fail "it ended with status $status"
	expect '.failures | length == 1 and .[0].workload == "disk" and (.[0].why | contains("No space left"))' "the failure is not told"
	expect '.samples | any(.workload == "start")' "what was measured is lost"
	rm data/filler
	nothing_left
}
