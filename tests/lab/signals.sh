# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# Signals to kvmbox, and the time limit: the workload is asked, then made to end, and what it wrote
# is clean all the same.

case_forwarded() {
	local signal
	for signal in TERM INT; do
		boot_async -- /bin/sh -c "trap 'echo got it; exit 3' $signal; echo ready; while :; do sleep 0.1; done"
		await_line '^ready$'
		kill -"$signal" "$pid"
		finish
		expect_status 3
		expect_stdout $'ready\ngot it\n'
		expect_stderr ''
	done
}

case_default_action() {
	boot_async -- /bin/sh -c 'echo ready; exec sleep 1000'
	await_line '^ready$'
	kill -HUP "$pid"
	finish
	expect_status 129
}

# A workload that ignores the signal has ten seconds, then it is killed; its root is clean.
case_ignored() {
	make_tree tree
	make_ext4 image 256M tree
	boot_async --rootfs image -- /bin/sh -c 'trap "" TERM; echo ready; while :; do dd if=/dev/zero of=/data bs=64k count=20 2>/dev/null; echo x >>/log; done'
	await_line '^ready$'
	kill -TERM "$pid"
	finish
	expect_status 137
	expect_stdout $'ready\n'
	fsck_clean image
}

# The second signal does not wait for the ten seconds, the third not even for a clean end.
case_again() {
	boot_async -- /bin/sh -c 'trap "" INT; echo ready; while :; do sleep 1; done'
	await_line '^ready$'
	kill -INT "$pid"
	sleep 1
	kill -0 "$pid" || fail "kvmbox ended although the workload ignored the signal"
	kill -INT "$pid"
	finish
	expect_status 137
}

has_monitor() {
	[[ -n $(<"/proc/$1/task/$1/children") ]]
}

# Before there is a workload to ask, the guest is simply ended.
case_early() {
	boot_async -- /bin/sh -c 'echo up; exec sleep 1000'
	await 60 "the monitor" has_monitor "$pid"
	kill -TERM "$pid"
	finish
	expect_status 143
	expect_stdout ''
}

case_timeout() {
	make_tree tree
	make_ext4 image 256M tree
	boot --timeout 30s --rootfs image -- /bin/sh -c 'echo ready; while :; do echo x >>/log; sleep 0.1; done'
	expect_status 124
	expect_stdout $'ready\n'
	expect_sentence 'time limit of 30 s'
	fsck_clean image

	boot --timeout 10ms -- /bin/true
	expect_status 124
	expect_sentence 'time limit'
}
