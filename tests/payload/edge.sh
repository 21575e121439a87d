#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# edge.sh KVMBOX GUEST: the rules around machines' network cards, as nft shows them, while machines with a bare-metal
# guest that only waits come and go: which machines may talk to each other, and what is left when they are killed. In
# namespaces of its own; as root.
set -euo pipefail

# shellcheck source=tests/payload/lib.sh
. "$(dirname "$0")/lib.sh"

fail() {
	printf '%s\n' "$*" >&2
	nft list sets >&2
	cat /run/*.out >&2
	exit 1
}

own_namespaces 'network namespaces, taps and rules' ip nft setpriv unshare -- "$@"

kvmbox=$1 guest=$2
mount -t tmpfs own /run
ip link set lo up
for tap in tap0 tap1 tap2; do
	ip tuntap add "$tap" mode tap
	ip link set "$tap" up
done

declare -A pids

# monitor_of NAME: prints its process, which is there once the network is.
monitor_of() {
	pgrep --parent "${pids[$1]}" kvmbox-vmm
}

# start NAME OPTION...: starts a machine, and returns once its network is there and its guest may run.
start() {
	local i
	for ((i = 0; i < 600; i++)); do
		try_start "$@" && return
		sleep 0.05
	done
	fail "$1: its tap stays in use"
}

# A tap is in use for a moment after its machine's end.
try_start() {
	"$kvmbox" boot --name "$1" --kernel "$guest" --append halt "${@:2}" -- true >"/run/$1.out" 2>&1 &
	pids[$1]=$!
	while kill -0 "${pids[$1]}" 2>/dev/null; do
		if monitor_of "$1" >/dev/null; then
			return
		fi
		sleep 0.05
	done
	grep -q 'is in use by another' "/run/$1.out" || fail "$1 has not started"
	return 1
}

# kill_all NAME SIGNAL: kills the machine's supervisor and its monitor.
kill_all() {
	local monitor
	monitor=$(monitor_of "$1")
	kill -"$2" "${pids[$1]}"
	wait "${pids[$1]}" 2>/dev/null || true
	tail --pid="$monitor" -f /dev/null
}

end() {
	"$kvmbox" kill "$1" >/dev/null
	wait "${pids[$1]}" 2>/dev/null || true
}

tables() {
	nft list tables | sort | tr '\n' ' '
}

expect_tables() {
	[[ $(tables) == "$1" ]] || fail "the tables are \"$(tables)\" and not \"$1\""
}

# has SET ELEMENT: whether it is in there.
has() {
	# shellcheck disable=SC2086  # family, table and name
	nft list set $1 | grep -wF "$2" >/dev/null
}

expect() {
	"$@" || fail "not so: $*"
}

expect_not() {
	! "$@" || fail "not to be so: $*"
}

one=02:00:00:00:00:01 two=02:00:00:00:00:02 three=02:00:00:00:00:03

# On taps.
start one --net "tap=tap0,mac=$one,ip=192.0.2.2/24"
expect_tables 'table netdev kvmbox-edge0 '
expect grep -q 'hook ingress device "tap0"' <(nft list ruleset)
expect grep -q 'comment "one"' <(nft list ruleset)
start two --net "tap=tap1,mac=$two"
start three --net "tap=tap2,mac=$three" --allow one
expect has 'netdev kvmbox-edge0 others' $two
expect has 'netdev kvmbox-edge1 others' $one
expect has 'netdev kvmbox-edge1 others' $three
expect has 'netdev kvmbox-edge2 others' $two
expect_not has 'netdev kvmbox-edge0 others' $three
expect_not has 'netdev kvmbox-edge2 others' $one
end two
expect_tables 'table netdev kvmbox-edge0 table netdev kvmbox-edge2 '
expect_not has 'netdev kvmbox-edge0 others' $two

# The monitor, which might be a guest's, has the file that tells others of the card, and cannot write there.
files=$(ls -l "/proc/$(monitor_of one)/fd")
expect grep -q -e '-> /run/kvmbox/net/kvmbox-edge0$' <<<"$files"
expect_not grep -q -e '^l.w.* -> /run/kvmbox/' <<<"$files"

# Whoever is killed goes with the next start, out of the tables of others, too.
start two --net "tap=tap1,mac=$two"
kill_all one KILL
expect_tables 'table netdev kvmbox-edge0 table netdev kvmbox-edge1 table netdev kvmbox-edge2 '
expect has 'netdev kvmbox-edge1 others' $one
start four --net "tap=tap0,mac=02:00:00:00:00:04"
expect_tables 'table netdev kvmbox-edge0 table netdev kvmbox-edge1 table netdev kvmbox-edge2 '
expect has 'netdev kvmbox-edge1 others' 02:00:00:00:00:04
expect_not has 'netdev kvmbox-edge1 others' $one
# Somebody has removed the rules of one of them: the others are told all the same.
nft delete table netdev kvmbox-edge1
end four
expect_not has 'netdev kvmbox-edge2 others' 02:00:00:00:00:04
start five --net "tap=tap0,mac=02:00:00:00:00:05"
expect_tables 'table netdev kvmbox-edge0 table netdev kvmbox-edge2 '
expect has 'netdev kvmbox-edge0 others' $two
expect has 'netdev kvmbox-edge0 others' $three
expect has 'netdev kvmbox-edge2 others' 02:00:00:00:00:05
end five
expect_not has 'netdev kvmbox-edge2 others' 02:00:00:00:00:05
end two
end three
expect_tables ''

# All cards of a machine are its own; of two state directories, two machines of one name are two all the same.
start one --net "tap=tap0,mac=$one" --net "tap=tap1,mac=$two"
first=${pids[one]}
expect_not has 'netdev kvmbox-edge0 others' $two
expect_not has 'netdev kvmbox-edge1 others' $one
KVMBOX_STATE=/run/elsewhere start one --net "tap=tap2,mac=$three"
expect has 'netdev kvmbox-edge0 others' $three
expect has 'netdev kvmbox-edge1 others' $three
expect has 'netdev kvmbox-edge2 others' $one
expect has 'netdev kvmbox-edge2 others' $two
KVMBOX_STATE=/run/elsewhere end one
expect_not has 'netdev kvmbox-edge0 others' $three
expect_not has 'netdev kvmbox-edge1 others' $three
pids[one]=$first
end one
expect_tables ''

# Without rules: because they are not wanted, or because a user may not make them.
start off --net tap=tap0,filter=off
expect_tables ''
end off
ip link del tap0
ip tuntap add tap0 mode tap user 65534
mknod -m 666 /run/kvm c 10 232
mount --bind /run/kvm /dev/kvm
setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/nonexistent "$kvmbox" boot --kernel "$guest" --net tap=tap0 \
	-- true >/run/user.out 2>&1 || true
grep -q 'ok end' /run/user.out || fail 'an ordinary user cannot use a tap of theirs'

# Nor is it started without them unless that was asked for.
status=0
setpriv --bounding-set -net_admin --inh-caps -net_admin "$kvmbox" boot --kernel "$guest" --net tap=tap1 -- true >/run/unable.out 2>&1 || status=$?
[[ $status == 125 && $(</run/unable.out) == *'add filter=off'* ]] || fail 'root without the right to make rules gets no sentence'

# Behind NAT, where one that allows the other is enough, whoever comes first.
start one --net nat
start two --net nat --allow one
start three --net nat
expect_tables "$(printf 'table %s kvmbox%s ' inet 0 inet 1 inet 2 netdev 0 netdev 1 netdev 2)"
expect has 'inet kvmbox0 allowed4' 10.213.0.6
expect has 'inet kvmbox1 allowed4' 10.213.0.2
expect_not has 'inet kvmbox0 allowed4' 10.213.0.10
expect_not has 'inet kvmbox2 allowed4' 10.213.0.2
kill_all two KILL
start four --net nat --allow '*'
expect_not has 'inet kvmbox2 allowed4' 10.213.0.2
expect has 'inet kvmbox0 allowed4' 10.213.0.6
expect has 'inet kvmbox2 allowed4' 10.213.0.6
kill_all one KILL
kill_all three KILL
kill_all four KILL
start last --net tap=tap1
expect_tables 'table netdev kvmbox-edge0 '
end last
expect_tables ''
expect_not grep -q kvmbox <(ip -o link)
[[ $(ls /run/kvmbox/net) == lock ]] || fail "there is a state file left: $(ls /run/kvmbox/net)"
