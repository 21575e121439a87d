# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# VMs in the background, and the commands for them.

# kv ARG...: runs kvmbox: $out and $err are its output, $status its exit status.
kv() {
	last_command="kvmbox $*"
	status=0
	"$kvmbox" "$@" >"$out" 2>"$err" || status=$?
}

# end STATUS: shows the last command of a case that failed.
end() {
	if [[ $1 != 0 ]]; then
		printf 'the last command: %s\nits status: %s\n' "$last_command" "$status"
		head -c 2000 "$out" "$err"
	fi
	case_end "$1"
}

# begin NAME ARG...: boots a VM in the background, which goes with the case.
begin() {
	own_state
	trap 'end $?' EXIT
	kv boot -d --name "$@"
	expect_status 0
	expect_stdout "$1"$'\n'
}

# has_logged NAME REGEX
has_logged() {
	"$kvmbox" logs "$1" | grep -Eq "$2"
}

# is_status NAME WORD
is_status() {
	[[ $("$kvmbox" ps -a | awk -v name="$1" '$1 == name { print $2 }') == "$2" ]]
}

counter='echo begun; echo oops >&2; trap "echo got TERM; exit 3" TERM; trap "echo got HUP" HUP
	i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.2; done'

case_life() {
	begin a -- sh -c "$counter"
	await 60 "its first words" has_logged a begun
	has_logged a '^oops$' || fail "standard error is not in the log"
	kv ps
	expect_line '^NAME +STATUS +COMMAND'
	expect_line '^a +running [0-9]+ (s|min) +sh -c echo begun'
	kv boot -d --name a -- true
	expect_status 125
	expect_sentence 'there is a VM called "a" already'
	kv rm a
	expect_status 125
	expect_sentence 'the VM "a" is alive'
	kv kill -s HUP a
	expect_status 0
	await 60 "the signal" has_logged a 'got HUP'
	kv kill -s NOPE a
	expect_status 125
	expect_sentence 'there is no signal NOPE'
	kv logs -n 1 a
	[[ $(wc -l <"$out") == 1 ]] || fail "it printed more than one line"
	kv stop -t 60 a
	expect_status 0
	expect_stdout $'a\n'
	kv ps
	[[ $(wc -l <"$out") == 1 ]] || fail "it is still listed"
	kv ps -a
	expect_line '^a +exited \(3\) [0-9]+ s ago'
	kv logs -n 1 a
	expect_stdout $'got TERM\n'
	kv wait a
	expect_stdout $'3\n'
	kv inspect a
	expect_line '"exit_status":3'
	kv exec a true
	expect_status 125
	expect_sentence 'the VM "a" is not running'
	kv stop a
	expect_status 0
	kv boot -d --name a -- true
	expect_status 125
	expect_sentence 'has ended and left its logs'
	kv rm a b
	expect_status 125
	expect_sentence 'there is no VM called "b"'
	expect_stdout $'a\n'
	kv ps -aq
	expect_stdout ''
}

case_pause() {
	local seen
	begin a -- sh -c "$counter"
	await 60 "its first words" has_logged a begun
	kv pause a
	expect_status 0
	is_status a paused || fail "it is not shown as paused"
	seen=$("$kvmbox" logs a | wc -l)
	sleep 1
	[[ $("$kvmbox" logs a | wc -l) == "$seen" ]] || fail "it runs on"
	kv pause a
	expect_status 125
	expect_sentence 'paused already'
	kv stats --no-stream a
	expect_status 0
	kv resume a
	expect_status 0
	await 60 "more ticks" has_logged a "tick $((seen + 3))"
}

case_wait() {
	begin a -- sh -c 'sleep 3; exit 9'
	"$kvmbox" boot -d --rm --name b -- sh -c 'sleep 3; kill -9 $$' >/dev/null
	kv wait a b
	expect_status 0
	expect_stdout $'9\n137\n'
	kv ps -aq
	expect_stdout $'a\n'
}

# Without a word: its supervisor is killed, and the monitor goes with it.
case_died() {
	local pid
	begin a -- sh -c "$counter"
	await 60 "its first words" has_logged a begun
	pid=$("$kvmbox" inspect a | sed -n 's/.*"pid":\([0-9]*\).*/\1/p')
	kill -KILL "$pid"
	await 20 "its death" is_status a died
	kv logs -n 1 a
	expect_status 0
	expect_line '^tick'
	kv wait a
	expect_status 125
	expect_sentence 'ended without an exit status'
	kv rm a
	expect_status 0
}

case_exec() {
	begin a -- sleep 1000
	kv exec a sh -c 'echo out; echo err >&2; exit 7'
	expect_status 7
	expect_stdout $'out\n'
	expect_stderr $'err\n'
	kv exec a nosuch
	expect_status 127
	expect_sentence nosuch
	kv exec a /etc/passwd
	expect_status 126
	kv exec --env A=b --env NONE_LIKE_THIS --workdir /tmp a -- sh -c 'echo "$A"; pwd; kill -9 $$'
	expect_status 137
	expect_stdout $'b\n/tmp\n'
	kv exec a cat
	expect_status 0
	head -c 1000000 /dev/urandom >blob
	kv exec -i a cat <blob
	expect_status 0
	expect_same blob "$out"
	[[ $("$kvmbox" exec a yes | head -n 1) == y ]] || fail "yes | head"
	kv exec -it a true </dev/null
	expect_status 125
	expect_sentence 'wants a terminal'
}

case_exec_signal() {
	begin a -- sleep 1000
	"$kvmbox" exec a sh -c 'trap "echo INT; exit 5" INT; echo ready; while :; do sleep 0.1; done' >"$out" 2>"$err" &
	pid=$!
	await_line ready
	kill -TERM "$pid" # which the shell has no trap for
	status=0
	wait "$pid" || status=$?
	expect_status 143
}

