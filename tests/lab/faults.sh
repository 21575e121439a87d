# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# Hosts that fail under a machine. What the guest sees is what a device's standard says, nothing that it was promised is
# lost, and nothing waits for ever. (A tap that goes is in net.sh, a monitor that is killed in crash.sh.)
# shellcheck source=tests/lab/netlib.sh
. "$lab/netlib.sh"

# What a case has of the device mapper, which goes with it.
maps=()

# own_map NAME TABLE: the device /dev/mapper/NAME.
own_map() {
	dmsetup create --noudevsync "$1" --table "$2"
	maps+=("$1")
	dmsetup mknodes "$1"
}

# need_map [TARGET]: skips the case where the host has no device mapper, or not that target.
need_map() {
	need dmsetup
	modprobe "dm-${1:-mod}" 2>/dev/null || skip "the host has no dm-${1:-mod}"
	trap 'end_devices $?' EXIT
}

# Whoever looks at the images afterwards sees what the devices have.
remove_devices() {
	local item
	for item in "${maps[@]}"; do
		# One that is suspended holds up whoever waits for it.
		dmsetup resume --noudevsync "$item"
		dmsetup remove --retry "$item"
	done
	maps=()
	free_loops
}

end_devices() {
	trap - ERR
	set +e
	[[ -z ${pid:-} ]] || kill -KILL "$pid" 2>/dev/null
	remove_devices
	case_end "$1"
}

# The file system below a disk's image gets full, and has room again later.
case_full() {
	mkdir host
	mount -t tmpfs -o size=8M none host
	mounts+=("$dir/host")
	truncate -s 32M host/image
	boot_async --disk host/image,direct=off -- /bin/sh -c '
		write() { dd if=/dev/zero bs=1M count=1 2>/dev/null | tr "\0" "$2" | dd of=/dev/vdb bs=1M seek=$1 conv=notrunc,fsync 2>/dev/null; }
		n=0
		while write $n x; do n=$((n + 1)); done
		echo "written: $n"
		read line
		write $n y && echo "and again: $n"'
	await_line '^written: [0-9]+$'
	mount -o remount,size=64M "$dir/host"
	echo >&7
	finish
	expect_status 0
	local written
	written=$(sed -n 's/^written: //p' "$out")
	((written > 3 && written < 32)) || fail "$written MiB were written to a file system of 8"
	expect_line "^and again: $written\$"
	[[ $(head -c $((written << 20)) host/image | tr -d x | wc -c) == 0 ]] || fail "what the guest was told is written is not there"
	[[ $(tail -c +$(((written << 20) + 1)) host/image | head -c 1048576 | tr -d y | wc -c) == 0 ]] ||
		fail "what was written after there was room again is not there"
}

# A disk has bad sectors: reads and writes of them fail, others do not.
case_bad_sectors() {
	local loop name=kvmbox-bad-$$
	need_map
	head -c 4194304 /dev/urandom >image
	own_loop image
	own_map "$name" "0 4096 linear $loop 0
		4096 1024 error
		5120 3072 linear $loop 5120"
	boot --disk "/dev/mapper/$name" -- /bin/sh -c '
		dd if=/dev/vdb bs=512 count=4096 2>/dev/null | sha256sum
		dd if=/dev/vdb bs=512 skip=4100 count=1 2>&1 >/dev/null | grep -o "Input/output error"
		echo x | dd of=/dev/vdb bs=512 seek=4200 count=1 conv=notrunc,fsync 2>/dev/null || echo "not written"
		dd if=/dev/vdb bs=512 skip=5120 2>/dev/null | sha256sum'
	expect_status 0
	{
		head -c 2097152 image | sha256sum
		echo 'Input/output error'
		echo 'not written'
		tail -c +2621441 image | sha256sum
	} >expected
	expect_same expected "$out"
}

