# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # lib.sh and run share variables
#
# What is in force around a monitor, as /proc and /sys tell.

# status_of PID FIELD: prints a field of each thread's status, once for each value there is.
status_of() {
	sed -n "s/^$2:[[:space:]]*//p" "/proc/$1"/task/*/status | sort -u
}

expect_status_of() {
	local got
	got=$(status_of "$1" "$2")
	[[ $got == "$3" ]] || fail "$2 of the monitor's threads is $got, not $3"
}

# expect_walls PID: of a monitor, whoever started it.
expect_walls() {
	local set ns
	[[ -r /proc/$1/status ]] || fail "the monitor is gone"
	for set in CapInh CapPrm CapEff CapBnd CapAmb; do
		expect_status_of "$1" "$set" 0000000000000000
	done
	expect_status_of "$1" NoNewPrivs 1
	expect_status_of "$1" Seccomp 2
	for ns in user mnt pid net ipc uts cgroup; do
		[[ $(readlink "/proc/$1/ns/$ns") != "$(readlink "/proc/self/ns/$ns")" ]] ||
			fail "the monitor is in the host's $ns namespace"
	done
	[[ $(stat -fc %T "/proc/$1/root/") == tmpfs && -z $(ls -A "/proc/$1/root/") ]] ||
		fail "the monitor's root is not an empty tmpfs"
	grep -q "^Max core file size *0 *0 " "/proc/$1/limits" || fail "the monitor may dump core"
	# Not dumpable: its files in /proc are root's, whoever it is.
	[[ $(stat -c %u "/proc/$1/mem") == 0 ]] || fail "the monitor can be traced"
	# Its supervisor's terminal, sockets and the like are not there.
	ls -l "/proc/$1/fd" >fds
	if grep -Eq ' -> /dev/(pts|tty)| -> .*/control.sock| -> pipe:.*[^]]$' fds; then
		fail "the monitor has a descriptor too many: $(<fds)"
	fi
}

