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

limit_containers=1400
case_containers() {
	own_host
	need_docker_host
	need musl-gcc e2fsck
	need_mem 1400
	make_files files.img
	truncate -s 2G data

	docker_guest --disk files.img,ro --net nat -p 8080:8080 -p 9999:9999 -- \
		/bin/sh -c 'mount -t ext4 -o ro /dev/vdc /mnt && exec /mnt/dockerhost-guest confined networks'
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
	expect_line '^exec: [0-9a-f]{12}$'
	expect_line '^by name: the page of a container$'
	expect_line '^to the outside: the remote page$'
	expect_line '^the guest to a container: the page of a container$'
	expect_line '^between containers of the default bridge: .*\(status 143\)$'
	expect_line '^a container to the guest: .*(timed out|status 1)'
}

# A container of LXC beside Docker's, on the same disk and within the same limits.
limit_lxc=420
case_lxc() {
	need_docker_host
	need e2fsck
	need_mem 1400
	truncate -s 2G data
	docker_guest -- /bin/sh -c '
		{ until grep -q " /var/lib/lxc " /proc/mounts; do sleep 1; done
		  lxc-create -n one -t busybox && lxc-start -n one
		  echo "info: $(lxc-info -n one -s)"
		  echo "list: $(lxc-ls --running)"
		  lxc-attach -n one -- sh -c "echo init: \$(cat /proc/1/comm); set -- \$(cat /proc/self/uid_map); echo uid map: \$*"
		  init=/proc/$(lxc-info -n one -pH)
		  echo "apparmor: $(cat $init/attr/current)"
		  echo "cgroup: $(cat $init/cgroup)"
		  sed -n "s/^Seccomp:[[:space:]]*/seccomp: /p" $init/status
		  echo "told"
		} 2>&1 & exec /usr/lib/kvmbox/docker-host'
	await_line '^told$' "$out" 180
	expect_line '^info: State: *RUNNING$'
	expect_line '^list: one *$'
	expect_line '^init: init$'
	expect_line '^uid map: 0 2000000 65536$'
	expect_line '^apparmor: lxc-one_.*\(enforce\)'
	expect_line '^seccomp: 2$'
	expect_line '^cgroup: 0::/docker/lxc/one/payload$'
	await_line '^docker-host: ready$' "$out" 240
	kill -TERM "$pid"
	finish
	expect_status 0
	fsck_clean data
	[[ $(debugfs -R 'stat /lxc/one/rootfs/sbin/init' data 2>/dev/null) == *'User: 2000000'* ]] ||
		fail "the container's files are not on the disk, or are not its root's"
}
