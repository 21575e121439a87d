# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# The machine's size.

case_small() {
	boot --cpus 1 --mem 32M -- /bin/sh -c 'nproc; awk "/^MemTotal/ { print \$2 }" /proc/meminfo'
	expect_status 0
	{ read -r cpus; read -r kib; } <"$out"
	[[ $cpus == 1 ]] || fail "the guest has $cpus CPUs, not 1"
	((kib > 8 * 1024 && kib < 32 * 1024)) || fail "the guest of 32 MiB says it has $kib KiB"
}

# 4 GiB lie on both sides of the hole below 4 GiB, and both are used.
case_large() {
	need_mem 4600
	boot --cpus 4 --mem 4G -- /bin/sh -c '
		nproc
		awk "/^MemTotal/ { print \$2 }" /proc/meminfo
		for cpu in 0 1 2 3; do
			taskset -c $cpu sh -c "echo cpu \$(cut -d \" \" -f 39 /proc/self/stat)" || exit 9
		done
		grep "System RAM" /proc/iomem
		free() { awk "/^Node 0, zone/ { zone = \$4 } zone == \"$1\" && \$2 == \"free\" { print \$3 }" /proc/zoneinfo; }
		before=$(free Normal)
		mount -t tmpfs -o size=200m tmpfs /mnt
		head -c 67108864 /dev/urandom >/mnt/data
		after=$(free Normal)
		echo above $((before - after))
		md5sum </mnt/data; md5sum </mnt/data'
	expect_status 0
	mapfile -t line <"$out"
	[[ ${line[0]} == 4 ]] || fail "the guest has ${line[0]} CPUs, not 4"
	((line[1] > 3900 * 1024 && line[1] < 4096 * 1024)) || fail "the guest of 4 GiB says it has ${line[1]} KiB"
	for cpu in 0 1 2 3; do
		expect_line "^cpu $cpu$"
	done
	expect_line '^100000000-[0-9a-f]+ : System RAM'
	above=$(sed -n 's/^above //p' "$out")
	((above > 10000)) || fail "64 MiB of data took $above pages above 4 GiB"
	[[ $(tail -n 2 "$out" | uniq | wc -l) == 1 ]] || fail "the same memory was read with two results"
}
