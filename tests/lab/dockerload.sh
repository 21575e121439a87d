# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# The docker host under load, and with disks that it must not touch. A topic of its own for the time that all takes
# where the host is emulated.
# shellcheck source=tests/lab/dockerhost.sh
. "$lab/dockerhost.sh"

limit_limits=1400
case_limits() {
	need_docker_host
	need musl-gcc e2fsck
	need_mem 1400
	make_files files.img
	truncate -s 2G data

	docker_guest --disk files.img,ro -- \
		/bin/sh -c 'mount -t ext4 -o ro /dev/vdc /mnt && exec /mnt/dockerhost-guest load'
	finish
	expect_ended
	expect_line '^a container beyond its limit: status 137, killed for memory: true$'
	expect_line '^its neighbour: lives$'
	expect_line '^a container without a limit: status 137$'
	expect_line '^its neighbour then: lives$'
	expect_line '^dockerd beside a bomb: answers$'
	expect_line '^the end of the bomb: bomb$'
	expect_line '^dockerd: is the same$'
	expect_line '^swap: 2[0-9][0-9] MiB$'
}

# Never formats what holds something else.
case_foreign_disk() {
	need_docker_host
	need_mem 700
	truncate -s 64M data
	printf 'precious' | dd of=data bs=1 seek=65000 conv=notrunc status=none
	sha256sum data >sum
	boot --kernel "$kernel" --rootfs "$image" --mem 512M --disk data,serial=docker-data -- /usr/lib/kvmbox/docker-host
	expect_status 1
	expect_line '^docker-host: the data disk /dev/vdb holds something that is not ext4' "$err"
	sha256sum --status -c sum || fail "the disk was written to"
	boot --kernel "$kernel" --rootfs "$image" --mem 512M --disk data -- /usr/lib/kvmbox/docker-host
	expect_status 1
	expect_line '^docker-host: there is no disk with the serial number docker-data' "$err"
}
