# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# Machines in the background, and the commands and the control socket by which they are reached.
# shellcheck source=tests/lab/netlib.sh
. "$lab/netlib.sh"

state=/run/kvmbox/vm

# own_state: gives the case a directory of machines of its own. The first thing in a case, which begins
# anew in it.
own_state() {
	[[ -n ${OWN_STATE:-} ]] ||
		OWN_STATE=1 exec unshare --mount bash "$lab/run" --case "$kvmbox" "$topic/$case_name" "$dir"
	mkdir -p /run/kvmbox
	mount -t tmpfs own /run/kvmbox
}

# api VM ARG...: what curl says to the control socket of a machine.
api() {
	local vm=$1
	shift
	curl -sS -m 60 --unix-socket "$state/$vm/control.sock" "$@"
}

vm() {
	"$kvmbox" "$@"
}

status_of() {
	vm ps -a --json | jq -r --arg n "$1" '.[] | select(.name == $n) | .status'
}

# nothing_left NAME: no process, tap, mount, cgroup or directory of the machine.
nothing_left() {
	[[ ! -e $state/$1 ]] || fail "$state/$1 is still there"
	! pgrep -f "boot .*--name $1 " >/dev/null || fail "a process of $1 is still there"
}

case_cycle() {
	own_state
	need curl jq
	vm boot -d --name a -- /bin/sh -c 'echo begun; trap "echo got it; exit 7" TERM; while :; do sleep 0.2; done' >name
	[[ $(<name) == a ]] || fail "boot -d does not print the name"
	[[ $(status_of a) == running ]] || fail "it is not seen as running"
	vm ps | grep -Eq '^a +running' || fail "ps does not list it"
	! vm boot -d --name a -- /bin/true 2>err || fail "the same name was taken twice"
	grep -q '"a"' err || fail "the sentence does not name it: $(<err)"
	await 30 'the first line of the log' grep -q begun "$state/a/output.log"

	status=0
	vm exec a /bin/sh -c 'echo out; echo err >&2; exit 9' >"$out" 2>"$err" || status=$?
	expect_status 9
	expect_stdout $'out\n'
	expect_stderr $'err\n'
	status=0
	vm exec a nonesuch >"$out" 2>"$err" || status=$?
	expect_status 127
	head -c 3000000 /dev/urandom >big
	vm exec -i a /bin/sh -c 'cat' <big >back
	expect_same big back

	mkdir -p tree/sub
	cp big tree/sub/
	ln -s sub tree/link
	chmod 0640 tree/sub/big
	vm cp tree a:/tmp/
	vm exec a /bin/sh -c 'cd /tmp/tree && stat -c "%a %s" sub/big && readlink link' >"$out"
	expect_stdout $'640 3000000\nsub\n'
	vm cp a:/tmp/tree back-tree
	diff -r tree back-tree || fail "what comes back is something else"
	! vm cp a:/nonesuch . 2>err || fail "what is not there was copied"

	vm pause a
	[[ $(status_of a) == paused ]] || fail "it is not seen as paused"
	vm resume a
	vm stats --json a | jq -e '.[0] // . | .exits.all > 0 and .cpu_s >= 0' >/dev/null || fail "there are no figures"
	[[ $(vm inspect a | jq -r '.[0].config.workload.argv[0]') == /bin/sh ]] || fail "inspect does not tell the command"

	vm stop -t 5 a >/dev/null
	[[ $(status_of a) == exited ]] || fail "it is not seen as exited"
	[[ $(vm wait a) == 7 ]] || fail "the exit status is not kept"
	vm logs a | grep -qx 'got it' || fail "the log does not tell the end"
	vm rm a >/dev/null
	nothing_left a
	! vm rm a 2>err || fail "it was removed twice"
}

