# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2086,SC2154  # guests expand their own; lib.sh and run share variables
#
# What --disk takes.

# Attributes as the guest sees them, read-only enforced, a block device beside files, in one boot.
case_attributes() {
	truncate -s 64M a
	truncate -s 1000000 c
	head -c 8388608 /dev/urandom >b
	truncate -s 32M backing
	local loop
	own_loop backing
	sha256sum b >sum

	# A comma in a path is written twice.
	boot --disk a --disk c,d
	expect_status 125
	expect_sentence 'unknown option "d"'
	mv c c,d
	boot --cpus 2 --disk a,serial=SER-1,queues=2 --disk b,ro --disk "$loop" --disk c,,d,queues=1 -- /bin/sh -c '
		for d in vdb vdc vdd vde; do
			cd /sys/block/$d
			set -- mq/*
			echo $d size $(cat size) serial $(cat serial) ro $(cat ro) queues $#
		done
		sha256sum </dev/vdc
		dd if=/dev/zero of=/dev/vdc bs=512 count=1 conv=fsync && echo wrote to a read-only disk
		for d in vdb vdd vde; do
			echo "data on $d" | dd of=/dev/$d bs=512 seek=3 conv=notrunc,fsync,sync || echo cannot write $d
		done' 2>/dev/null
	expect_status 0
	expect_line '^vdb size 131072 serial SER-1 ro 0 queues 2$'
	expect_line '^vdc size 16384 serial [^ ]+ ro 1 queues [12]$'
	expect_line '^vdd size 65536 serial [^ ]+ ro 0 queues [12]$'
	expect_line '^vde size 1953 serial [^ ]+ ro 0 queues 1$'
	expect_line "^$(cut -c 1-64 sum) "
	! grep -E 'wrote|cannot' "$out" || fail "a disk was writable that should not be, or the other way round"
	sha256sum --status -c sum || fail "the read-only disk was written to"
	[[ $(dd if=a bs=512 skip=3 count=1 status=none | tr -d '\0') == 'data on vdb' ]] || fail "the write to a file did not reach it"
	[[ $(dd if="$loop" bs=512 skip=3 count=1 status=none | tr -d '\0') == 'data on vdd' ]] || fail "the write to a block device did not reach it"
	[[ $(stat -c %s c,d) == 1000000 ]] || fail "a file of an odd size has changed its size"
}

# Discarded blocks go back to the host's file system, and read as zeroes.
case_discard() {
	head -c 33554432 /dev/urandom >data
	sync data
	make_ext4 image 256M
	local before after
	before=$(du -k data | cut -f 1)
	boot --disk data --disk image -- /bin/sh -c '
		set -e
		blkdiscard -o 1048576 -l 29360128 /dev/vdb
		dd if=/dev/vdb bs=1M skip=1 count=28 2>/dev/null | tr -d "\0" | wc -c
		mount -t ext4 /dev/vdc /mnt
		head -c 67108864 /dev/urandom >/mnt/big
		sync
		rm /mnt/big
		sync
		fstrim /mnt'
	expect_status 0
	expect_stdout $'0\n'
	after=$(du -k data | cut -f 1)
	echo "allocated: before $before KiB, after $after KiB"
	((before >= 32768 && after <= 5000)) || fail "28 MiB were discarded and the file went from $before to $after KiB"
	[[ $(stat -c %s data) == 33554432 ]] || fail "the discard changed the file's size"
	fsck_clean image
	after=$(du -k image | cut -f 1)
	((after < 40000)) || fail "64 MiB were trimmed and the image still takes $after KiB"
}

# flags_of PID PATH: prints the open flags of each descriptor that a process has of the file.
flags_of() {
	local fd
	for fd in "/proc/$1/fd"/*; do
		[[ $(readlink "$fd") != "$2" ]] || sed -n 's/^flags:\s*//p' "/proc/$1/fdinfo/${fd##*/}"
	done
}

# is_direct FLAGS...: whether O_DIRECT is in one of these octal numbers.
is_direct() {
	local flags
	for flags in "$@"; do
		((!(flags & 040000))) || return 0
	done
	return 1
}

