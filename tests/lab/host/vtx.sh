# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # the caller's variables
#
# The VT-x lab, sourced by scripts/lab: Bochs emulates the CPU (QEMU's TCG has no VMX) and Debian's
# cloud kernel runs on it, from a CD. Nothing can be shared with Bochs while it runs: what the job
# needs goes into the initrd, and what it leaves comes back as a tar on an emulated disk.

vtx_modules=(kvm_intel ata_piix sd_mod tun)
vtx_output_disk=$((256 << 20))

# vtx_boot_files: builds the lab host's kernel and initrd where they are not cached; sets boot to their directory.
vtx_boot_files() {
	local release key tree
	need_packages bochs bochs-term bochsbios vgabios isolinux syslinux-common xorriso \
		linux-image-cloud-amd64 busybox-static cpio kmod binutils
	release=$(kernel_release linux-image-cloud-amd64)
	key=$({
		cat "$host/boot-files.sh" "$host/vtx.sh" "$host/vtx-init"
		stat -c '%n %s %Y' "/boot/vmlinuz-$release" "/lib/modules/$release/modules.dep" /bin/busybox
	} | sha256sum | head -c 16)
	boot=$(cache_dir)/lab/vtx-$release-$key
	[[ ! -d $boot ]] || return 0

	say "preparing the lab host's kernel and initrd (once)"
	tree=$run/initrd
	mkdir -p "$tree"/{dev,proc,sys,root,tmp,run,mnt,etc,var/tmp,lab/out,usr/{bin,sbin,lib,lib64}} "$run/boot"
	ln -s usr/bin usr/sbin usr/lib usr/lib64 "$tree/"
	echo 'root:x:0:0:root:/root:/bin/sh' >"$tree/etc/passwd"
	echo 'root:x:0:' >"$tree/etc/group"
	stage_busybox "$tree/usr/bin"
	cp "$host/vtx-init" "$tree/init"
	stage_modules "$release" "$tree/lab/modules" "${vtx_modules[@]}"
	pack_initrd "$tree" >"$run/boot/initrd"
	cp "/boot/vmlinuz-$release" "$run/boot/kernel"
	store_boot_files "$boot"
}