limit_in_force=400
case_in_force() {
	truncate -s 4M disk
	boot_async --name walls --cpus 2 --disk disk,queues=2 -- /bin/sh -c 'echo up; cat'
	await_line '^up$'
	local monitor uids
	monitor=$(monitor_of "$pid")
	[[ $(cat "/proc/$monitor"/task/*/comm | grep -Ec '^(kvmbox-vmm|vdb-q1|vcpu[01])$') == 4 ]] ||
		fail "not all threads of the monitor are there to be looked at"
	expect_walls "$monitor"
	uids=$(status_of "$monitor" Uid)
	[[ $(status_of "$monitor" Gid) == "$uids" ]] || fail "user and group differ"
	((${uids%%[[:space:]]*} >= 0x70000000)) || fail "the monitor runs as $uids"
	expect_status_of "$monitor" Groups ''
	need jq
	jq -e '.jail.on and (.jail.left_out - ["cgroup limits", "core scheduling"]) == []' /run/kvmbox/vm/walls/state.json ||
		fail "the state does not tell of the jail"
	exec 7>&-
	finish
	expect_status 0
	expect_stderr ''
}

limit_ordinary_user=400
# Whoever may open /dev/kvm has all of it but an id of his own.
case_ordinary_user() {
	chmod 666 /dev/kvm
	chmod 777 "$dir"
	truncate -s 4M disk
	chmod 666 disk
	[[ -p .in ]] || mkfifo .in
	setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/nonexistent XDG_RUNTIME_DIR="$dir" \
		"$kvmbox" boot --cpus 2 --disk disk -- /bin/sh -c 'echo up; cat' <.in >"$out" 2>"$err" 7>&- &
	pid=$!
	exec 7>.in
	await_line '^up$'
	local monitor
	monitor=$(monitor_of "$pid")
	expect_walls "$monitor"
	expect_status_of "$monitor" Uid $'65534\t65534\t65534\t65534'
	exec 7>&-
	finish
	expect_status 0
	expect_stderr ''
}

case_none() {
	boot_async --unsafe-no-jail -- /bin/sh -c 'echo up; cat'
	await_line '^up$'
	local monitor
	monitor=$(monitor_of "$pid")
	expect_status_of "$monitor" Seccomp 0
	exec 7>&-
	finish
	expect_status 0
}

# expect_limit GROUP FILE VALUE: of a VM's cgroup, by its directory.
expect_limit() {
	local got
	got=$(<"$1/$2")
	[[ $got == "$3" ]] || fail "$2 is $got, not $3"
}

# patch_vdb BODY: changes the second disk of the VM paced.
patch_vdb() {
	local answer
	answer=$(curl -s --unix-socket /run/kvmbox/vm/paced/control.sock -X PATCH http://x/drives/vdb -d "$1")
	[[ -z $answer ]] || fail "the answer is $answer"
}

limit_io_max=600
# The disks' limits are the kernel's, too, for the device below.
case_io_max() {
	need_cgroups
	need curl findmnt losetup
	grep -qw io "$cgroups/cgroup.controllers" || skip "cgroup v2 has no controller io here"
	local device loop group begin direct cached
	device=$(findmnt -no MAJ:MIN -T "$dir")
	[[ ${device//[[:space:]]/} != 0:* ]] || skip "the cases' directories are on no block device"
	device=${device//[[:space:]]/}
	truncate -s 64M image
	# A table with one partition, of 62 MiB from 1 MiB on.
	printf '\0\0\0\0\x83\0\0\0\0\x08\0\0\0\xf0\x01\0' | dd of=image bs=1 seek=446 conv=notrunc 2>/dev/null
	printf '\x55\xaa' | dd of=image bs=1 seek=510 conv=notrunc 2>/dev/null
	own_loop image -P
	dd if=/dev/zero of=disk bs=1M count=16 2>/dev/null
	sync
	boot_async --name paced --mem 64M --disk disk,bw=1M,bw-burst=64K,iops=50,iops-burst=1 --disk "${loop}p1,bw=2M,bw-burst=1M" \
		-- /bin/sh -c 'echo up; cat'
	await_line '^up$'
	group=$cgroups/kvmbox/paced.$pid
	grep -qx "$device rbps=1114113 wbps=1114113 riops=416 wiops=416" "$group/io.max" || fail "io.max is $(<"$group/io.max")"
	grep -qx "$(<"/sys/block/${loop#/dev/}/dev") rbps=3145729 wbps=3145729 riops=max wiops=max" "$group/io.max" ||
		fail "io.max has not the device of the partition: $(<"$group/io.max")"
	"$kvmbox" audit --json paced >audit.json || true
	grep -Eq '"io.max": *"[0-9:]+ rbps=' audit.json || fail "the audit does not show io.max"

	# What any process there meets: direct I/O is held, the host's page cache is not.
	begin=${EPOCHREALTIME/./}
	(echo "$BASHPID" >"$group/cgroup.procs" && exec dd if=disk of=/dev/null bs=64k count=64 iflag=direct 2>/dev/null)
	direct=$(((${EPOCHREALTIME/./} - begin) / 1000))
	cat disk >/dev/null
	begin=${EPOCHREALTIME/./}
	(echo "$BASHPID" >"$group/cgroup.procs" && exec dd if=disk of=/dev/null bs=64k count=64 2>/dev/null)
	cached=$(((${EPOCHREALTIME/./} - begin) / 1000))
	note "4 MiB by a limit of 1 MiB/s: $direct ms; of the page cache: $cached ms"
	((direct > 2500)) || fail "4 MiB were read in $direct ms, by a limit of 1 MiB a second"

	patch_vdb '{"rate_limiter": {"bandwidth": {"size": 1000000, "refill_time": 500}, "ops": {"size": 0, "refill_time": 0}}}'
	grep -qx "$device rbps=3000001 wbps=3000001 riops=max wiops=max" "$group/io.max" || fail "io.max is $(<"$group/io.max")"
	patch_vdb '{"rate_limiter": {"bandwidth": {"size": 0, "refill_time": 0}}}'
	! grep "^$device " "$group/io.max" || fail "a limit that is gone is still in io.max"
	exec 7>&-
	finish
	expect_status 0
	expect_stderr ''
}

limit_cgroup=600
case_cgroup() {
	need_cgroups
	mkdir memory
	mount -t tmpfs none memory
	mounts+=("$dir/memory")
	truncate -s 32M memory/disk
	boot_async --name limits --cpus 2 --mem 64M --cpu-weight 50 --disk memory/disk,direct=off -- /bin/sh -c 'echo up; cat'
	await_line '^up$'
	local monitor group
	monitor=$(monitor_of "$pid")
	group=$cgroups/kvmbox/limits.$pid
	grep -q "^0::/kvmbox/limits.$pid\$" "/proc/$monitor/cgroup" || fail "the monitor is elsewhere: $(cat "/proc/$monitor/cgroup")"
	expect_limit "$group" cpu.max '300000 100000'
	expect_limit "$group" cpu.weight 50
	expect_limit "$group" memory.max $(((64 + 8 + 128 + 32) << 20))
	[[ ! -e $group/memory.swap.max ]] || expect_limit "$group" memory.swap.max $((64 << 20))
	expect_limit "$group" memory.oom.group 1
	((500 < $(<"$group/pids.max") && $(<"$group/pids.max") < 800)) || fail "pids.max is $(<"$group/pids.max")"
	# All of it, the kernel's own threads for it included, and nobody else's.
	local task
	for task in "/proc/$monitor"/task/*; do
		grep -qx "${task##*/}" "$group/cgroup.threads" || fail "a thread is not in the cgroup: $(<"$task/comm")"
	done
	while read -r task; do
		[[ $task == "$monitor" || $(<"/proc/$task/comm") == kvm-nx-lpage-re* ]] ||
			fail "another process is in the cgroup: $(<"/proc/$task/comm")"
	done <"$group/cgroup.procs"
	exec 7>&-
	finish
	expect_status 0
	[[ ! -e $group ]] || fail "the cgroup is still there"

	# The kernel ends a monitor that has too much, and that is told.
	boot_async --name greedy --mem 64M -- /bin/sh -c 'echo up; cat'
	await_line '^up$'
	echo 1M >"$cgroups/kvmbox/greedy.$pid/memory.max"
	finish
	expect_status 125
	expect_sentence 'more memory'

	# After kill -9 of both, the next one removes what is left.
	boot_async --name killed -- /bin/sh -c 'echo up; cat'
	await_line '^up$'
	monitor=$(monitor_of "$pid")
	group=$cgroups/kvmbox/killed.$pid
	kill -KILL "$pid" "$monitor"
	finish 2>/dev/null
	await 10 "the end of the monitor" gone "$monitor"
	[[ -d $group ]] || fail "the cgroup is gone by itself"
	boot -- /bin/true
	expect_status 0
	[[ ! -e $group ]] || fail "the dead VM's cgroup is still there"

	boot --cpu-weight 0 -- /bin/true
	expect_status 125
	expect_sentence 'weight'
}

case_weight_without_cgroups() {
	unshare --mount sh -c 'umount -a -t cgroup2; exec "$@"' sh "$kvmbox" boot --cpu-weight 50 -- /bin/true \
		>"$out" 2>"$err" || status=$?
	expect_status 125
	expect_sentence '[-]-cpu-weight needs the cpu controller'
}

limit_drill=1200
# The breakout drill (tests/payload/drill.sh), on a host that has cgroups: without the filters of system calls, all that a
# monitor in a guest's hands may try.
case_drill() {
	local built
	built=$(dirname "$kvmbox")/tests/payload
	[[ -x $built/kvmbox-drill && -e $built/payload-knock.elf && -e $built/payload-ends.elf ]] ||
		skip "the drill is not built (ninja -C build tests/payload/kvmbox-drill and its guests)"
	need_cgroups
	chmod 666 /dev/kvm
	# Outside of the lab, nobody else may enter what is above $dir.
	[[ -n ${LAB_DISKS:-} ]] || export TMPDIR=/tmp
	chmod 777 "$dir"
	status=0
	"$lab/../payload/drill.sh" "$built/kvmbox-drill" "$built/payload-knock.elf" "$built/payload-ends.elf" \
		"$lab/../../SECURITY.md" short >"$out" 2>"$err" || status=$?
	[[ $status != 77 ]] || skip "$(<"$err")"
	[[ $status == 0 ]] || fail "$(head -n 5 "$err")"
	[[ ! -s $err ]] || note "$(tr '\n' ';' <"$err")"
}