# The monitor is stopped: commands do not wait for it for ever, and it goes on; then it is killed while it is stopped.
case_stopped() {
	own_state
	boot_async --name a -- /bin/sh -c 'i=0; while :; do i=$((i + 1)); echo tick $i; sleep 0.2; done'
	await_line '^tick 3$'
	local monitor seen
	monitor=$(monitor_of "$pid")
	kill -STOP "$monitor"
	sleep 1
	seen=$(wc -l <"$out")
	"$kvmbox" ps | grep -q '^a .*running' || fail "ps does not list it"
	"$kvmbox" inspect a >/dev/null || fail "inspect does not answer"
	within 60 "$kvmbox" stats --no-stream a >stats.out 2>&1 || [[ $? != 124 ]] || fail "stats waits for ever"
	[[ $(wc -l <"$out") == "$seen" ]] || fail "it runs on"
	kill -CONT "$monitor"
	await_line "^tick $((seen + 3))\$"
	kill -STOP "$monitor"
	within 60 "$kvmbox" kill a >/dev/null || fail "it cannot be killed"
	finish
	expect_status 137
	gone "$monitor" || fail "the monitor is still there"
	[[ -z $(ls "$state") ]] || fail "something is left: $(ls "$state")"
}

# The clock of the host is set forth and back again: no timeout comes early, and nothing stops.
case_clock() {
	own_state
	boot_async --name a --timeout 10m -- /bin/sh -c 'i=0; while :; do i=$((i + 1)); echo tick $i; sleep 0.2; done'
	await_line '^tick 3$'
	local seen
	for jump in '+1 day' '-2 days' '+1 day'; do
		date -s "$jump" >/dev/null
		seen=$(wc -l <"$out")
		await_line "^tick $((seen + 3))\$"
		"$kvmbox" ps | grep -q '^a .*running' || fail "ps does not list it after a jump of $jump"
	done
	within 60 "$kvmbox" stop a >/dev/null || fail "it cannot be stopped"
	finish
}

# flaky NAME SIZE UP DOWN: an image NAME.img and the device /dev/mapper/kvmbox-NAME-$$ on it, which fails all that is asked
# of it for DOWN of each UP + DOWN seconds.
flaky() {
	local loop
	truncate -s "$2" "$1.img"
	[[ $1 != ext4 ]] || mkfs.ext4 -q -F "$1.img"
	own_loop "$1.img"
	own_map "kvmbox-$1-$$" "0 $(blockdev --getsz "$loop") flakey $loop 0 $3 $4"
}

