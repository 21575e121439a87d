# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2086,SC2154  # guests expand their own; lib.sh and run share variables
#
# What a guest may take of its host.
# shellcheck source=tests/lab/netlib.sh
. "$lab/netlib.sh"

# expect_rate LIMIT RATE WHAT: the rate is that of the limit, or little less.
expect_rate() {
	(($2 <= $1 * 11 / 10)) || fail "$2 $3 a second, by a limit of $1"
	(($2 >= $1 / 2)) || fail "no more than $2 $3 a second, by a limit of $1"
}

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
	expect_rate $((256 << 10)) "$vdb" bytes
	expect_rate 20 "$vdc" requests
	((vdd > 2 * vdb)) || fail "a disk without a limit is no faster: $vdd bytes a second"
}

# patch PART BODY: changes a part of the VM p.
patch() {
	curl -s --unix-socket "$state/p/control.sock" -X PATCH "http://x/$1" -d "$2"
}

# guest_reads: prints the bytes per second that the VM p reads of its disk, over 6 seconds.
guest_reads() {
	"$kvmbox" exec p /bin/sh -c '
		dd if=/dev/vdb of=/dev/null bs=16k iflag=direct 2>/dev/null & dd=$!
		set -- $(cat /sys/block/vdb/stat)
		sectors=$3 start=$(tr -d . </proc/uptime)
		sleep 6
		set -- $(cat /sys/block/vdb/stat)
		end=$(tr -d . </proc/uptime)
		kill $dd
		echo $((($3 - sectors) * 512 * 100 / (${end%% *} - ${start%% *})))'
}

# Limits that change while the guest reads, at the control socket.
case_patch() {
	own_state
	need curl jq
	local limited free again begin
	local limit='{"rate_limiter": {"bandwidth": {"size": 16384, "refill_time": 1000, "refill": 262144}}}'
	local none='{"drive_id": "vdb", "rate_limiter": {"bandwidth": {"size": 0, "refill_time": 0}}}'
	truncate -s 1G a
	"$kvmbox" boot -d --name p --disk a,bw=256K,bw-burst=16K -- sleep 1000
	limited=$(guest_reads)
	[[ -z $(patch drives/vdb "$none") ]] || fail "a limit cannot be lifted"
	"$kvmbox" inspect p | jq -e '.[0].config.drives[0] | has("rate_limiter") | not' || fail "inspect shows a limit"
	free=$(guest_reads)
	[[ -z $(patch drives/vdb "$limit") ]] || fail "a limit cannot be set"
	again=$(guest_reads)
	note "limited to $((256 << 10)) bytes/s: $limited; not limited: $free; again: $again"
	expect_rate $((256 << 10)) "$limited" bytes
	expect_rate $((256 << 10)) "$again" bytes
	((free > 2 * limited)) || fail "without the limit it is no faster: $free bytes a second"

	# Who waits for a bucket that takes hours goes on when it is gone.
	patch drives/vdb '{"rate_limiter": {"ops": {"size": 1, "refill_time": 36000000}}}'
	"$kvmbox" exec p dd if=/dev/vdb of=/dev/null bs=4k count=8 iflag=direct 2>/dev/null &
	sleep 3
	kill -0 $! || fail "a limit of one request in ten hours lets eight through"
	begin=$SECONDS
	patch drives/vdb '{"rate_limiter": {"ops": {"size": 0, "refill_time": 0}}}'
	wait $!
	((SECONDS - begin < 20)) || fail "it took $((SECONDS - begin)) s until the guest read on"
	patch drives/vdb '{"rate_limiter": {"ops": {"size": 1}}}' | grep -q 'drive: rate_limiter.ops: the key refill_time is missing' ||
		fail "half a bucket is not refused"
	patch drives/vdx "$limit" | grep -q 'no drive .*vdx' || fail "a disk that is not there can be limited"
	"$kvmbox" inspect p | jq -e '.[0].config.drives[0].rate_limiter == {"bandwidth": {"size": 16384, "refill_time": 1000,
		"refill": 262144}}' || fail "inspect does not show what is in force"
	"$kvmbox" stop -t 0 p
}

# limited_card LIMIT: a guest behind the tap tap0 with this limit. It listens at port 5000 and throws away what comes;
# a line of its input is a command of its shell's.
limited_card() {
	own_host
	need jq mkfs.erofs
	ip tuntap add tap0 mode tap
	ip addr add 198.51.100.1/24 dev tap0
	ip link set tap0 up
	make_tree tree
	copy_program tree bash
	boot_async --net "tap=tap0,ip=198.51.100.2/24,$1" --mem 256M --rootfs tree -- /bin/bash -c '
		sleep 1000 | busybox nc -l -p 5000 >/dev/null & echo ready
		while read -r line; do eval "$line"; done'
	await_line '^ready$'
}

