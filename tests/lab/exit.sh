# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# How a workload is started, where it finds itself, and how its end becomes kvmbox's exit status.

case_hello() {
	boot -- /bin/sh -c 'echo hi; exit 7'
	expect_status 7
	expect_stdout $'hi\n'
	expect_stderr ''
}

# Everything around the workload, in one boot.
case_surroundings() {
	export LAB_GIVEN=inherited
	boot --name box-1 --workdir /tmp --env A=b --env 'B=two words' --env LAB_GIVEN --env A=c \
		-- /bin/sh -c '
			echo "$A|$B|$LAB_GIVEN|$HOSTNAME|$(hostname)|$(pwd)|$(id -u)"
			printf "<%s>" "$@"; echo
			echo words for stderr >&2
			test -t 0 || test -t 1 || echo no terminal
			cat /dev/null && : >/dev/shm/x && mkdir /run/x && echo writable >/new && cat /new
			grep -c . /proc/mounts >/dev/null && ls -d /sys/block/vda
		' sh '' 'a  b' $'x\ny' 'ü"$'
	expect_status 0
	expect_stdout $'c|two words|inherited|box-1|box-1|/tmp|0\n<><a  b><x\ny><ü"$>\nno terminal\nwritable\n/sys/block/vda\n'
	expect_stderr $'words for stderr\n'
}

# PID 1 reaps whom their parents left, and no process outlives the workload.
case_orphans_reaped() {
	boot -- /bin/sh -c '
		for i in 1 2 3 4 5 6 7 8; do
			(sh -c "sleep 0.2; exit $i" &)
		done
		sleep 3
		# Counted by what the kernel says, before this shell makes more of them.
		grep -l "^State:.Z" /proc/[0-9]*/status
		tr "\0" "\n" </proc/1/cmdline | head -n 1
		(sleep 1000; echo too late) &
		exit 0'
	expect_status 0
	expect_stdout $'/init\n'
}

case_not_found() {
	boot -- no-such-command
	expect_status 127
	expect_stdout ''
	expect_sentence 'no-such-command'
	boot -- /no/such/path
	expect_status 127
	expect_sentence '/no/such/path'
}

case_not_executable() {
	boot -- /etc/passwd
	expect_status 126
	expect_stdout ''
	expect_sentence '/etc/passwd.*[Pp]ermission'
}

case_no_workdir() {
	boot --workdir /not/there -- /bin/true
	expect_status 125
	expect_sentence '/not/there'
}

case_killed_by_signal() {
	boot -- /bin/sh -c 'kill -SEGV $$'
	expect_status 139
	expect_stderr ''
	boot -- /bin/sh -c 'kill -KILL $$'
	expect_status 137
}

# The last line of standard error is the report.
case_json() {
	need jq
	boot --json --name reported -- /bin/sh -c 'echo words >&2; exit 5'
	expect_status 5
	expect_stdout ''
	[[ $(head -n 1 "$err") == words ]] || fail "the workload's own line is not first on standard error"
	tail -n 1 "$err" >report.json
	jq -e '.name == "reported" and .status == 5 and .reason == "exited" and (has("error") | not)' \
		report.json || fail "the report names another end"
	jq -e '[(.stages_ms | .setup, .boot, .start, .run, .end, .total), .setup_cpu_ms] | all(type == "number" and . >= 0)' \
		report.json || fail "a stage is missing from the report"
	jq -e '.exits | .all > 0 and .all >= .user and .user >= .pio + .mmio' \
		report.json || fail "the report's numbers of exits are not plausible"

	boot --json --append rdinit=/nonexistent
	expect_status 125
	grep '^{' "$err" >report.json || fail "there is no report of a panic"
	jq -e '.status == 125 and .reason == "panic" and (.error | test("panic"))' report.json ||
		fail "the report does not tell of the panic"
}

case_check() {
	local vendor=VT-x
	grep -qw svm /proc/cpuinfo && vendor=AMD-V
	"$kvmbox" check >"$out" 2>"$err" || fail "kvmbox check says that this host cannot run guests"
	expect_line "$vendor"
	expect_stderr ''
	need jq
	"$kvmbox" check --json | jq -e '.can_run == true and (.checks | length > 5)' ||
		fail "the JSON of kvmbox check is not plausible"
}
