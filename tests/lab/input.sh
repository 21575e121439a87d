# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# What users get wrong. Each ends with one clear sentence on standard error, status 125, nothing on
# standard output and nothing left behind.

wrong=0

# refused REGEX ARG...: kvmbox boot ARG... must be refused in a sentence that matches. Goes on after
# a mismatch, so that one run shows them all; refusals_end gives the verdict.
refused() {
	local regex=$1 why=
	shift
	boot "$@"
	if [[ $status != 125 ]]; then
		why="its status is $status"
	elif [[ -s $out ]]; then
		why="it writes to standard output"
	elif [[ $(wc -l <"$err") != 1 ]]; then
		why="it does not say one line"
	elif ! grep -Eqe "^kvmbox: .*$regex" "$err"; then
		why="its sentence does not match $regex"
	fi
	[[ -n $why ]] || return 0
	wrong=$((wrong + 1))
	printf 'kvmbox boot%s\n  %s:\n' "$last_boot" "$why"
	head -n 5 "$err" | sed 's/^/  | /'
}

refusals_begin() {
	export KVMBOX_CACHE=$dir/cache
	# What all VMs share stays; and those of other cases come and go.
	own_state
	mkdir -p s /run/kvmbox/net
	find . /run/kvmbox/net /dev/shm | sort >../before."$case_name"
}

refusals_end() {
	find . /run/kvmbox/net /dev/shm | sort >../after."$case_name"
	diff ../before."$case_name" ../after."$case_name" || fail "a refused boot left something behind"
	last_boot=
	((wrong == 0)) || fail "$wrong mistakes are not answered as they should be"
}

case_options() {
	refusals_begin
	refused '--cpuz.*--cpus' --cpuz 2
	refused '--nonsense' --nonsense
	refused '-x' -x
	refused '--json.*no value' --json=1
	refused '--mem.*needs a value' --mem
	refused '"echo".*--' echo hi
	refused '--cpus.*0.*1 to 32' --cpus 0
	refused '--cpus.*33.*1 to 32' --cpus 33
	refused '--cpus.*-1' --cpus -1
	refused '--cpus.*"x"' --cpus x
	refused '--cpus.*""' --cpus ''
	refused '--cpus.*1\.5' --cpus 1.5
	refused '--mem.*1 MiB.*32 MiB' --mem 1M
	refused '--mem.*256M\?' --mem 256
	refused '--mem.*1 TiB.*memory of this host' --mem 1T
	refused '--mem.*99999999T' --mem 99999999T
	refused '--mem.*"lots"' --mem lots
	refused '--mem.*"-1"' --mem -1
	refused '--mem.*"12Q"' --mem 12Q
	refused '--timeout.*"soon"' --timeout soon
	refused '--timeout.*"-1s"' --timeout -1s
	refused "--name.*' '" --name 'a b'
	refused '--name.*64' --name "$(printf 'x%.0s' {1..64})"
	refused '--name.*empty' --name ''
	refused '--name.*-x' --name=-x
	refused '--env.*=' --env =x
	refused '--env.*empty' --env ''
	refused '--workdir.*absolute' --workdir tmp
	refused '--append.*control' --append $'a\nb'
	refused '--append|command line' --append "$(printf 'x%.0s' {1..3000})" -- /bin/true
	refused 'command.*empty' -- ''
	refusals_end
}

case_files() {
	mkdir a-directory
	mkfifo a-fifo
	: >empty
	echo 'not a kernel' >text
	head -c 1048576 /dev/urandom >noise
	head -c 4000000 "${kvmbox%/*}/guest/vmlinux-micro" >half-a-kernel
	head -c 100 "${kvmbox%/*}/guest/vmlinux-micro" >a-header
	ln -s nowhere dangling
	ln -s loop-b loop-a
	ln -s loop-a loop-b
	refusals_begin
	refused 'missing.*kernel.*No such file' --kernel missing
	refused 'a-directory.*kernel.*directory' --kernel a-directory
	refused 'a-fifo.*kernel.*fifo' --kernel a-fifo
	refused 'empty' --kernel empty -- /bin/true
	refused 'text.*not a kernel' --kernel text -- /bin/true
	refused 'noise.*not a kernel' --kernel noise -- /bin/true
	refused 'half-a-kernel' --kernel half-a-kernel -- /bin/true
	refused 'a-header' --kernel a-header -- /bin/true
	refused 'missing.*initrd.*No such file' --initrd missing
	refused 'a-directory.*initrd' --initrd a-directory
	refused '/dev/null.*initrd' --initrd /dev/null
	refused 'initrd.*command' --initrd text -- /bin/true
	refused 'initrd.*--rootfs' --initrd text --rootfs noise
	refused 'missing.*No such file' --rootfs missing -- /bin/true
	refused 'noise.*file system' --rootfs noise -- /bin/true
	refused 'empty.*file system' --rootfs empty -- /bin/true
	refused 'a-fifo.*fifo' --rootfs a-fifo -- /bin/true
	refused 'dangling' --rootfs dangling -- /bin/true
	refused 'missing.*disk.*No such file' --disk missing
	refused 'loop-a' --disk loop-a
	refused 'a-directory.*directory' --disk a-directory
	refused 'a-fifo.*fifo' --disk a-fifo
	refused '/dev/null.*character device' --disk /dev/null
	refused 'empty.*empty' --disk empty -- /bin/true
	refused 'given as two disks' --disk noise --disk noise -- /bin/true
	refused 'given as two disks' --disk noise,ro --disk ./noise -- /bin/true
	refused '--disk.*path is empty' --disk ''
	refused '"r0".*ro' --disk noise,r0
	refused 'ro takes no value' --disk noise,ro=1
	refused 'serial' --disk noise,serial=
	refused 'serial.*1 to 20' --disk noise,serial=123456789012345678901
	refused 'direct.*on, off and auto' --disk noise,direct=maybe
	refused 'queues.*0.*1 to 16' --disk noise,queues=0
	refused 'queues.*99.*1 to 16' --disk noise,queues=99
	refused 'queues.*"x"' --disk noise,queues=x
	refused 'at most 12|more than' --disk a --disk b --disk c --disk d --disk e --disk f --disk g --disk h --disk i --disk j --disk k --disk l --disk m
	refusals_end
}

