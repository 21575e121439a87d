# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# Machines in the background, and the commands and the control socket by which they are reached.
# shellcheck source=tests/lab/netlib.sh
. "$lab/netlib.sh"

# api VM ARG...: what curl says to the control socket of a machine.
api() {
	local vm=$1
	shift
	curl -sS -m 60 --unix-socket "$state/$vm/control.sock" "$@"
}

vm() {
	"$kvmbox" "$@"
}

is_status() {
	[[ $(vm ps -a --json | jq -r --arg n "$1" '.[] | select(.name == $n) | .status') == "$2" ]]
}

# nothing_left NAME: no process, tap, mount, cgroup or directory of the machine.
nothing_left() {
	[[ ! -e $state/$1 ]] || fail "$state/$1 is still there"
	! pgrep -f "boot .*--name $1 " >/dev/null || fail "a process of $1 is still there"
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

# Its monitor is killed, or somebody in it resets the machine: the host goes on, and knows.
case_failed() {
	own_state
	need jq
	vm boot -d --name e -- sleep 1000 >/dev/null
	kill -KILL "$(jq .monitor_pid "$state/e/state.json")"
	await 20 'the end' is_status e failed
	vm inspect e | jq -e '.[0].reason == "monitor-killed"' >/dev/null || fail "it does not tell why"

	vm boot -d --name f -- sleep 1000 >/dev/null
	vm exec f reboot -f 2>/dev/null || true
	await 60 'the end of the machine' is_status f failed
	vm inspect f | jq -e '.[0].reason == "reset"' >/dev/null || fail "it does not tell why"
	vm rm e f >/dev/null
	[[ -z $(ls "$state") ]] || fail "something is left: $(ls "$state")"
}

# A gigabyte through the log (less on an emulated host, which takes an hour for it), and then as much as
# it takes through the console: neither fills the disk.
limit_flood=400
case_flood() {
	local mb=1000
	own_state
	! grep -q hypervisor /proc/cpuinfo || mb=30
	vm boot -d --name g -- /bin/sh -c "yes 0123456789012345678901234567890123456789 | head -c ${mb}000000; echo; echo the end; exec sleep 1000" >/dev/null
	await 300 'the end of the flood' grep -qx 'the end' "$state/g/output.log"
	[[ $(du -sk --apparent-size "$state/g" | cut -f 1) -le 4200 ]] || fail "the logs have $(du -sh "$state/g")"
	[[ $(vm logs -n 1 g) == 'the end' ]] || fail "the last line is lost"
	# Each byte of the serial port leaves the guest.
	vm exec g /bin/sh -c "head -c $((mb * 3000)) /dev/zero | tr '\\0' x >/dev/console"
	[[ $(du -sk --apparent-size "$state/g" | cut -f 1) -le 6300 ]] || fail "the logs have $(du -sh "$state/g")"
	vm rm -f g >/dev/null
	note "$mb MB"
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
	await 30 'the end of it' is_status h exited
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

# what_there_is: what a machine could leave on the host, but for its lock of all networks.
what_there_is() {
	ip -o link | cut -d: -f 2
	nft list tables
	cut -d" " -f 2 /proc/mounts
	find /run/kvmbox/net /sys/fs/cgroup -maxdepth 1 ! -name lock | sort
}

there_is() {
	[[ $(what_there_is) == "$1" ]]
}

# KVMBOX_CYCLES times with a network: nothing is left.
limit_cycles=600
case_cycles() {
	own_host
	own_state
	local i n=${KVMBOX_CYCLES:-} before
	[[ -n $n ]] || { grep -q hypervisor /proc/cpuinfo && n=10 || n=50; }
	mkdir -p /run/kvmbox/net
	before=$(what_there_is)
	for ((i = 0; i < n; i++)); do
		vm boot -d --name z --net nat -p 8099:80 --rm -- /bin/sh -c 'exec sleep 1000' >/dev/null
		vm exec z true
		vm stop -t 1 z >/dev/null
	done
	await 10 'all to be gone' there_is "$before"
	nothing_left z
	note "$n times"
}
