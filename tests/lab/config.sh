# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# --config: our keys, Firecracker's keys, and flags over them; and what kvmbox lxc import makes.

case_file_and_flags() {
	make_tree tree
	make_ext4 root 64M tree
	truncate -s 4M data
	cat >vm.json <<-'END'
		{
		  "name": "from-file",
		  "machine-config": { "vcpu_count": 2, "mem_size_mib": 64, "smt": false },
		  "drives": [
		    { "drive_id": "d", "path_on_host": "data", "is_root_device": false, "is_read_only": false, "serial": "FROM-FILE" },
		    { "drive_id": "r", "path_on_host": "root", "is_root_device": true, "is_read_only": true }
		  ],
		  "workload": {
		    "argv": ["/bin/sh", "-c", "echo $A $B $(cat /proc/sys/kernel/hostname) $PWD; grep -c ^processor /proc/cpuinfo; cat /sys/block/vdb/serial; echo; grep -o ' / ext4 ro' /proc/mounts; echo x >/x; exit 4"],
		    "env": { "A": "a", "B": "b" },
		    "workdir": "/tmp"
		  }
		}
	END
	sha256sum root >sum
	boot --config vm.json --name from-flag --cpus 1 --env A=flag
	expect_status 4
	expect_stdout $'flag b from-flag /tmp\n1\nFROM-FILE\n / ext4 ro\n'
	expect_line "can't create /x: Read-only" "$err"
	sha256sum --status -c sum || fail "the read-only root was written to"

	boot --config vm.json -- /bin/sh -c 'cat /proc/sys/kernel/hostname; grep -c ^processor /proc/cpuinfo'
	expect_status 0
	expect_stdout $'from-file\n2\n'
}

# A vm_config.json as it is written for Firecracker: the root's own init has the machine, and the
# serial console is the terminal.
case_firecracker() {
	make_tree tree
	cat >tree/sbin/init <<-'END'
		#!/bin/sh
		mount -t proc proc /proc
		mount -t sysfs sysfs /sys
		echo "init is $$, of $(grep -c ^processor /proc/cpuinfo) CPUs"
		echo "root: $(grep ' / ' /proc/mounts)"
		echo /sys/block/*
		read -r line
		echo "typed: $line"
		echo written >/written
		mount -o remount,ro /
		reboot -f
	END
	chmod +x tree/sbin/init
	make_ext4 root.ext4 128M tree
	truncate -s 4M data
	cat >vm_config.json <<-END
		{
		  "boot-source": {
		    "kernel_image_path": "$(dirname "$kvmbox")/guest/vmlinux-micro",
		    "boot_args": "console=ttyS0 reboot=k panic=1 pci=off",
		    "initrd_path": null
		  },
		  "drives": [
		    { "drive_id": "rootfs", "partuuid": null, "is_root_device": true, "cache_type": "Unsafe",
		      "is_read_only": false, "path_on_host": "root.ext4", "io_engine": "Sync",
		      "rate_limiter": null, "socket": null },
		    { "drive_id": "data", "is_root_device": false, "is_read_only": true, "path_on_host": "data" }
		  ],
		  "machine-config": { "vcpu_count": 2, "mem_size_mib": 128, "smt": false, "track_dirty_pages": false, "huge_pages": "None" },
		  "cpu-config": null, "balloon": null, "network-interfaces": [], "vsock": null,
		  "logger": null, "metrics": null, "mmds-config": null, "entropy": null
		}
	END
	boot_async --config vm_config.json
	await_line 'init is 1'
	echo 'hello there' >&7
	finish
	expect_status 0
	tr -d '\r' <"$out" >console
	expect_line '^init is 1, of 2 CPUs$' console
	expect_line '^root: .* / ext4 rw' console
	expect_line '^/sys/block/vda /sys/block/vdb$' console
	expect_line '^typed: hello there$' console
	expect_line 'Linux version' console
	expect_stderr ''
	fsck_clean root.ext4
	[[ $(debugfs -R 'cat /written' root.ext4 2>/dev/null) == written ]] || fail "the guest's write is not in the image"
}

# What kvmbox lxc import makes of a container is booted as it is, and the guest has what it says.
case_lxc_container() {
	mkdir -p lxc/web
	make_tree lxc/web/rootfs
	cat >lxc/web/config <<-END
		lxc.rootfs.path = dir:$PWD/lxc/web/rootfs
		lxc.uts.name = "from-lxc"
		lxc.init.cmd = /bin/sh -c "cat /proc/sys/kernel/hostname /proc/sys/net/ipv4/ip_forward; echo \$A \$PWD; grep -c ^processor /proc/cpuinfo; cat /proc/sys/net/ipv4/ping_group_range"
		lxc.init.cwd = /tmp
		lxc.environment = A=b c
		lxc.cgroup2.cpu.max = 150000 100000
		lxc.cgroup2.memory.max = 64M
		lxc.sysctl.net.ipv4.ip_forward = 1
		lxc.sysctl.net.ipv4.ping_group_range = 7 9
	END
	"$kvmbox" lxc import web -P lxc 2>report || fail "$(<report)"
	boot --config web.json
	expect_status 0
	expect_stdout $'from-lxc\n1\nb c /tmp\n2\n7\t9\n'
}
