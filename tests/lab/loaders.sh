# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# Kernels and initrds that are not kvmbox's own.

# make_initrd FILE SCRIPT: an initramfs of busybox whose init runs the script.
make_initrd() {
	need cpio
	make_tree initrd-tree
	{
		printf '#!/bin/sh\nmount -t proc proc /proc\n'
		printf '%s\n' "$2"
	} >initrd-tree/init
	chmod +x initrd-tree/init
	(cd initrd-tree && find . | cpio --create --format=newc --quiet) >"$1"
}

# The same kernel as an ELF file is kvmbox's default: it must boot from its bzImage as well.
case_micro_bzimage() {
	local image=
	for image in "$LAB_HOST_CACHE"/kernel/micro-*/bzImage; do
		! cmp -s "${image%/*}/vmlinux" "${kvmbox%/*}/guest/vmlinux-micro" || break
	done
	[[ -f $image ]] || skip "the kernel's bzImage is not in the cache $LAB_HOST_CACHE"
	boot --kernel "$image" -- /bin/sh -c 'echo hi; exit 7'
	expect_status 7
	expect_stdout $'hi\n'
	expect_stderr ''
}

# A gzip initrd, the 8250 console in both directions, and an end by reset.
case_initrd() {
	make_initrd initrd "$(printf '%s\n' 'echo "init is $$"' 'read -r line' 'echo "typed: $line"' 'reboot -f')"
	gzip -1 initrd
	boot_async --kernel "${kvmbox%/*}/guest/vmlinux-micro" --initrd initrd.gz
	await_line 'init is 1'
	echo 'some words' >&7
	finish
	expect_status 0
	expect_line 'typed: some words'
	expect_stderr ''

	# Nobody to ask: the time limit ends it at once.
	boot --timeout 8s --initrd initrd.gz
	expect_status 124
	expect_line 'time limit' "$err"
}

# Debian's own kernel, unpacked by the host, as far as its initramfs. It learns of its CPUs from the MP
# table, if it looks for one: the cloud kernel does not.
limit_debian_kernel=300
case_debian_kernel() {
	local kernel cpus=1
	for kernel in /boot/vmlinuz-*[0-9]-amd64 /boot/vmlinuz-*-cloud-amd64; do
		[[ ! -f $kernel ]] || break
	done
	[[ -f $kernel ]] || skip "there is no Debian kernel in /boot"
	! grep -q '^CONFIG_X86_MPPARSE=y' "/boot/config-${kernel#*vmlinuz-}" || cpus=2
	make_initrd initrd "$(printf '%s\n' 'echo "debian: $(cat /proc/sys/kernel/osrelease) $(grep -c ^processor /proc/cpuinfo)"' 'reboot -f')"
	boot --timeout 280s --mem 512M --cpus 2 --kernel "$kernel" --initrd initrd --append 'mitigations=off'
	expect_status 0
	expect_line "debian: ${kernel#*vmlinuz-} $cpus"
	expect_stderr ''
}
