# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2086,SC2154  # guests expand their own; lib.sh and run share variables
#
# What a guest may take of its host.

# A disk with a limit gives the guest that much and little less, in bytes and in requests, over all of its queues; one
# without it is not held back by its neighbour's.
case_disk() {
	truncate -s 256M a b c
	boot --cpus 2 --disk a,bw=256K,bw-burst=16K,queues=2 --disk b,iops=20,iops-burst=1 --disk c -- /bin/sh -c '
		# Sectors read of DEVICE, and requests, while two processes on two CPUs read all they can for 8 seconds.
		rate() {
			set -- $1 $2 $(cat /sys/block/$1/stat)
			before_ios=$3 before_sectors=$5
			start=$(tr -d . </proc/uptime)
			start=${start%% *}
			pids=
			for cpu in 0 1; do
				taskset -c $cpu dd if=/dev/$1 of=/dev/null bs=$2 iflag=direct skip=$((cpu * 1000)) 2>/dev/null &
				pids="$pids $!"
			done
			sleep 8
			set -- $1 $2 $(cat /sys/block/$1/stat)
			end=$(tr -d . </proc/uptime)
			end=${end%% *}
			kill $pids; wait
			echo "$1 $((($5 - before_sectors) * 512 * 100 / (end - start))) $((($3 - before_ios) * 100 / (end - start)))"
		}
		rate vdb 16k
		rate vdc 4k
		rate vdd 16k'
	expect_status 0
	local vdb vdc vdd
	read -r _ vdb _ < <(grep '^vdb ' "$out")
	read -r _ _ vdc < <(grep '^vdc ' "$out")
	read -r _ vdd _ < <(grep '^vdd ' "$out")
	note "limited to $((256 << 10)) bytes/s: $vdb; to 20 requests/s: $vdc; not limited: $vdd bytes/s"
	((vdb <= (256 << 10) * 11 / 10)) || fail "$vdb bytes a second, by a limit of $((256 << 10))"
	((vdb >= (256 << 10) / 2)) || fail "no more than $vdb bytes a second, by a limit of $((256 << 10))"
	((vdc <= 22)) || fail "$vdc requests a second, by a limit of 20"
	((vdc >= 10)) || fail "no more than $vdc requests a second, by a limit of 20"
	((vdd > 2 * vdb)) || fail "a disk without a limit is no faster: $vdd bytes a second"
}
