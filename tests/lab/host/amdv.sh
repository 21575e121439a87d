# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # the caller's variables
#
# The AMD-V lab, sourced by scripts/lab: QEMU emulates the CPU (TCG, with nested paging), Debian's
# generic kernel runs on it, and this machine's root is its root, read-only with a tmpfs on top.

amdv_modules=(virtio_pci virtio_blk virtio_console 9pnet_virtio 9p overlay kvm_amd tun)

# kernel_unpack BZIMAGE: prints the ELF kernel in it, for this machine unpacks it faster than an emulated
# CPU; nothing if it is not packed with xz.
kernel_unpack() {
	local setup_sectors offset length payload
	setup_sectors=$(od -An -tu1 -j $((0x1f1)) -N1 "$1")
	offset=$(od -An -tu4 -j $((0x248)) -N4 "$1")
	length=$(od -An -tu4 -j $((0x24c)) -N4 "$1")
	payload=$(((setup_sectors + 1) * 512 + offset))
	# The kernel's build puts the unpacked size behind the xz stream, which xz complains of.
	tail -c +$((payload + 1)) "$1" | head -c "$length" | xz -dc --single-stream 2>/dev/null || true
}

# amdv_boot_files: builds the lab host's kernel and initrd where they are not cached; sets boot to their directory.
amdv_boot_files() {
	local release key tree
	need_packages qemu-system-x86 linux-image-amd64 busybox-static cpio kmod binutils xz-utils
	release=$(kernel_release linux-image-amd64)
	key=$({
		cat "$host/boot-files.sh" "$host/amdv.sh" "$host/amdv-init" "$host/host-init"
		stat -c '%n %s %Y' "/boot/vmlinuz-$release" "/lib/modules/$release/modules.dep" /bin/busybox
	} | sha256sum | head -c 16)
	boot=$(cache_dir)/lab/amdv-$release-$key
	[[ ! -d $boot ]] || return 0

	say "preparing the lab host's kernel and initrd (once)"
	tree=$run/initrd
	mkdir -p "$tree"/{bin,proc,sys,dev,lower,upper,root} "$run/boot"
	stage_busybox "$tree/bin"
	cp "$host/amdv-init" "$tree/init"
	cp "$host/host-init" "$tree/host-init"
	stage_modules "$release" "$tree/modules" "${amdv_modules[@]}"
	pack_initrd "$tree" >"$run/boot/initrd"
	kernel_unpack "/boot/vmlinuz-$release" >"$run/boot/kernel"
	# Either form boots.
	[[ -s $run/boot/kernel ]] || cp "/boot/vmlinuz-$release" "$run/boot/kernel"
	store_boot_files "$boot"
}

# allowed_cpus: prints the CPUs that this process may run on.
allowed_cpus() {
	awk '$1 == "Cpus_allowed_list:" {
		n = split($2, ranges, ",")
		for (i = 1; i <= n; i++) {
			ends = split(ranges[i], range, "-")
			for (cpu = range[1]; cpu <= range[ends]; cpu++)
				print cpu
		}
	}' /proc/self/status
}

# take_cpu: sets pinned to the words that run a command on one CPU of this machine: one that no other lab has taken, if
# there is one. It is taken as long as fd 9 is open.
#
# With each exit of a guest, QEMU changes the word in which its other threads leave interrupts for a CPU, and does so
# without a lock. An interrupt that is lost like this stops the guest or its host, and one that comes back crashes it:
# one guest in ten or twenty, with two CPUs. On one CPU of this machine no change is torn.
take_cpu() {
	local cpu
	for cpu in $(allowed_cpus); do
		exec 9<"/sys/devices/system/cpu/cpu$cpu"
		! flock -n 9 || break
	done
	pinned=(taskset -c "$cpu")
}

# build_counter FILE: builds what counts instructions.
build_counter() {
	need_packages gcc libc6-dev
	gcc -std=gnu17 -Wall -Wextra -Werror -O2 -fPIC -shared -o "$1" "$host/instructions.c"
}

amdv_run() {
	local boot token security=passthrough letters=abcdefghijklmnopqrstuvwxyz i status=0 pinned=()
	amdv_boot_files
	make_disks
	token=lab-$(od -An -tx8 -N16 /dev/urandom | tr -d ' \n')
	printf '%s' "$token" >"$run/token"
	# Only root may hand files through as they are; others see what they may see themselves.
	[[ $EUID == 0 ]] || security=none

	[[ -n $spread ]] || take_cpu

	# Without cmpxchg16b: QEMU 7.2 leaves garbage in the flags after one that has no lock prefix, as in Linux'
	# allocator, and what the garbage does to the kernel that next saves and restores its flags is a crash.
	# shellcheck disable=SC2054  # the commas are QEMU's
	local qemu=(qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu EPYC,+svm,+npt,-cx16
		-m "${mem:-4096}" -smp "${cpus:-2}" -bios qboot.rom -display none -nodefaults -no-reboot
		-kernel "$boot/kernel" -initrd "$boot/initrd"
		-append "console=ttyS0 quiet reboot=t panic=-1 mitigations=off cryptomgr.notests init_on_alloc=0 rodata=off tsc=reliable no_timer_check random.trust_cpu=on lab.run=$run lab.out=$out"
		-serial "file:$run/console"
		-fsdev "local,id=root,path=/,security_model=$security,readonly=on,multidevs=remap"
		-device virtio-9p-pci,fsdev=root,mount_tag=root
		-fsdev "local,id=out,path=$out,security_model=$security,multidevs=remap"
		-device virtio-9p-pci,fsdev=out,mount_tag=out
		-device virtio-serial-pci
		-chardev file,id=stdout,path=/dev/fd/3 -device virtserialport,chardev=stdout,nr=1
		-chardev file,id=stderr,path=/dev/fd/4 -device virtserialport,chardev=stderr,nr=2
		-device virtio-rng-pci)
	for i in "${!disks[@]}"; do
		# Thrown away afterwards: the outer machine need not make any of it durable.
		qemu+=(-drive "file=$run/disk$i,if=none,id=disk$i,format=raw,cache=unsafe,discard=unmap"
			-device "virtio-blk-pci,drive=disk$i")
		lab_disks+=("/dev/vd${letters:i:1}")
	done
	if [[ -n $instructions ]]; then
		build_counter "$run/instructions.so"
		qemu+=(-plugin "$run/instructions.so,out=$out/instructions")
	fi
	write_job "$run/job"

	mkfifo "$run/stdout" "$run/stderr"
	bounded "${pinned[@]}" "${qemu[@]}" "${qemu_args[@]}" </dev/null 3>"$run/stdout" 4>"$run/stderr" >"$run/qemu" 2>&1 &
	child=$!
	"$host/relay" "$token" 3<"$run/stdout" 4<"$run/stderr" 5>"$run/status" &
	if await $!; then
		exit "$(<"$run/status")"
	fi
	await "$child" || status=$?
	child=
	[[ $status != 124 ]] || timed_out
	grep -v 'warning: TCG' "$run/qemu" >>"$run/console" || true
	lab_died "the lab host stopped before the command ended"
}
