# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # lib.sh and run share variables
#
# --init: a system with an init of its own as the workload.

# need_container_kernel: skips the case where the kernel with namespaces is not built.
need_container_kernel() {
	[[ -f $(dirname "$kvmbox")/guest/vmlinux-container ]] ||
		skip "the container kernel is not built (meson configure -Ddocker_host=true)"
}

# make_system DIR: a tree whose init is busybox's.
make_system() {
	local name
	make_tree "$1"
	for name in hostname kill poweroff ps stty; do
		ln -s busybox "$1/bin/$name"
	done
	ln -s ../bin/busybox "$1/sbin/init"
	cat >"$1/etc/inittab" <<-'END'
		::sysinit:/bin/sh /etc/rc
		::respawn:/bin/sleep 100000
		::shutdown:/bin/echo in order
	END
	cat >"$1/etc/rc" <<-'END'
		echo "container: $container"
		echo "console: works" >/dev/console
		echo "run: $(grep ' /run ' /proc/mounts)"
		echo "cgroup: $(grep ' /sys/fs/cgroup ' /proc/mounts)"
		mkdir /sys/fs/cgroup/new && echo "cgroups: made"
		echo here >/run/file
		mount -t tmpfs none /mnt
		echo inside >/mnt/file
		echo up
	END
}

# kv ARG...: runs kvmbox: $out and $err are its output, $status its exit status.
kv() {
	last_boot=" (no: $*)"
	status=0
	"$kvmbox" "$@" >"$out" 2>"$err" || status=$?
}

# begin ARG...: boots the system "a" in the background, which goes with the case.
begin() {
	own_state
	trap 'ended=$?; "$kvmbox" logs a; case_end $ended' EXIT
	kv boot -d --name a --init "$@"
	expect_status 0
	await 60 "the end of its start" has_logged '^up$'
}

has_logged() {
	"$kvmbox" logs a | tr -d '\r' | grep -Eq "$1"
}

expect_log() {
	has_logged "$1" || fail "no line of the log matches $1"
}

case_busybox() {
	need_container_kernel
	make_system tree
	begin --rootfs tree
	expect_log '^container: kvmbox$'
	expect_log '^console: works$'
	expect_log '^run: tmpfs /run tmpfs rw'
	expect_log '^cgroup: .* cgroup2 rw'
	expect_log '^cgroups: made$'

	# What comes later is in the same namespaces.
	kv exec a cat /proc/1/comm /mnt/file
	expect_stdout $'init\ninside\n'
	kv exec a ps
	expect_line '^ +1 .*init$'
	expect_line 'sleep 100000$'
	! grep -q kvmbox "$out" || fail "it sees what is outside of its namespace"
	echo copied >file
	kv cp file a:/mnt/copied
	expect_status 0
	kv exec a cat /mnt/copied
	expect_stdout $'copied\n'

	kv stop -t 60 a
	expect_status 0
	expect_log '^in order$'
	kv wait a
	expect_stdout $'0\n'
}

# By itself, on a root that is to be clean, and from the foreground by a signal.
case_ends() {
	need_container_kernel
	make_system tree
	make_ext4 root.ext4 64M tree
	begin --rootfs root.ext4
	kv exec a poweroff
	kv wait a
	expect_stdout $'0\n'
	expect_log '^in order$'
	fsck_clean root.ext4

	boot_async --init --rootfs root.ext4
	await_line '^up.$' # and CR, as on any console
	kill -HUP "$pid"
	finish
	expect_status 0
	expect_line '^in order.$'
	expect_stderr ''
	fsck_clean root.ext4
}

# One that does not shut down is killed as any command is.
case_stubborn() {
	need_container_kernel
	make_system tree
	rm tree/sbin/init
	printf '#!/bin/sh\necho up\nwhile :; do sleep 1; done\n' >tree/sbin/init
	chmod +x tree/sbin/init
	make_ext4 root.ext4 64M tree
	begin --rootfs root.ext4
	kv stop -t 2 a
	kv wait a
	expect_stdout $'137\n'
	fsck_clean root.ext4
}

case_terminal() {
	need_container_kernel
	[[ -x /usr/bin/python3 ]] || skip "/usr/bin/python3 is not installed"
	make_system tree
	echo '::respawn:-/bin/sh' >>tree/etc/inittab
	begin -i -t --rootfs tree
	/usr/bin/python3 -I "$lab/terminal.py" attach "$kvmbox" 2>"$dir/.why" || exit 1
}

# Kernels without namespaces say so.
case_micro_kernel() {
	make_system tree
	boot --init --kernel "$(dirname "$kvmbox")/guest/vmlinux-micro" --rootfs tree
	expect_status 125
	expect_sentence 'this kernel has no namespaces for an init'
}