case_control_socket() {
	own_state
	need curl jq
	vm boot -d --name b --rm -- /bin/sh -c 'echo hello; exec sleep 1000' >/dev/null
	[[ $(api b http://x/ | jq -r .state) == Running ]] || fail "GET / does not say Running"
	[[ $(api b http://x/exec -d '{"argv":["/bin/sh","-c","cat; exit 3"],"stdin":"text"}' | jq -c .) == \
		'{"exit_status":3,"stdout":"text","stderr":""}' ]] || fail "POST /exec"
	api b http://x/health | jq -e '.memory_total_bytes > 100000000 and .processes > 0' >/dev/null || fail "GET /health"
	[[ $(api b http://x/logs) == hello ]] || fail "GET /logs"
	[[ $(api b -o /dev/null -w '%{http_code}' -X PATCH -d '{"state":"Paused"}' http://x/vm) == 204 ]] || fail "PATCH /vm"
	[[ $(api b http://x/ | jq -r .state) == Paused ]] || fail "it is not paused"
	[[ $(api b -X PATCH -d '{"state":"Resumed"}' -o /dev/null -w '%{http_code}' http://x/vm) == 204 ]] || fail "it is not resumed"
	[[ $(api b -o /dev/null -w '%{http_code}' http://x/nonesuch) == 404 ]] || fail "what is not there has no 404"
	[[ $(api b -o /dev/null -w '%{http_code}' -X PUT -d '{' http://x/actions) == 400 ]] || fail "nonsense has no 400"
	api b http://x/wait >waited &
	await 10 'the waiting client' pgrep -f 'http://x/wait' >/dev/null
	sleep 0.5
	api b -X PUT -d '{"action_type":"SendCtrlAltDel"}' http://x/actions
	wait $!
	[[ $(jq -r .reason waited) == signaled ]] || fail "GET /wait says $(<waited)"
	nothing_left b
}

# Twenty at once, each with its own output.
case_many_execs() {
	local i pids=() p
	own_state
	vm boot -d --name c -- sleep 1000 >/dev/null
	for i in {1..20}; do
		vm exec c /bin/sh -c "sleep 1; echo this is $i; exit $i" >"out.$i" &
		pids+=($!)
	done
	i=0
	for p in "${pids[@]}"; do
		i=$((i + 1))
		status=0
		wait "$p" || status=$?
		[[ $status == "$i" ]] || fail "the exec $i ended with $status"
		[[ $(<"out.$i") == "this is $i" ]] || fail "the exec $i says $(<"out.$i")"
	done
	vm rm -f c >/dev/null
	nothing_left c
}

# Whatever way it dies, it is seen, and can be removed.
case_died() {
	own_state
	need jq
	vm boot -d --name d -- sleep 1000 >/dev/null
	kill -KILL "$(jq .pid "$state/d/state.json")"
	await 20 'the monitor to follow its supervisor' gone "$(jq .monitor_pid "$state/d/state.json")"
	[[ $(status_of d) == died ]] || fail "a dead machine is $(status_of d)"
	! vm exec d true 2>err || fail "a dead machine runs commands"
	grep -q 'not running' err || fail "the sentence is: $(<err)"
	vm rm d >/dev/null
	nothing_left d

	vm boot -d --name e -- sleep 1000 >/dev/null
	kill -KILL "$(jq .monitor_pid "$state/e/state.json")"
	await 20 'the supervisor to see it' test "$(status_of e)" != running
	await 20 'the end' test "$(status_of e)" = failed
	vm inspect e | jq -e '.[0].reason == "monitor-killed"' >/dev/null || fail "it does not tell why"
	vm rm e >/dev/null

	# A panic of its kernel, which the host survives and reports.
	vm boot -d --name f -- /bin/sh -c 'sleep 2; mount -t proc proc /proc 2>/dev/null; kill -SEGV 1; reboot -f' >/dev/null
	await 60 'the end of the machine' test "$(status_of f)" = failed
	vm rm f >/dev/null
	[[ -z $(ls "$state") ]] || fail "something is left: $(ls "$state")"
}

# A gigabyte through the log and through the console, and neither fills the disk.
limit_flood=400
case_flood() {
	own_state
	need jq
	vm boot -d --name g -- /bin/sh -c 'yes 0123456789012345678901234567890123456789 | head -c 1000000000; echo; echo the end; exec sleep 1000' >/dev/null
	await 300 'the end of the flood' grep -qx 'the end' "$state/g/output.log"
	[[ $(du -sk --apparent-size "$state/g" | cut -f 1) -le 4200 ]] || fail "the logs have $(du -sh "$state/g")"
	[[ $(vm logs -n 1 g) == 'the end' ]] || fail "the last line is lost"
	vm exec g /bin/sh -c 'head -c 3000000 /dev/zero | tr "\0" x >/dev/console'
	[[ $(du -sk --apparent-size "$state/g" | cut -f 1) -le 6300 ]] || fail "the logs have $(du -sh "$state/g")"
	vm rm -f g >/dev/null
}

# Programs of host and guest, over vsock in both directions.
case_vsock() {
	own_state
	need socat
	make_tree tree
	cat >client.c <<-'END'
		#include <linux/vm_sockets.h>
		#include <stdio.h>
		#include <stdlib.h>
		#include <string.h>
		#include <sys/socket.h>
		#include <unistd.h>
		/* vsock listen|connect PORT: echoes what it reads once. */
		int main(int argc, char **argv)
		{
			struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY };
			int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
			char buf[4096];
			ssize_t n;

			a.svm_port = (unsigned int)atoi(argv[2]);
			if (!strcmp(argv[1], "listen")) {
				if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 1))
					return 2;
				puts("listening");
				fflush(stdout);
				fd = accept(fd, NULL, NULL);
			} else {
				a.svm_cid = VMADDR_CID_HOST;
				if (connect(fd, (struct sockaddr *)&a, sizeof(a))) {
					perror("connect");
					return 3;
				}
			}
			while ((n = read(fd, buf, sizeof(buf))) > 0)
				if (write(fd, buf, (size_t)n) != n)
					return 4;
			return 0;
		}
	END
	musl-gcc -static -Os -idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu -o tree/bin/vsock client.c ||
		skip "musl-gcc cannot build the guest's program"
	vm boot -d --name h --rootfs tree -- /bin/vsock listen 5000 >/dev/null
	await 30 'the guest to listen' grep -q listening "$state/h/output.log"
	printf 'CONNECT 5000\nsome text' | socat -t 5 - "UNIX-CONNECT:$state/h/vsock.sock" >answer
	grep -Eqx 'OK [0-9]+' answer || fail "there is no OK: $(<answer)"
	grep -q 'some text' answer || fail "the guest echoes nothing: $(<answer)"
	await 30 'the end of it' test "$(status_of h)" = exited
	vm rm h >/dev/null

	vm boot -d --name h --rootfs tree -- /bin/sleep 1000 >/dev/null
	status=0
	vm exec h /bin/vsock connect 6000 2>"$err" || status=$?
	[[ $status == 3 ]] || fail "a port that nobody allowed is $status"
	(echo from the host; sleep 1) | socat -t 5 - "UNIX-LISTEN:$state/h/vsock.sock_6000" >answer &
	await 10 'socat to listen' test -S "$state/h/vsock.sock_6000"
	vm exec h /bin/vsock connect 6000
	wait $!
	[[ $(<answer) == 'from the host' ]] || fail "the host reads $(<answer)"
	# The agent's ports are taken, and its own is not for those inside.
	status=0
	vm exec h /bin/vsock connect 1024 </dev/null || status=$?
	[[ $(vm exec h /bin/echo still there) == 'still there' ]] || fail "the agent is gone"
	vm rm -f h >/dev/null
}

# A terminal, attach and its keys.
case_terminal() {
	own_state
	[[ -x /usr/bin/python3 ]] || skip "/usr/bin/python3 is not installed"
	vm boot -dit --name t -- /bin/sh >/dev/null
	/usr/bin/python3 -I "$lab/terminal.py" background "$kvmbox" 2>"$dir/.why" || exit 1
	rm -f "$dir/.why"
	await 30 'the end of the shell' test "$(status_of t)" = exited
	[[ $(vm wait t) == 5 ]] || fail "the shell's exit status is $(vm wait t)"
	vm rm t >/dev/null
}

# KVMBOX_CYCLES times with a network: nothing is left.
limit_cycles=600
case_cycles() {
	own_host
	local i n=${KVMBOX_CYCLES:-} before
	[[ -n $n ]] || { grep -q hypervisor /proc/cpuinfo && n=10 || n=50; }
	before=$(ip -o link | wc -l; nft list tables | wc -l; grep -c . /proc/mounts; ls /run/kvmbox)
	for ((i = 0; i < n; i++)); do
		vm boot -d --name z --net nat -p 8099:80 --rm -- /bin/sh -c 'exec sleep 1000' >/dev/null
		vm exec z true
		vm stop -t 1 z >/dev/null
	done
	await 10 'all to be gone' test "$before" = "$(ip -o link | wc -l; nft list tables | wc -l; grep -c . /proc/mounts; ls /run/kvmbox)"
	nothing_left z
	note "$n times"
}
