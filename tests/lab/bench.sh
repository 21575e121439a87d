# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # jq expands its own; lib.sh and run share variables
#
# kvmbox bench with all engines: those that have VMs, and the others as they are where cgroup v2 and AppArmor are. Times are of no
# interest here.
# shellcheck source=tests/lab/benchlib.sh
. "$lab/benchlib.sh"

limit_engines=600
limit_workloads=600

# slim_root: has $root be what a start takes alone, as Docker copies the whole of it, and does so on an emulated host for minutes.
slim_root() {
	need mkfs.erofs
	local name
	mkdir -p slim-root/usr/bin slim-root/usr/sbin slim-root/etc slim-root/{dev,proc,sys,run,tmp,data,root,var,mnt}
	modprobe -q erofs || true # unless it is built in
	mount_image "$root/root.erofs" slim ro
	for name in answer busybox sh mount ip true cat; do
		cp -P "slim/usr/bin/$name" slim-root/usr/bin/
	done
	cp slim/etc/passwd slim/etc/group slim-root/etc/
	ln -s usr/bin usr/sbin slim-root/
	root=$dir/slim-entry
	mkdir "$root"
	mkfs.erofs --quiet "$root/root.erofs" slim-root
	sha256sum "$root/root.erofs" | cut -d ' ' -f 1 >"$root/sha256"
}

case_engines() {
	need_root
	slim_root
	need_mem 3000
	bench --workload start --rounds 1
	all_measured
	expect '(.engines | length == 8) and (. as $all | .engines | all(.name as $e | $all.samples |
		any(.engine == $e and .metric == "first_answer" and .value > 0)))' \
		"an engine was not measured"
	[[ ${IN_LAB:-native} == native ]] || expect '.machine.virtualisation == "emulated"' "the emulated host is not taken for one"
}

case_workloads() {
	need_root
	need_mem 3000
	bench --engine kvmbox --rounds 1
	all_measured
	expect '(.workloads | length == 9) and (. as $all | .workloads | all(.name as $w | $all.samples + $all.outcomes | any(.workload == $w)))' \
		"a workload was not measured"
	expect '.outcomes | any(.what == "kernel panic" and .survived)' "the next machine did not survive a panic"
	expect '.samples | any(.metric | endswith("_exits"))' "exits were not counted"
	"$kvmbox" bench report results.json -o page.html
	[[ ${IN_LAB:-native} == native ]] || grep -q 'Virtualisation is emulated' page.html || fail "the page does not say so of the host"
}