# program_needs FILE: prints the libraries and the interpreter that FILE needs to run, if it is a program.
program_needs() {
	local interpreter argument
	if [[ $(head -c 2 "$1" | tr -d '\0') == '#!' ]]; then
		read -r interpreter argument < <(head -n 1 "$1" | cut -c 3-)
		printf '%s\n' "$interpreter"
		[[ ${interpreter##*/} != env ]] || command -v "${argument%% *}" || true
	else
		ldd "$1" 2>/dev/null | grep -o '/[^ ]*' || true
	fi
}

# stage_file TREE PATH: copies PATH and, as far as programs are in it, what they need to the same place under TREE.
stage_file() {
	local tree=$1 path=$2 program need
	[[ ! -e $tree$path || -L $tree$path || -d $path ]] || return 0
	mkdir -p "$tree${path%/*}"
	if [[ -d $path ]]; then
		mkdir -p "$tree$path"
		cp -a "$path/." "$tree$path/"
	else
		cp -L --preserve=mode,timestamps --remove-destination "$path" "$tree$path"
	fi
	while IFS= read -r -d '' program; do
		for need in $(program_needs "$program"); do
			stage_file "$tree" "$need"
		done
	done < <(find -H "$path" -type f \( -perm /111 -o -name '*.so*' \) -print0)
}

# vtx_make_cd: packs the job with its files and makes the CD that the lab host boots from.
vtx_make_cd() {
	local tree=$run/job-tree cd=$run/cd out=/lab/out program path
	program=$(type -P -- "${command[0]}") || die "there is no command ${command[0]}"
	mkdir -p "$tree/lab/out" "$tree$PWD" "$tree/usr"/{bin,sbin,lib,lib64} "$cd/isolinux"
	ln -s usr/bin usr/sbin usr/lib usr/lib64 "$tree/"
	for path in "$(realpath -se -- "$program")" "${files[@]}"; do
		stage_file "$tree" "$path"
	done
	write_job "$tree/lab/job"

	# A second archive behind the first is unpacked over it.
	pack_initrd "$tree" | cat "$boot/initrd" - >"$cd/initrd"
	cp "$boot/kernel" "$cd/kernel"
	cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$cd/isolinux/"
	cat >"$cd/isolinux/isolinux.cfg" <<-END
		DEFAULT lab
		PROMPT 0
		LABEL lab
		KERNEL /kernel
		INITRD /initrd
		APPEND console=ttyS0 quiet tsc=reliable no_timer_check mitigations=off random.trust_cpu=on panic=-1 nokaslr cryptomgr.notests init_on_alloc=0 rodata=off
	END
	xorriso -as mkisofs -quiet -o "$run/cd.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
		-no-emul-boot -boot-load-size 4 -boot-info-table "$cd" 2>"$run/xorriso" ||
		die "making the boot CD failed: $(tail -n 1 "$run/xorriso")"
}

# vtx_configure: writes Bochs' configuration.
vtx_configure() {
	local memory=${mem:-1024}
	cat >"$run/bochsrc" <<-END
		cpu: model=$cpu_model, count=${cpus:-1}, ips=50000000, reset_on_triple_fault=0, ignore_bad_msrs=1
		memory: guest=$memory, host=$((memory < 2048 ? memory : 2048))
		romimage: file=/usr/share/bochs/BIOS-bochs-latest, options=fastboot
		vgaromimage: file=/usr/share/vgabios/vgabios.bin
		display_library: rfb, options="timeout=0"
		pci: enabled=1, chipset=i440fx
		ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
		ata0-master: type=disk, mode=flat, path="$run/output"
		ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15
		ata1-master: type=cdrom, path="$run/cd.iso", status=inserted
		boot: cdrom
		com1: enabled=1, mode=file, dev="$run/console"
		sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
		speaker: enabled=0
		log: $run/bochs.log
		panic: action=fatal
		error: action=report
		info: action=ignore
		debug: action=ignore
	END
	echo c >"$run/bochs.commands"
	if [[ ${#disks[@]} -gt 0 ]]; then
		printf 'ata0-slave: type=disk, mode=flat, path="%s/disk0"\n' "$run" >>"$run/bochsrc"
	fi
}

vtx_run() {
	local boot isolate=(unshare --net) status=0
	[[ ${#disks[@]} -le 1 ]] || die "--vtx offers one scratch disk at most"
	vtx_boot_files
	make_disks
	[[ ${#disks[@]} == 0 ]] || lab_disks=(/dev/sdb)
	vtx_make_cd
	truncate -s "$vtx_output_disk" "$run/output"
	vtx_configure

	# Bochs' display is a VNC server open to all: a network namespace of its own hides it.
	[[ $EUID == 0 ]] || isolate+=(--map-root-user)
	: >"$run/console"
	bounded "${isolate[@]}" bochs -q -f "$run/bochsrc" -rc "$run/bochs.commands" </dev/null >"$run/bochs.out" 2>&1 &
	child=$!
	# Its status tells nothing but a timeout's: it is 1 after a good end too.
	await "$child" || status=$?
	child=
	[[ $status != 124 ]] || timed_out
	mkdir "$run/result"
	tar -x -f "$run/output" -C "$run/result" 2>/dev/null || true
	if [[ ! -s $run/result/status ]]; then
		tail -q -n 5 "$run/bochs.log" "$run/bochs.out" >>"$run/console" 2>/dev/null || true
		lab_died "the lab host stopped before the command ended"
	fi
	cat "$run/result/stdout"
	cat "$run/result/stderr" >&2
	cp -a "$run/result/out/." "$out/"
	exit "$(<"$run/result/status")"
}
