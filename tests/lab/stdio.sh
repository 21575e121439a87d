# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# Standard streams: whole, in order, to their end, however the other side behaves.

case_stdin_1m() {
	head -c 1048576 /dev/urandom >data
	boot -- cat <data
	expect_status 0
	expect_same data "$out"
	expect_stderr ''
}

# What is typed later arrives later, and the end of input is the end of input.
case_stdin_in_parts() {
	boot_async -- /bin/sh -c 'read -r x; echo "first $x"; read -r y; echo "second $y"; cat; echo end'
	echo one >&7
	await_line '^first one$'
	echo two >&7
	await_line '^second two$'
	printf 'no newline' >&7
	exec 7>&-
	finish
	expect_status 0
	expect_stdout $'first one\nsecond two\nno newlineend\n'
}

# Both streams at once, 8 MiB and 2 MiB: neither loses a byte nor holds the other up.
case_stdout_8m() {
	boot --mem 128M -- /bin/sh -c '
		head -c 8388608 /dev/urandom >/tmp/o
		head -c 2097152 /dev/urandom >/tmp/e
		cat /tmp/e >&2 &
		cat /tmp/o
		wait
		md5sum /tmp/o /tmp/e'
	expect_status 0
	head -c 8388608 "$out" | md5sum | cut -c 1-32 >sums
	md5sum <"$err" | cut -c 1-32 >>sums
	tail -c +8388609 "$out" | cut -c 1-32 >told
	expect_same sums told
}

# A reader that stops for a while stops the guest's writer, not the guest.
case_stalled_reader() {
	local last_boot=' (piped into a slow reader)'
	"$kvmbox" boot -- /bin/sh -c 'head -c 6000000 /dev/zero; echo done >&2; exit 3' 2>"$err" |
		{ sleep 8; wc -c; } >"$out" || status=$?
	expect_status 3
	expect_stdout $'6000000\n'
	expect_stderr $'done\n'
}

# A reader that goes away is to the workload what a closed pipe is to any program.
case_closed_reader() {
	local last_boot=' (piped into head)'
	"$kvmbox" boot -- yes 2>"$err" | head -n 1 >"$out" || status=$?
	expect_status 141
	expect_stdout $'y\n'
	expect_stderr ''
}

# A workload that does not read its input ends all the same.
case_unread_stdin() {
	status=0
	last_boot=' (fed by yes)'
	yes | head -c 3000000 | "$kvmbox" boot -- /bin/sh -c 'exit 4' >"$out" 2>"$err" || status=${PIPESTATUS[2]}
	expect_status 4
}

# Streams that the caller has closed are /dev/null, not the next file that kvmbox opens.
case_closed_streams() {
	boot -- /bin/sh -c 'cat; echo hi' <&-
	expect_status 0
	expect_stdout $'hi\n'
	status=0
	"$kvmbox" boot -- /bin/sh -c 'echo hi; exit 6' >&- 2>"$err" || status=$?
	expect_status 6
	expect_stderr ''
}