# card_rate KEY: prints what passes tap0 in a second, counted over 8, after one for the burst.
card_rate() {
	local from to start end
	sleep 1
	from=$(ip -s -j link show tap0 | jq ".[0].stats64.$1") start=${EPOCHREALTIME/./}
	sleep 8
	to=$(ip -s -j link show tap0 | jq ".[0].stats64.$1") end=${EPOCHREALTIME/./}
	echo $(((to - from) * 1000000 / (end - start)))
}

# A TCP stream each way is as fast as the card may be, in bytes.
case_net_bytes() {
	limited_card bw=512K
	local sent received
	# It takes the end of its input for the end of it all.
	sleep 1000 | busybox nc -l -p 5001 >/dev/null &
	echo 'busybox nc 198.51.100.1 5001 </dev/zero & sender=$!' >&7
	sent=$(card_rate rx.bytes)
	echo 'kill $sender' >&7
	dd if=/dev/zero bs=64k 2>/dev/null >/dev/tcp/198.51.100.2/5000 &
	received=$(card_rate tx.bytes)
	note "by a limit of $((512 << 10)) bytes/s the guest sends $sent and receives $received"
	expect_rate $((512 << 10)) "$sent" 'bytes sent'
	expect_rate $((512 << 10)) "$received" 'bytes received'
}

# So is a flood of datagrams, in packets.
case_net_packets() {
	limited_card pps=100
	local sent received
	# Nobody listens, which each datagram but the first is told.
	echo 'exec 8>/dev/udp/198.51.100.1/9; while :; do printf x >&8; done 2>/dev/null & sender=$!' >&7
	sent=$(card_rate rx.packets)
	echo 'kill $sender' >&7
	exec 8>/dev/udp/198.51.100.2/9
	while :; do printf x >&8 || true; done 2>/dev/null &
	received=$(card_rate tx.packets)
	note "by a limit of 100 packets/s the guest sends $sent and receives $received"
	expect_rate 100 "$sent" 'packets sent'
	expect_rate 100 "$received" 'packets received'
}

# rss PID: prints the KiB of memory that a process has resident.
rss() {
	awk '$1 == "VmRSS:" { print $2 }' "/proc/$1/status"
}

rss_below() {
	(($(rss "$1") < $2))
}

# What a guest has filled and freed goes back to the host on its own.
case_reporting() {
	need_mem 800
	boot_async --mem 512M -- /bin/sh -c '
		mount -t tmpfs -o size=400m none /mnt
		dd if=/dev/zero of=/mnt/fill bs=1M count=256 2>/dev/null
		echo filled
		read -r x
		rm /mnt/fill
		echo freed
		read -r x'
	await_line '^filled$'
	local monitor full
	monitor=$(monitor_of "$pid")
	full=$(rss "$monitor")
	((full > 256 * 1024)) || fail "the guest has filled 256 MiB, and its monitor has $full KiB"
	echo >&7
	await_line '^freed$'
	await 90 'the memory to come back' rss_below "$monitor" $((full - 200 * 1024))
	note "$((full / 1024)) MiB, and $(($(rss "$monitor") / 1024)) MiB once they were freed"
	echo >&7
	finish
	expect_status 0
}

# What is asked for goes to the host, as far as the guest can spare it, and comes back.
case_balloon() {
	own_state
	need curl jq
	need_mem 800
	local monitor full free
	"$kvmbox" boot -d --name b --mem 512M -- /bin/sh -c '
		mount -t tmpfs -o size=400m none /mnt
		dd if=/dev/zero of=/mnt/fill bs=1M count=256 2>/dev/null
		echo filled
		sleep 1000'
	await 60 'the guest to fill its memory' has_filled
	monitor=$(jq .monitor_pid "$state/b/state.json")
	full=$(rss "$monitor")
	"$kvmbox" exec b rm /mnt/fill
	balloon '{"amount_mib": 300}' >answer
	[[ ! -s answer ]] || fail "the answer: $(<answer)"
	await 90 'the guest to give memory up' balloon_is $((300 << 20))
	await 30 'the memory to come back' rss_below "$monitor" $((full - 200 * 1024))
	free=$("$kvmbox" exec b cat /proc/meminfo | awk '$1 == "MemTotal:" { print $2 }')
	balloon '{"amount_mib": 512}' | grep -q 'amount_mib: 512 is out of range' || fail "all of the memory could be asked for"
	balloon '{"amount_mib": 0}'
	await 90 'the guest to take it back' balloon_is 0
	"$kvmbox" exec b dd if=/dev/zero of=/mnt/fill bs=1M count=256 2>/dev/null
	note "$((full / 1024)) MiB, $(($(rss "$monitor") / 1024)) MiB once they were filled again; MemTotal was $free kB"
	"$kvmbox" stop b
}

# balloon BODY: sets the balloon of the VM b.
balloon() {
	curl -s --unix-socket "$state/b/control.sock" -X PATCH http://x/balloon -d "$1"
}

has_filled() {
	"$kvmbox" logs b | grep -qx filled
}

balloon_is() {
	"$kvmbox" stats --json b | grep -q "\"balloon_bytes\": *$1\b"
}