# Disks that fail and recover by turns while the guest writes, to one itself and to a file system on the other. Each
# fsync() of which the guest was told that it succeeded is on the image, and some fail.
limit_flaky=700
case_flaky() {
	need_map flakey
	flaky raw 64M 3 1
	flaky ext4 64M 4 1
	cat >workload <<-'END'
		# put NAME N FILE: 16 KiB of NAME and N to that place in FILE; says so when they are there.
		put() {
			yes "$1 $2" | head -c 16384 >/tmp/$1
			if dd if=/tmp/$1 of=$3 bs=16k seek=$4 conv=notrunc,fsync 2>/tmp/$1.err; then
				echo "$1 $2"
			elif grep -Eq "Input/output error|Read-only file system|No such file" /tmp/$1.err; then
				echo "$1 failed"
			else
				cat /tmp/$1.err
			fi
		}
		until_over() {
			n=$2
			while [ ! -e /tmp/over ]; do
				"$1" "$n"
				n=$((n + 1))
			done
		}
		raw() { put raw "$1" /dev/vdb "$1"; }
		file() {
			grep -q " /mnt ext4 rw" /proc/mounts || { umount /mnt; mount -t ext4 /dev/vdc /mnt; } 2>/dev/null
			put file "$1" "/mnt/$1" 0
		}
		mount -t ext4 /dev/vdc /mnt
		until_over raw 0 &
		until_over file 0 &
		read line
		touch /tmp/over
		wait
		umount /mnt 2>/dev/null
		echo over
	END
	boot_async --cpus 2 --disk "/dev/mapper/kvmbox-raw-$$" --disk "/dev/mapper/kvmbox-ext4-$$" -- \
		/bin/sh -c "$(<workload)"
	local name
	for name in raw file; do
		await_line "^$name [0-9]+\$"
		await_line "^$name failed\$"
	done
	sleep 6
	echo >&7
	await_line '^over$'
	finish
	expect_status 0
	! grep -Ev '^(raw|file) ([0-9]+|failed)$|^over$' "$out" || fail "something else has failed"
	remove_devices

	e2fsck -fy ext4.img >/dev/null || (($? < 4)) || fail "e2fsck cannot repair what is left"
	mount_image ext4.img mnt
	local n
	while read -r name n; do
		[[ $n =~ ^[0-9]+$ ]] || continue
		yes "$name $n" 2>/dev/null | head -c 16384 >block || true
		case $name in
		raw) dd if=raw.img bs=16k skip="$n" count=1 status=none >got ;;
		file) cp "mnt/$n" got || : >got ;;
		esac
		cmp -s block got || fail "$name $n was flushed, the guest was told, and is not there"
	done <"$out"
	umount_all
	note "$(grep -c '[0-9]$' "$out") fsyncs that succeeded, $(grep -c failed "$out") that failed"
}

# What is below a disk goes away for good, with requests under way: they fail, so do all that follow, and nothing else.
case_vanished() {
	local loop name=kvmbox-gone-$$
	need_map
	truncate -s 16M image
	own_loop image
	own_map "$name" "0 32768 linear $loop 0"
	boot_async --disk "/dev/mapper/$name" -- /bin/sh -c '
		i=0
		while dd if=/dev/zero of=/dev/vdb bs=64k seek=$((i % 256)) count=1 conv=notrunc,fsync 2>/tmp/err; do
			i=$((i + 1))
			[ $i != 10 ] || echo writing
		done
		grep -o "Input/output error" /tmp/err
		dd if=/dev/vdb of=/dev/null bs=64k count=1 iflag=direct 2>&1 | grep -o "Input/output error"
		echo still here'
	await_line '^writing$'
	# What is on its way waits there; then there is nothing below it any more.
	dmsetup suspend --noudevsync --nolockfs --noflush "$name"
	sleep 1
	dmsetup load "$name" --table '0 32768 error'
	dmsetup resume --noudevsync "$name"
	finish
	expect_status 0
	expect_stdout $'writing\nInput/output error\nInput/output error\nstill here\n'
}

# A disk that neither answers nor fails: the machine can be ended all the same, and the disk be used when it answers again.
case_silent_disk() {
	own_state
	local loop name=kvmbox-silent-$$
	need_map
	truncate -s 16M image
	own_loop image
	own_map "$name" "0 32768 linear $loop 0"
	boot_async --name a --disk "/dev/mapper/$name" -- /bin/sh -c '
		echo up
		while :; do dd if=/dev/zero of=/dev/vdb bs=64k count=16 conv=notrunc,fsync 2>/dev/null; done'
	await_line '^up$'
	dmsetup suspend --noudevsync --nolockfs --noflush "$name"
	sleep 1
	"$kvmbox" ps | grep -q '^a .*running' || fail "ps does not list it"
	try 90 killed kill a
	expect_tried killed 0 ''
	finish
	expect_status 137
	[[ -z $(ls "$state") ]] || fail "something is left: $(ls "$state")"
	dmsetup resume --noudevsync "$name"
	boot --disk "/dev/mapper/$name" -- dd if=/dev/vdb of=/dev/null bs=1M
	expect_status 0
}