# json REGEX TEXT: as refused, for a config file.
json() {
	printf '%s' "$2" >config.json
	refused "$1" --config config.json
}

case_json() {
	echo text >text
	: >config.json
	refusals_begin
	refused 'missing.*No such file' --config missing
	refused 'text' --config text
	refused '/.*directory' --config /
	refused 'twice' --config text --config text
	json 'config.json.*empty' ''
	json 'config.json:1:[0-9]+: this is not JSON' 'nonsense'
	json 'config.json:2:3' $'{\n  bad }'
	json 'config.json:2:1.*ends' $'{ "name": "x"\n'
	json 'config.json.*array' '[]'
	json 'machine-confg.*machine-config' '{ "machine-confg": {} }'
	json 'machine-config.vcpu_cont.*vcpu_count' '{ "machine-config": { "vcpu_cont": 1 } }'
	json 'machine-config.vcpu_count.*whole number.*string' '{ "machine-config": { "vcpu_count": "1" } }'
	json 'machine-config.vcpu_count.*33' '{ "machine-config": { "vcpu_count": 33 } }'
	json 'machine-config.mem_size_mib' '{ "machine-config": { "mem_size_mib": 1 } }'
	json 'machine-config.mem_size' '{ "machine-config": { "mem_size_mib": 64, "mem_size": "64M" } }'
	json 'drives.*array' '{ "drives": {} }'
	json 'drives\[0\].*path_on_host' '{ "drives": [ { "drive_id": "x" } ] }'
	json 'drives\[0\].is_root_device.*true or false' '{ "drives": [ { "drive_id": "x", "path_on_host": "text", "is_root_device": 1 } ] }'
	json 'drives\[1\]' '{ "drives": [ { "drive_id": "x", "path_on_host": "text" }, { "drive_id": "x", "path_on_host": "text" } ] }'
	json 'no network interface missing0.*ip tuntap' '{ "network-interfaces": [ { "iface_id": "eth0", "host_dev_name": "missing0" } ] }'
	json 'network-interfaces\[0\].*host_dev_name' '{ "network-interfaces": [ { "iface_id": "eth0" } ] }'
	json 'workload.argv.*array' '{ "workload": { "argv": "echo hi" } }'
	json 'workload.argv\[1\].*string.*number' '{ "workload": { "argv": ["echo", 1] } }'
	json '"name".*twice' '{ "name": "a", "name": "b" }'
	json 'missing.*kernel' '{ "boot-source": { "kernel_image_path": "missing" } }'
	refusals_end
}

# Words before "boot".
case_command() {
	local arg
	for arg in boto '' --nonsense; do
		status=0
		"$kvmbox" "$arg" >"$out" 2>"$err" || status=$?
		last_boot=" (kvmbox '$arg')"
		expect_status 125
		expect_stdout ''
		expect_sentence 'unknown'
	done
	for arg in boot check; do
		"$kvmbox" "$arg" --help >"$out" 2>"$err" || fail "kvmbox $arg --help fails"
		expect_line "^Usage: kvmbox $arg"
		expect_stderr ''
	done
	"$kvmbox" --version >"$out"
	expect_line '^kvmbox [0-9]+\.[0-9]+'
}

# A root that is none inside: the guest says so, in order.
case_broken_root() {
	make_ext4 image 16M
	# The superblock's magic stays, what it describes does not.
	dd if=/dev/urandom of=image bs=4096 seek=1 count=100 conv=notrunc status=none
	boot --rootfs image -- /bin/true
	expect_status 125
	expect_stdout ''
	[[ $(head -n 1 "$err") =~ ^kvmbox:.*(root|/dev/vda|mounted) ]] || fail "the first line does not name the root"
}
