# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# What --rootfs takes.

# A directory is packed once for each state of it, and never written.
case_directory() {
	need mkfs.erofs
	export KVMBOX_CACHE=$dir/cache
	make_tree tree
	echo first >tree/marker
	find tree | sort >before

	boot --rootfs tree -- /bin/sh -c 'cat /marker; echo mine >/marker; echo new >/new; cat /marker /new; rm /bin/ls; exit 3'
	expect_status 3
	expect_stdout $'first\nmine\nnew\n'
	expect_stderr ''
	find tree | sort | cmp - before || fail "the guest's writes reached the directory"
	[[ $(<tree/marker) == first ]] || fail "the guest's write reached a file of the directory"
	image=$(find cache -name '*.erofs')
	stat -c '%i %Y' "$image" >kept || fail "there is not one image in the cache: $image"

	boot --rootfs tree/ -- /bin/sh -c 'cat /marker; test ! -e /new; ls -d /bin'
	expect_status 0
	expect_stdout $'first\n/bin\n'
	stat -c '%i %Y' "$image" | cmp - kept || fail "the image was packed again although nothing had changed"

	echo second >tree/marker
	boot --rootfs tree -- /bin/cat /marker
	expect_status 0
	expect_stdout $'second\n'
	[[ $(find cache -type f | wc -l) == 1 ]] || fail "the image of the earlier state was left in the cache"
}

# Images that cannot be written get a writable layer that goes with the guest.
read_only_image() {
	sha256sum "$1" >sum
	boot --rootfs "$1" -- /bin/sh -c 'cat /marker; echo new >/marker; cat /marker; grep " / " /proc/mounts; exit 9'
	expect_status 9
	expect_line '^from the image$'
	expect_line '^new$'
	expect_line ' / overlay rw'
	expect_stderr ''
	sha256sum --status -c sum || fail "the image was written to"
}

case_erofs() {
	need mkfs.erofs
	make_tree tree
	echo 'from the image' >tree/marker
	mkfs.erofs image tree >mkfs.log 2>&1
	read_only_image image
}

case_squashfs() {
	need mksquashfs
	make_tree tree
	echo 'from the image' >tree/marker
	mksquashfs tree image -quiet -no-progress >mkfs.log
	read_only_image image
}

# The issue's own words: 1 GiB of ext4, made by mkfs.ext4 -d, written to.
case_ext4() {
	make_tree tree
	make_ext4 image 1G tree
	boot --rootfs image -- /bin/sh -c 'echo hi; echo kept >/data; head -c 20000000 /dev/urandom >/big; md5sum </big >/sum; exit 7'
	expect_status 7
	expect_stdout $'hi\n'
	expect_stderr ''
	fsck_clean image

	boot --cpus 2 --rootfs image -- /bin/sh -c 'grep " / ext4 rw" /proc/mounts >&2 || exit 8; cat /data; md5sum </big | cmp - /sum && echo same; rm /big'
	expect_status 0
	expect_stdout $'kept\nsame\n'
	fsck_clean image
}

# A root without what a root mostly has.
case_bare_directory() {
	need mkfs.erofs
	mkdir tree
	cp /bin/busybox tree/busybox
	boot --rootfs tree -- /busybox echo bare
	expect_status 0
	expect_stdout $'bare\n'
	boot --rootfs tree -- /bin/sh
	expect_status 127
	expect_sentence '/bin/sh'
}
