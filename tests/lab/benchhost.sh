# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # jq expands its own; lib.sh and run share variables
#
# kvmbox bench with engines that need no VM, on any host: every workload is measured, a planted slowdown is found, and
# whatever goes wrong is said and keeps what was measured.
# shellcheck source=tests/lab/benchlib.sh
. "$lab/benchlib.sh"

limit_engines=400
limit_workloads=400
limit_lab=600
limit_instructions=600

case_engines() {
	need_root
	# As on a host that has Docker of its own: of that dockerd would make use.
	if ! pgrep -x containerd; then
		containerd --root "$dir/containerd" --state "$dir/containerd-run" >/dev/null 2>&1 &
		await 20 "containerd" test -S /run/containerd/containerd.sock
	fi
	bench --engine host --engine lxc --engine lxc-hardened --engine runc --engine docker \
		--workload start --workload memory --rounds 1
	all_measured
	expect '. as $all | .engines[] | .name as $e | $all.metrics | map(select(.metric != "fit" and .metric != "host" and
		(.metric | endswith("exits") | not) and (.metric | test("instructions|cycles") | not)) | .metric as $m | $all.samples |
		any(.engine == $e and .metric == $m)) | all' "something was not measured in each"
}

case_workloads() {
	need_root
	bench --engine runc --workload cpu --workload disk --workload net --workload http --workload postgres \
		--workload neighbour --workload containment --mem 256M --rounds 1
	all_measured
	expect '. as $all | .workloads | all(.name as $w | $all.samples + $all.outcomes | any(.workload == $w))' "a workload was not measured"
	expect '.outcomes | any(.what == "kernel panic" and .survived == null)' "a panic of the host was tried"
	"$kvmbox" bench report results.json -o page.html
	grep -q '</html>' page.html || fail "there is no page"
}

# Whether a slowdown is found, and none between an engine and itself; and one from a run to the next.
case_planted() {
	local compared
	need_root
	python3 -B "$lab/bench_planted.py" "$lab/../../bench" "$root" "$dir"

	bench --engine runc --workload start --rounds 6
	all_measured
	mv results.json before.json
	mkdir bin
	printf '#!/bin/sh\n[ "$1" != run ] || sleep 0.3\nexec %s "$@"\n' "$(command -v runc)" >bin/runc
	chmod +x bin/runc
	PATH=$dir/bin:$PATH bench --engine runc --workload start --rounds 6
	all_measured
	status=0
	compared=$("$kvmbox" bench compare before.json results.json) || status=$?
	printf '%s\n' "$compared"
	[[ $status == 1 ]] || fail "compare ended with status $status"
	grep -q 'Start to first instruction' <<<"$compared" || fail "compare does not name what is slower"
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
	start_bench --dir "$dir" --engine host --engine runc --workload start --rounds 1000
	await 60 "a round" has_samples
	kill -INT "$pid"
	finish_bench
	[[ $status == 1 ]] || fail "it ended with status $status"
	expect '(.complete | not) and .why_incomplete == "interrupted by the user" and (.samples | length > 0)' "it is not told"
	grep -q 'interrupted by the user: what was measured until then is in results.json' "$err" || fail "it is not said"
	nothing_left
}

# bench_lab OPTION...: a short run on an emulated host, with the results in results.json.
bench_lab() {
	status=0
	KVMBOX_CACHE=$LAB_HOST_CACHE "$kvmbox" bench --lab --short --rounds 1 --warm-up 0 --mem 128M -o results.json "$@" \
		>"$out" 2>"$err" || status=$?
	cat "$out" "$err"
	[[ $status == 0 ]] || fail "it ended with status $status"
}

# An emulated host, which a container that shares its kernel crashes in the end, as it is asked to: what was measured is kept.
case_lab() {
	need_root
	bench_lab --engine lxc --workload containment --panic-host
	expect '.complete and .machine.virtualisation == "emulated" and (.command | index("--lab"))' "it is not the emulated host's run"
	expect '.outcomes | length == 3 and any(.what == "kernel panic" and .survived == false and .words == "the host went down with it")' \
		"the crash is not told"
	expect '[.outcomes[] | select(.what != "kernel panic") | .survived] == [true, true]' "what was measured before is lost"
}