# Direct I/O where asked for, where it can be, and not at all.
case_direct() {
	local name flags monitor
	touch probe
	dd if=/dev/zero of=probe bs=4096 count=1 oflag=direct status=none 2>/dev/null ||
		skip "the file system of $dir has no direct I/O"
	for name in on off auto; do
		truncate -s 4M "$name"
	done
	boot_async --disk on,direct=on --disk off,direct=off --disk auto,direct=auto -- /bin/sh -c '
		exec 2>/dev/null
		for d in vdb vdc vdd; do
			head -c 4194304 /dev/urandom >/tmp/data
			dd if=/dev/urandom of=/tmp/data bs=1536 count=20 seek=3 conv=notrunc
			md5sum </tmp/data
			dd if=/tmp/data of=/dev/$d bs=1M
			dd if=/tmp/data of=/dev/$d bs=1536 count=30 conv=notrunc,fsync
		done
		echo written
		read -r x'
	await_line '^written$'
	monitor=$(monitor_of "$pid")
	for name in on auto; do
		flags=$(flags_of "$monitor" "$dir/$name")
		is_direct $flags || fail "the disk $name is not open for direct I/O: $flags"
	done
	flags=$(flags_of "$monitor" "$dir/off")
	[[ -n $flags ]] || fail "the monitor has no descriptor of the disk"
	! is_direct $flags || fail "the disk with direct=off is open for direct I/O: $flags"
	echo >&7
	finish
	expect_status 0
	for name in on off auto; do
		md5sum <"$name"
	done >sums
	head -n 3 "$out" | cmp - sums || fail "what the guest wrote is not what is in the files"
}

# A file system without direct I/O: refused when it is asked for, and done without when it is not.
case_no_direct() {
	local name=/dev/shm/kvmbox-test.$$
	truncate -s 1M "$name"
	# shellcheck disable=SC2064
	trap "rm -f $name; case_end \$?" EXIT
	! dd if=/dev/zero of="$name" bs=4096 count=1 conv=notrunc oflag=direct status=none 2>/dev/null ||
		skip "/dev/shm has direct I/O on this host's kernel"
	boot --disk "$name,direct=on" -- /bin/true
	expect_status 125
	expect_stdout ''
	expect_sentence 'direct'
	boot --disk "$name" -- /bin/sh -c 'echo text >/dev/vdb'
	expect_status 0
	[[ $(head -n 1 "$name") == text ]] || fail "the guest's write did not reach the file"
}

# Two guests on one disk: never when one may write, always when neither may.
case_shared() {
	truncate -s 1M disk
	boot_async --disk disk -- /bin/sh -c 'echo up; read -r x'
	await_line '^up$'
	local async_pid=$pid
	out=$dir/.out2 err=$dir/.err2
	boot --disk disk -- /bin/true
	expect_status 125
	expect_stdout ''
	expect_sentence 'disk.*in use'
	boot --disk disk,ro -- /bin/true
	expect_status 125
	out=$dir/.out err=$dir/.err pid=$async_pid
	echo >&7
	finish
	expect_status 0

	boot_async --disk disk,ro -- /bin/sh -c 'echo up; read -r x'
	await_line '^up$'
	async_pid=$pid
	out=$dir/.out2 err=$dir/.err2
	boot --disk disk,ro -- /bin/sh -c 'echo read | cat - /dev/vdb | head -n 1'
	expect_status 0
	expect_stdout $'read\n'
	out=$dir/.out err=$dir/.err pid=$async_pid
	echo >&7
	finish
	expect_status 0
}

