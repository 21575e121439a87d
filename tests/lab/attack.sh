# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # lib.sh and run share variables
#
# Whoever has a root shell in a guest does his worst, and next door is another VM which is asked all the time: it
# answers, the host has what it had, and what became of the attacker is told. tests/bench/neighbour has the figures,
# and a container beside.
# shellcheck source=tests/lab/netlib.sh
. "$lab/netlib.sh"

attack_s=12 # how long an attack goes on, once it has begun
longest_wait_ms=60000
notes=

# own_street: a host with a neighbour in it, and what the attacker needs.
own_street() {
	own_host
	own_state
	need musl-gcc mkfs.erofs mkfs.ext4 jq
	need_cgroups
	need_mem 800
	local name
	make_tree tree
	ln -s busybox tree/bin/ip
	for name in neighbour attacker; do
		musl-gcc -std=gnu17 -static -Os -o "tree/bin/$name" "$lab/$name.c"
	done
	head -c 4M /dev/zero >neighbour.img

	"$kvmbox" boot -d --name neighbour --net nat -p 127.0.0.1:7007:7 --rootfs tree --disk neighbour.img -- \
		neighbour /dev/vdb
	await 150 "the neighbour" has_logged neighbour ready
	mkfifo .probe
}

has_logged() {
	"$kvmbox" logs "$1" >logged && grep -qx "$2" logged
}

# look: notes what the host and the attacker have come to.
look() {
	local now
	read -r _ _ _ now _ </proc/loadavg
	now=${now#*/}
	((now <= most_tasks)) || most_tasks=$now
	if read -r now <"$group/pids.current"; then
		((now <= most_pids)) || most_pids=$now
	fi
	now=$(sed -n 's/^oom_kill //p' "$group/memory.events") && oom_kills=$now
	now=$(sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\).*/\1/p' "/proc/$supervisor/status") && supervisor_kib=$now
	now=$(cut -d ' ' -f 14,15 "/proc/$supervisor/stat") && supervisor_ticks=$((${now/ / + }))
	return 0
} 2>/dev/null

# kib_outside: prints the KiB on the host's disk besides what is the attacker's own.
kib_outside() {
	du -sk --exclude=attacker.img . | cut -f 1
}

# attack KIND: a root shell in a VM that does this for $attack_s seconds, when the VM is told to end, if it has not
# brought itself down; sets $status, $reason and $own_sectors, which it has written to its own disk. Fails unless the
# neighbour has answered all the time, and the host has what it had.
attack() {
	local begin tasks kib supervisor group pids_max
	local most_tasks=0 most_pids=0 oom_kills=0 supervisor_kib=0 supervisor_ticks=0
	rm -f attacker.img
	truncate -s 64M attacker.img
	mkfs.ext4 -q attacker.img
	"$lab/probe.py" 7007 <.probe >asked 2>asked.err &
	probe=$!
	exec 8>.probe
	await 150 "the neighbour's first answer" grep -q asking asked
	read -r _ _ _ tasks _ </proc/loadavg
	tasks=${tasks#*/}
	kib=$(kib_outside)
	own_sectors=$(stat -c %b attacker.img)
	# shellcheck disable=SC2016  # the guest's own
	"$kvmbox" boot -d --name attacker --mem 128M --net nat --rootfs tree --disk attacker.img -- /bin/sh -c '
		mount /dev/vdb /mnt && set -- '"$1"' $(ip route show default) && exec attacker $1 /mnt $4'
	supervisor=$(jq .pid "$state/attacker/state.json")
	group=$cgroups/kvmbox/attacker.$supervisor
	pids_max=$(cat "$group/pids.max" || true)
	await 150 "the attack" test -s "$state/attacker/output.log"
	begin=$SECONDS
	until ((SECONDS - begin >= attack_s)); do
		look
		sleep 0.5
	done
	"$kvmbox" stop attacker
	status=$("$kvmbox" wait attacker)
	reason=$("$kvmbox" inspect attacker | jq -r '.[0].reason')

	own_sectors=$(($(stat -c %b attacker.img) - own_sectors))

	exec 8>&-
	wait "$probe" || fail "the neighbour did not answer: $(tail -n 1 asked.err)"
	local answers longest
	read -r answers longest < <(tail -n 1 asked)
	notes+="$1: $answers answers, the longest after $longest ms; $status ($reason); $most_pids of $pids_max tasks;"
	notes+=" its supervisor took $supervisor_kib KiB, $((supervisor_ticks * 10)) ms of CPU. "
	note "$notes"
	((answers >= 3)) || fail "the neighbour gave no more than $answers answers"
	((longest <= longest_wait_ms)) || fail "the neighbour took $longest ms for an answer"
	[[ $("$kvmbox" ps -q) == neighbour ]] || fail "there should be the neighbour alone, not $("$kvmbox" ps -q)"

	((oom_kills == 0)) || fail "the kernel killed the attacker's monitor for its memory"
	((most_pids < pids_max)) || fail "the attacker has $most_pids tasks of the host, all that it may"
	# Other VMs may come and go, each with as few.
	((most_tasks < tasks + 500)) || fail "the host had $most_tasks tasks, and $tasks before"
	((supervisor_kib < 32 << 10)) || fail "the attacker's supervisor has taken $supervisor_kib KiB of memory"
	# Two logs of two megabytes.
	(($(kib_outside) < kib + (5 << 10))) || fail "the attack has taken $(($(kib_outside) - kib)) KiB of the host's disk"
	[[ ! -e $group ]] || fail "the attacker's cgroup is still there"
}

# expect_stopped: the attacker had to be told, and was ended then as anybody is.
expect_stopped() {
	case $reason-$status in
	stopped-143 | stopped-137 | signaled-143 | signaled-137) ;;
	*) fail "the end is $status ($reason)" ;;
	esac
	"$kvmbox" rm attacker
}

limit_within=900
# On itself, and what it has of the host.
case_within() {
	own_street
	attack fork
	expect_stopped
	attack memory
	expect_stopped
	attack panic
	[[ $reason == panic && $status == 125 ]] || fail "the end is $status ($reason)"
	"$kvmbox" inspect attacker | jq -r '.[0].error' | grep -q 'panicked: Kernel panic' ||
		fail "the state does not tell of the panic"
}

# udp_seen: prints how many datagrams came as far as the host's own sockets.
udp_seen() {
	awk '$1 == "Udp:" && $2 ~ /^[0-9]/ { print $2 + $3 + $4 }' /proc/net/snmp
}

limit_without=900
# On what it shares with the host.
case_without() {
	own_street
	local seen tracked
	attack disk
	expect_stopped
	((own_sectors > 4 << 11)) || fail "the attacker has written no more than $own_sectors sectors of its own disk"

	seen=$(udp_seen)
	attack flood
	expect_stopped
	seen=$(($(udp_seen) - seen))
	((seen < 100)) || fail "$seen datagrams have passed the rules"
	tracked=$(</proc/sys/net/netfilter/nf_conntrack_count)
	((tracked < 500)) || fail "the host keeps track of $tracked connections"

	# What a guest prints is kept on the host.
	attack output
	expect_stopped
}