# freeze NAME 0|1
freeze() {
	local group
	group=$(jq -r .jail.cgroup "$state/$1/state.json")
	# KVM has a thread of the kernel's in it, which does not freeze, so cgroup.events never says that it is done.
	echo "$2" >"$group/cgroup.freeze"
}

# try SECONDS FILE ARG...: a command that is to end within that time; FILE is what it says, with its status at the end.
try() {
	local seconds=$1 file=$2 result=0
	shift 2
	timeout "$seconds" "$kvmbox" "$@" >"$file" 2>&1 </dev/null || result=$?
	echo "status $result" >>"$file"
}

# expect_tried FILE STATUS SENTENCE
expect_tried() {
	[[ $(tail -n 1 "$1") == "status $2" ]] || fail "$1: $(<"$1")"
	[[ -z $3 || $(wc -l <"$1") == 2 ]] || fail "$1 is not one sentence: $(<"$1")"
	grep -q "$3" "$1" || fail "$1: $(<"$1")"
}

# A machine whose cgroup is frozen: commands have an end and say why, and those that end it do.
limit_frozen=600
case_frozen() {
	own_state
	need jq
	need_cgroups
	local name seen tried=() group
	for name in a b c; do
		"$kvmbox" boot -d --rm --name $name -- \
			/bin/sh -c 'i=0; while :; do i=$((i + 1)); echo tick $i; sleep 0.2; done' >/dev/null
	done
	for name in a b c; do
		freeze $name 1
	done
	sleep 1
	seen=$("$kvmbox" logs a | wc -l)
	try 90 exec exec a true &
	tried+=($!)
	try 90 stats stats --no-stream a &
	tried+=($!)
	try 120 cp cp a:/etc/hostname . &
	tried+=($!)
	try 90 stopped stop -t 1 c &
	tried+=($!)
	"$kvmbox" ps | grep -q '^a .*running' || fail "ps does not list it"
	"$kvmbox" inspect a | jq -e '.[0].name == "a" or .name == "a"' >/dev/null || fail "inspect does not answer"
	# So many requests that the monitor, which reads none, is not sent more; and it is ended all the same.
	for _ in {1..40}; do
		try 90 /dev/null exec b true &
		tried+=($!)
	done
	sleep 1
	try 90 removed rm -f b
	expect_tried removed 0 ''
	[[ $("$kvmbox" logs a | wc -l) == "$seen" ]] || fail "it runs on"
	wait "${tried[@]}"
	expect_tried exec 125 'does not answer'
	expect_tried stats 125 'does not answer'
	expect_tried cp 1 'does not answer'
	expect_tried stopped 0 ''
	freeze a 0
	await 60 "more ticks" has_ticked $((seen + 3))
	[[ $("$kvmbox" exec a echo again) == again ]] || fail "exec does not work any more"
	group=$(jq -r .jail.cgroup "$state/a/state.json")
	freeze a 1
	try 90 killed kill a
	expect_tried killed 0 ''
	[[ -z $(ls "$state") && ! -e $group ]] || fail "something is left: $(ls "$state" "$group")"
}

has_ticked() {
	"$kvmbox" logs a | grep -qx "tick $1"
}

