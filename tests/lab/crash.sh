# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# Ends that nobody asked for.

# kill -9 of the monitor in the middle of writes: whatever an fsync() had returned for is there.
case_monitor_killed() {
	need_loop
	make_ext4 image 512M
	truncate -s 64M raw
	cat >workload <<-'END'
		mount -t ext4 /dev/vdb /mnt
		cd /mnt
		# Never flushed, and always under way.
		(while :; do dd if=/dev/urandom of=junk bs=64k count=200; done) 2>/dev/null &
		i=1000
		while :; do
			i=$((i + 1))
			yes $i | head -c 65536 >/tmp/block
			dd if=/tmp/block of=$i bs=64k conv=fsync 2>/dev/null || exit 1
			dd if=/tmp/block of=/dev/vdc bs=64k seek=$((i - 1000)) conv=notrunc,fsync 2>/dev/null || exit 1
			echo $i | dd of=log oflag=append conv=notrunc,fsync 2>/dev/null || exit 1
			echo $i
		done
	END
	boot_async --disk image --disk raw -- /bin/sh -c "$(<workload)"
	await_line '^1020$'
	kill -KILL "$(monitor_of "$pid")"
	finish
	expect_status 125
	expect_sentence 'monitor.*killed by signal 9'

	e2fsck -fp image || [[ $? == 1 ]] || fail "e2fsck cannot repair what the crash left"
	mount_image image mnt
	local i last
	# A number cut short is not a promise.
	sed '$!b;/^[0-9]\{4\}$/!d' "$out" >promised
	last=$(tail -n 1 promised)
	echo "$(wc -l <promised) blocks were promised, the last is $last"
	head -n "$(wc -l <promised)" mnt/log | cmp - promised || fail "the log lacks lines that were flushed"
	while read -r i; do
		{ yes "$i" || true; } 2>/dev/null | head -c 65536 >block || true
		cmp block "mnt/$i" || fail "block $i was flushed and is not in its file"
		cmp block <(dd if=raw bs=64k skip=$((i - 1000)) count=1 status=none) ||
			fail "block $i was flushed and is not on the raw disk"
	done <promised
	umount_all
	fsck_clean image

	boot --rootfs image -- /nothing
	expect_status 127
}

# Without its supervisor the monitor is gone, and the disk is free for the next.
case_supervisor_killed() {
	truncate -s 1M disk
	boot_async --disk disk -- /bin/sh -c 'echo up; while :; do :; done'
	await_line '^up$'
	local monitor
	monitor=$(monitor_of "$pid")
	kill -KILL "$pid"
	finish 2>/dev/null
	expect_status 137
	await 10 "the end of the monitor" gone "$monitor"
	boot --disk disk -- /bin/sh -c 'echo again'
	expect_status 0
	expect_stdout $'again\n'
}

case_panic() {
	boot --append rdinit=/nonexistent -- /bin/true
	expect_status 125
	expect_stdout ''
	[[ $(head -n 1 "$err") =~ ^kvmbox:.*panicked:.*Kernel\ panic ]] || fail "the first line does not tell of the panic"
	expect_line '^kvmbox: the end of the guest.s console:$' "$err"
	expect_line '^  \| .*Kernel panic' "$err"
}

# A workload that resets the machine, or switches it off, has not ended in order.
case_reset() {
	boot -- /bin/sh -c 'echo before; reboot -f'
	expect_status 125
	expect_stdout $'before\n'
	[[ $(head -n 1 "$err") =~ ^kvmbox:.*reset ]] || fail "the first line does not tell of the reset"
}

case_poweroff() {
	boot --timeout 90s -- /bin/sh -c 'echo before; poweroff -f'
	expect_status 125
	expect_stdout $'before\n'
	[[ $(head -n 1 "$err") =~ ^kvmbox:.*powered\ off ]] || fail "the first line does not tell of the power-off"
}

# A guest that eats all its memory loses the eater, not the machine.
case_out_of_memory() {
	boot --mem 64M -- /bin/sh -c '
		sh -c "x=0123456789abcdef; while :; do x=\$x\$x; done" 2>/dev/null
		echo "eater ended with $?"'
	expect_status 0
	expect_line '^eater ended with (137|139|2|1)$'
}