case_attach() {
	begin a -i -- sh -c 'cat; echo bye >&2; exit 5'
	(
		sleep 2
		echo typed
	) | kv attach a
	status=0
	"$kvmbox" wait a >"$out"
	expect_stdout $'5\n'
	kv logs a
	expect_line '^typed$'
	expect_line '^bye$'
}

case_attach_output() {
	begin a -i -- sh -c 'read x; echo "got $x"; echo err >&2; exit 6'
	status=0
	(
		sleep 2
		echo word
	) | "$kvmbox" attach a >"$out" 2>"$err" || status=$?
	expect_status 6
	expect_stdout $'got word\n'
	expect_stderr $'err\n'
}

case_cp() {
	begin a -- sleep 1000
	mkdir -p d/sub/empty
	head -c 1000000 /dev/urandom >d/sub/blob
	echo text >d/file
	chmod 751 d/file
	ln -s file d/link
	ln -s /etc/passwd d/away
	touch -d @1000000000 d/file
	kv cp d a:/tmp/
	expect_status 0
	kv cp a:/tmp/d back
	expect_status 0
	diff -r --no-dereference d back
	[[ $(stat -c '%a %Y' back/file) == '751 1000000000' ]] || fail "mode or time is lost"
	kv cp d/. a:/tmp/e
	expect_status 0
	kv cp d/. a:/tmp/e/
	expect_status 0
	kv exec a ls /tmp/e
	expect_stdout $'away\nfile\nlink\nsub\n'
	kv cp a:/tmp/e/. back
	expect_status 0
	diff -r --no-dereference d back
	mkdir here
	(cd here && kv cp a:/tmp/e/. . && diff -r --no-dereference ../d .)
	kv cp a:/tmp/d/file/. here
	expect_status 1
	expect_sentence 'Not a directory'
	kv cp a:tmp/d/link link
	[[ -L link ]] || fail "a symbolic link was followed"
	kv cp -L a:tmp/d/link file
	expect_same file d/file
	kv cp a:/nosuch .
	expect_status 1
	expect_sentence 'No such file'
	kv cp d a:/no/such/dir
	expect_status 1
	expect_sentence 'No such file'
	kv cp d e
	expect_status 125
	kv cp a:/x a:/y
	expect_status 125
}

case_logs_follow() {
	begin a -- sh -c 'echo one; sleep 4; echo two'
	kv logs -f a
	expect_status 0
	expect_stdout $'one\ntwo\n'
	kv wait a
	kv logs -f a
	expect_stdout $'one\ntwo\n'
}

case_stats() {
	begin a -- sh -c 'while :; do :; done'
	kv stats --no-stream
	expect_status 0
	expect_line '^NAME +CPU +MEM'
	expect_line '^a +[0-9.]+% +[0-9.]+ MiB +[0-9.]+ MiB / [0-9.]+ MiB'
	kv stats --json a
	expect_line '"cpu_s":'
	kv stats nosuch
	expect_status 125
	expect_sentence 'there is no VM called'
}

case_terminal() {
	[[ -x /usr/bin/python3 ]] || skip "/usr/bin/python3 is not installed"
	begin a -i -t -- sh
	/usr/bin/python3 -I "$lab/terminal.py" attach "$kvmbox" 2>"$dir/.why" || exit 1
	is_status a running || fail "it does not run on"
}

# thread_facts PID: name, seccomp and no_new_privs of a process's threads but the kernel's own, as the page has them.
thread_facts() {
	local thread mode
	for thread in /proc/"$1"/task/*; do
		(($(sed 's/.*) //' "$thread/stat" | cut -d ' ' -f 7) & 0x4010)) && continue
		mode=$(awk '$1 == "Seccomp:" { print $2 ? "filter" : "none" }' "$thread/status")
		printf '%s %s %s\n' "$(<"$thread/comm")" "$mode" \
			"$(awk '$1 == "NoNewPrivs:" { print $2 ? "yes" : "no" }' "$thread/status")"
	done | sort
}

case_audit() {
	local monitor seen
	truncate -s 1M ro.img rw.img
	begin a --disk "$PWD/ro.img,ro" --disk rw.img -- sleep 1000
	kv audit a
	[[ $status == [01] ]] || fail "the exit status is $status"
	monitor=$("$kvmbox" inspect a | sed -n 's/.*"monitor_pid":\([0-9]*\).*/\1/p')
	expect_line "^Monitor: process $monitor, kvmbox-vmm"
	expect_line "^  read-only  +$PWD/ro.img: open for reading"
	expect_line '^  writable +rw.img: open for writing'
	seen=$(sed -n '/^Monitor:/,/^Supervisor:/p' "$out" |
		awk '$3 ~ /^(loop|vcpu|queue|other)$/ && $1 + 0 { print $2, $4, $4 == "filter" ? $6 : $5 }' | sort)
	[[ $seen == "$(thread_facts "$monitor")" ]] || fail "the threads on the page are: $seen"
	if grep -qw mitigations=off /proc/cmdline; then
		expect_status 1
		expect_line '^ +[0-9]+  mitigations '
	fi
	kv audit --json a
	expect_line '"schema":1'
	expect_line "\"monitor\""
	if [[ $(readlink "/proc/$monitor/ns/mnt") == "$(readlink /proc/self/ns/mnt)" ]]; then
		expect_line 'no mnt namespace of its own'
	fi
	kv stop a
	kv audit a
	expect_status 125
	expect_sentence 'the VM "a" is not running'
	kv audit
	expect_status 125
	expect_sentence 'the name of a VM is missing'
}