# The host has no memory left: the one that has most of it is ended by the kernel, which is told in words, and the one
# beside it lives on.
limit_host_out_of_memory=700
case_host_out_of_memory() {
	own_state
	need_cgroups
	need_mem 1000
	local monitor n=0
	"$kvmbox" boot -d --rm --name neighbour -- /bin/sh -c 'while :; do echo here; sleep 0.2; done' >/dev/null
	boot_async --mem 512M -- /bin/sh -c '
		mount -t tmpfs -o size=300m none /mnt
		dd if=/dev/zero of=/mnt/fill bs=1M count=256 2>/dev/null
		echo filled; cat'
	await_line '^filled$'
	monitor=$(monitor_of "$pid")
	# It is the first to go, whoever else is there.
	echo 1000 >"/proc/$monitor/oom_score_adj"
	mkdir hog
	mount -t tmpfs -o size=100% none hog
	mounts+=("$dir/hog")
	until gone "$monitor"; do
		(
			echo -1000 >/proc/self/oom_score_adj
			exec dd if=/dev/zero of="hog/$n" bs=1M count=64 status=none
		) || true
		n=$((n + 1))
		((n < 400)) || fail "the host is not out of memory"
	done
	rm -f hog/*
	finish
	expect_status 125
	expect_sentence 'more memory than --mem accounts for, or the host had none left'
	"$kvmbox" ps | grep -q '^neighbour .*running' || fail "the machine beside it is gone, too"
	[[ $("$kvmbox" exec neighbour echo alive) == alive ]] || fail "the machine beside it does not answer"
	"$kvmbox" kill neighbour >/dev/null
	[[ -z $(ls "$state") ]] || fail "something is left: $(ls "$state")"
	! compgen -G "$cgroups/kvmbox/*.$pid" >&2 || fail "its cgroup is left"
}

# passt is killed while the guest gets a file through it: the guest's link goes down, which is said once, and it goes on.
limit_passt_killed=300
case_passt_killed() {
	own_host
	need passt
	truncate -s 1G www/long
	boot_async --net user -- /bin/sh -c '
		wget -qO /dev/null http://192.0.2.2/long 2>/dev/null &
		until [ $(cat /sys/class/net/eth0/statistics/rx_bytes) -gt 1000000 ]; do sleep 0.1; done
		echo loaded
		until [ $(cat /sys/class/net/eth0/carrier) = 0 ]; do sleep 0.1; done
		echo link down; read line; echo still here'
	await_line '^loaded$'
	passt_here | xargs kill -KILL
	await_line '^link down$'
	sleep 1
	echo >&7
	finish
	expect_status 0
	expect_line '^still here$'
	expect_sentence 'net0: the host.s end of it is gone'
}

# The supervisor of a machine in the background is killed while that is busy: the machine is gone with it, and the next
# start removes what it had of the host.
limit_background_killed=300
case_background_killed() {
	own_host
	own_state
	need jq
	local supervisor monitor
	truncate -s 16M disk
	"$kvmbox" boot -d --name a --net nat --disk disk -- /bin/sh -c '
		while :; do dd if=/dev/zero of=/dev/vdb bs=64k count=16 conv=notrunc,fsync 2>/dev/null; done &
		wget -qO /dev/null http://192.0.2.2/page; yes' >/dev/null
	supervisor=$(jq .pid "$state/a/state.json")
	monitor=$(jq .monitor_pid "$state/a/state.json")
	sleep 1
	kill -KILL "$supervisor"
	await 60 "the end of the monitor" gone "$monitor"
	"$kvmbox" ps -a | grep -q '^a .*died' || fail "ps does not show it as dead"
	"$kvmbox" logs -n 1 a | grep -qx y || fail "its output is not kept"
	"$kvmbox" rm a >/dev/null
	boot --net nat --disk disk -- /bin/true
	expect_status 0
	expect_nothing_left
	[[ -z $(ls "$state") ]] || fail "something is left: $(ls "$state")"
}

# The supervisor is stopped: output waits, and none of it is lost.
case_supervisor_stopped() {
	own_state
	boot_async --name a -- /bin/sh -c 'seq 200; sleep 1; seq 201 200000; echo over >&2'
	await_line '^200$'
	kill -STOP "$pid"
	sleep 0.5
	local seen
	seen=$(wc -l <"$out")
	sleep 2
	[[ $(wc -l <"$out") == "$seen" && ! -s $err ]] || fail "somebody else writes"
	"$kvmbox" ps | grep -q '^a .*running' || fail "ps does not list it"
	kill -CONT "$pid"
	finish
	expect_status 0
	expect_stderr $'over\n'
	seq 200000 | cmp - "$out" || fail "output is lost"
}