# Heavy random I/O on ext4 from two CPUs, verified in the guest without its cache, then by the host.
limit_random_io=300
case_random_io() {
	need_loop
	make_ext4 image 512M
	cat >workload <<-'END'
		set -e
		mount -t ext4 /dev/vdb /mnt
		cd /mnt
		writer() {
			mkdir $1
			i=0
			while [ $i -lt 30 ]; do
				i=$((i + 1))
				f=$1/$((RANDOM % 12))
				case $((RANDOM % 6)) in
				0) rm -f $f ;;
				1) dd if=/dev/urandom of=$f bs=$((RANDOM % 5000 + 1)) count=$((RANDOM % 40 + 1)) seek=$((RANDOM % 50)) conv=notrunc ;;
				2) dd if=/dev/urandom of=$f bs=4096 count=$((RANDOM % 64 + 1)) seek=$((RANDOM % 64)) oflag=direct conv=notrunc || true ;;
				3) dd if=/dev/urandom of=$f bs=$((RANDOM * 8 + 1)) count=1 conv=fsync ;;
				4) dd if=/dev/urandom of=$f bs=65536 count=$((RANDOM % 40 + 1)) ;;
				5) truncate -s $((RANDOM * 20)) $f ;;
				esac
			done
		}
		for w in a b c d; do
			writer $w 2>/dev/null &
		done
		dd if=/dev/urandom of=/mnt/long bs=256k count=80 2>/dev/null &
		wait
		find . -type f ! -name sums | sort | xargs md5sum >/tmp/sums
		cp /tmp/sums sums
		sync
		echo 3 >/proc/sys/vm/drop_caches
		md5sum -c /tmp/sums | grep -v ': OK$' && exit 1
		cat /tmp/sums
	END
	boot --cpus 2 --disk image,queues=2 -- /bin/sh -c "$(<workload)"
	expect_status 0
	(($(wc -l <"$out") > 10)) || fail "the workload wrote too few files to mean anything"
	fsck_clean image
	mount_image image mnt ro
	expect_same mnt/sums "$out"
	(cd mnt && md5sum --quiet -c sums) || fail "the host reads other data than the guest wrote"
}

# However its requests are served, a file system is what it was told to be, also for who looks at it otherwise.
case_served() {
	local disk monitor
	for disk in queues fixed polled; do
		make_ext4 "$disk" 64M
	done
	cat >workload <<-'GUEST'
		for d in vdb vdc vdd; do
			mkdir -p "/tmp/$d"
			mount -t ext4 "/dev/$d" "/tmp/$d" || exit 1
		done
		cd /tmp || exit 1
	GUEST
	boot_async --cpus 2 --disk queues,queues=4 --disk fixed,fixed-buffers=on \
		--disk polled,sqpoll=on,fixed-buffers=on,queues=2 -- /bin/sh -c "$(cat workload)"'
		for d in vdb vdc vdd; do
			for i in 1 2 3; do
				dd if=/dev/urandom of=$d/$i bs=64k count=64 2>/dev/null &
			done
		done
		wait
		sync
		sha256sum vd?/?
		umount vdb vdc vdd
		echo written
		read -r x'
	await_line '^written$'
	monitor=$(monitor_of "$pid")
	cat "/proc/$monitor/task/"*/comm >threads
	for disk in vdb-q1 vdb-q2 vdb-q3 vdd-q0 vdd-q1; do
		grep -qx "$disk" threads || fail "there is no thread $disk: $(tr '\n' ' ' <threads)"
	done
	! grep -E '^(vdb-q0|vdc-q.)$' threads || fail "a queue has a thread that should have none"
	echo >&7
	finish
	expect_status 0
	grep '  vd' "$out" >sums
	[[ $(wc -l <sums) == 9 ]] || fail "there are $(wc -l <sums) sums"
	for disk in queues fixed polled; do
		fsck_clean "$disk"
	done
	boot --disk queues --disk fixed --disk polled -- /bin/sh -c "$(cat workload)"'
		sha256sum vd?/?'
	expect_status 0
	diff sums "$out" || fail "the files have changed"
}

# The memory that fixed buffers pin counts against a limit, and that is said.
case_locked_memory() {
	make_ext4 image 64M
	last_boot=' with little memory to lock'
	status=0
	prlimit --memlock=1048576 setpriv --bounding-set=-ipc_lock,-sys_resource --inh-caps=-ipc_lock,-sys_resource \
		"$kvmbox" boot --disk image,fixed-buffers=on -- true >"$out" 2>"$err" || status=$?
	expect_status 125
	expect_sentence 'fixed-buffers=on cannot pin the guest.s 256 MiB.*ulimit -l'
}
