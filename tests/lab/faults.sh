# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# Hosts that fail under a machine. What the guest sees is what a device's standard says, nothing that it was promised is
# lost, and nothing waits for ever. (A tap that goes is in net.sh, a monitor that is killed in crash.sh.)

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
	need_loop
	need dmsetup
	modprobe dm-mod 2>/dev/null || skip "the host has no device mapper"
	local loop name=kvmbox-bad-$$
	head -c 4194304 /dev/urandom >image
	loop=$(losetup --find --show image)
	dmsetup create --noudevsync "$name" <<-END
		0 4096 linear $loop 0
		4096 1024 error
		5120 3072 linear $loop 5120
	END
	dmsetup mknodes "$name"
	# shellcheck disable=SC2064
	trap "dmsetup remove $name; losetup -d $loop; case_end \$?" EXIT
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
