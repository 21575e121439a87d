# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# The docker host: its kernel, its image, and what they promise of containers.
# shellcheck source=tests/lab/netlib.sh
. "$lab/netlib.sh"

# need_docker_host: sets $kernel and $image, which lie beside the program.
need_docker_host() {
	kernel=$(dirname "$kvmbox")/guest/vmlinux-container
	image=$(dirname "$kvmbox")/guest/docker-host.erofs
	[[ -f $kernel && -f $image ]] || skip "the docker host is not built (meson configure -Ddocker_host=true)"
}

case_config() {
	need_docker_host
	"$lab/../../guest/kernel/check-config" "$kernel.config" || fail "the container kernel lacks options"
}

# make_vsock FILE: a program that says whether it may have a vsock.
make_vsock() {
	cat >vsock.c <<-'END'
		#include <errno.h>
		#include <stdio.h>
		#include <string.h>
		#include <sys/socket.h>
		int main(void)
		{
			int fd = socket(40, SOCK_STREAM, 0); /* AF_VSOCK */

			puts(fd < 0 ? strerror(errno) : "open");
			return 0;
		}
	END
	musl-gcc -static -Os -o "$1" vsock.c
}

# make_files IMAGE: the disk with what the guest's script needs.
make_files() {
	make_tree box
	for name in sh cat echo ls mount sleep dd tail wc sed hostname wget httpd nc timeout; do
		ln -sf busybox "box/bin/$name"
	done
	mkdir -p box/www files/context
	make_vsock box/bin/vsock
	echo 'the page of a container' >box/www/page
	tar -C box -cf files/box.tar .
	cat >files/context/Dockerfile <<-'END'
		FROM box
		RUN echo built >/built
		COPY page /page
		CMD ["cat", "/built", "/page"]
	END
	echo 'with a file' >files/context/page
	cp "$lab/dockerhost-guest" files/
	mkfs.ext4 -q -d files "$1" 32M
}

docker_guest() {
	boot_async --kernel "$kernel" --rootfs "$image" --cpus 2 --mem 1G --disk data,serial=docker-data "$@"
}

# expect_ended: the docker host's script has ended in order.
expect_ended() {
	expect_status 0
	expect_line '^first line: docker-host: ready$'
	expect_line '^docker-host ended: status 0$'
	expect_line '^data disk: mounted 0 times$'
	fsck_clean data
	note "dockerd answered after $(sed -n 's/^seconds to ready: //p' "$out") s, and ended within $(sed -n 's/^seconds to stop: //p' "$out") s"
}

# A workload that ends with a swap file in use on its disk.
case_swap() {
	need_docker_host
	need mkfs.ext4 e2fsck
	need_mem 700
	truncate -s 64M data
	mkfs.ext4 -q data
	boot --kernel "$kernel" --rootfs "$image" --mem 256M --disk data -- /bin/sh -c '
		mount /dev/vdb /mnt && dd if=/dev/zero of=/mnt/swap bs=1M count=16 2>/dev/null && chmod 600 /mnt/swap &&
		mkswap /mnt/swap >/dev/null && swapon /mnt/swap && grep -c /mnt/swap /proc/swaps'
	expect_status 0
	expect_stdout $'1\n'
	fsck_clean data
}

limit_containers=1400
case_containers() {
	own_host
	need_docker_host
	need musl-gcc e2fsck debugfs
	need_mem 1400
	make_files files.img
	truncate -s 2G data

	docker_guest --disk files.img,ro --net nat -p 8080:8080 -p 9999:9999 -- \
		/bin/sh -c 'mount -t ext4 -o ro /dev/vdc /mnt && exec /mnt/dockerhost-guest confined lxc networks'
	await_line '^published now$' "$out" 1200
	page=$(http '' 127.0.0.1 8080) || fail "the published port of a container is not reached"
	[[ $page == 'the page of a container' ]] || fail "the published port says $page"
	! bash -c 'exec 3<>/dev/tcp/127.0.0.1/9999 && timeout 5 cat <&3 | grep .' 2>/dev/null ||
		fail "what listens in the guest itself is reached from outside"
	echo >&7
	finish

	expect_ended
	expect_line '^build: built with a file$'
	expect_line '^uid map: 0 1000000 65536$'
	expect_line '^no new privileges: 1$'
	expect_line '^seccomp: 2$'
	expect_line '^apparmor: docker-default \(enforce\)$'
	expect_line '^device tree: .*No such file'
	expect_line '^firmware: 0$'
	expect_line '^sysrq: .*(Read-only|Permission denied)'
	expect_line '^modules: .*No such file'
	expect_line '^vsock: Operation not permitted$'
	expect_line '^open files: 1024 524288$'
	expect_line '^info: overlay2, local, cgroup v2$'
	expect_line '^LXC: one RUNNING$'
	expect_line '^its init: init$'
	expect_line '^its uid map: 0 2000000 65536$'
	expect_line '^its apparmor: lxc-one_.*\(enforce\)'
	expect_line '^its cgroup: 0::/docker/lxc/one/payload$'
	expect_line '^its seccomp: 2$'
	[[ $(debugfs -R 'stat /lxc/one/rootfs/sbin/init' data 2>/dev/null) == *'User: 2000000'* ]] ||
		fail "the files of LXC's container are not on the disk, or are not its root's"
	expect_line '^exec: [0-9a-f]{12}$'
	expect_line '^by name: the page of a container$'
	expect_line '^to the outside: the remote page$'
	expect_line '^the guest to a container: the page of a container$'
	expect_line '^between containers of the default bridge: .*\(status 143\)$'
	expect_line '^a container to the guest: .*(timed out|status 1)'
}