# An emulated host counts them by itself: a kernel boots in some millions, with the host's around it.
case_instructions() {
	need_root
	bench_lab --engine kvmbox --workload start
	expect '[.samples[] | select(.metric | test("^first_instruction_(guest|host)_instructions$")) | .value > 5e6 and .value < 1e9]
		== [true, true]' "instructions are not counted"
	expect '.machine.not_counted == ["an emulated processor has no cycles"]' "it is not told what is not counted"
}

# Nobody is asked first: what was measured is there, and the next run tells what is left behind.
case_killed() {
	local children
	need_root
	start_bench --dir "$dir" --engine host --workload start --rounds 1000
	await 60 "a round" has_samples
	kill -STOP "$pid"
	mapfile -t children < <(pgrep -P "$pid")
	kill -KILL "$pid"
	wait "$pid" || true
	[[ ${#children[@]} == 0 ]] || kill -KILL "${children[@]}"
	expect '(.complete | not) and .why_incomplete == "it was broken off" and (.samples | length > 0)' "what was measured is lost"
	bench --engine host --workload start --rounds 1 -o next.json
	[[ $status == 0 ]] || fail "the next run ended with status $status"
	grep -q 'a run that was killed has left .*kvmbox-bench\.' "$err" || fail "what is left is not said"
	rm -rf kvmbox-bench.*
}

# Whoever reads what it says is gone: it ends, and cleans up.
case_reader_gone() {
	need_root
	mkfifo said
	out=said start_bench --dir "$dir" --rounds 1000 --engine runc --engine docker --workload start
	sed '/^round 1 /q' said >/dev/null
	finish_bench
	[[ $status == 125 ]] || fail "it ended with status $status"
	has_samples || fail "what was measured is lost"
	nothing_left
}

# A wrong parameter is known before anything is touched.
case_nonsense() {
	need_root
	bench --engine host --workload start --rounds 1
	all_measured
	sha256sum results.json >before
	bench --engine host --workload start --rounds none
	[[ $status == 125 ]] || fail "it ended with status $status"
	grep -q '^kvmbox: bench: --rounds takes a whole number from 1 to 10000, not "none"$' "$err" || fail "it is not said"
	sha256sum --quiet -c before || fail "the results of the run before are lost"
	nothing_left
}

# has_samples [FILE]
has_samples() {
	jq -e '.samples | length > 0' "${1:-results.json}" >/dev/null 2>&1
}

# fill: takes all that is left of data; fails where more has been written to it meanwhile.
fill() {
	fallocate -l "$(df -B 1 --output=avail data | tail -n 1)" data/filler 2>/dev/null
}

# The file system of the results is full, and then that of what is measured.
case_full_disk() {
	need_root
	mkdir small data
	mount -t tmpfs -o size=256k small small
	mounts+=("$dir/small")
	start_bench --dir "$dir" -o small/results.json --engine host --workload start --rounds 1000
	await 60 "a round" has_samples small/results.json
	head -c 1M /dev/zero >small/filler || true
	finish_bench
	[[ $status == 125 ]] || fail "it ended with status $status"
	grep -q 'cannot write small/results.json: No space left on device; what it held before is still there' "$err" || fail "it is not said"
	has_samples small/results.json || fail "what was there is lost"
	nothing_left

	mount -t tmpfs -o size=1M data data
	mounts+=("$dir/data")
	start_bench --dir data --engine host
	finish_bench
	[[ $status == 125 ]] || fail "it ended with status $status"
	grep -q 'data has 1 MiB left, and 512 MiB are needed: choose another --dir' "$err" || fail "it is not said"

	mount -o remount,size=600M data
	start_bench --dir data --engine host --workload start --workload disk --rounds 1
	await 60 "the beginning" test -s results.json
	await 20 "a full disk" fill
	finish_bench
	[[ $status == 1 ]] || fail "it ended with status $status"
	expect '.failures | length == 1 and .[0].workload == "disk" and (.[0].why | contains("No space left"))' "the failure is not told"
	expect '.samples | any(.workload == "start")' "what was measured is lost"
	rm data/filler
	nothing_left
}
