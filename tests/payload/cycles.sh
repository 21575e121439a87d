#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# cycles.sh KVMBOX GUEST [N]: N machines (default 200) come and go, each with a disk and a network by NAT or by passt
# with a published port, or on a tap, and a bare-metal guest that ends at once. Nothing may be left of them: no process,
# interface, rule, mount, cgroup or file. In namespaces of its own; as root.
set -euo pipefail

# shellcheck source=tests/payload/lib.sh
. "$(dirname "$0")/lib.sh"

fail() {
	printf 'cycle %s: %s\n' "$cycle" "$*" >&2
	exit 1
}

# everything: prints all that a machine could leave behind, a line each.
everything() {
	# Of processes, what is not this script's own.
	pgrep --list-name '' | cut -d ' ' -f 2 | sed -e '/^bash$/d' -e '/^pgrep$/d' -e '/^cut$/d' -e '/^sed$/d'
	# A tap that nobody has open any more is without carrier only after a while.
	ip -o link | sed -e 's/<[^>]*>//' -e 's/ state [A-Z]*//'
	ip -o addr
	ip rule
	nft list ruleset
	cut -d ' ' -f 5 /proc/self/mountinfo
	find /run "$TMPDIR"
	find /sys/fs/cgroup -type d -name '*kvmbox*'
}

own_namespaces 'network namespaces, taps and NAT' ip nft passt unshare -- "$@"

kvmbox=$1 guest=$2 cycles=${3:-200}
mount -t tmpfs own /run
sysctl -qw net.ipv4.ping_group_range='0 2147483647'
# Addresses that are still being probed for would change while we look.
sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
ip link set lo up
ip link add uplink type veth peer name remote
ip addr add 192.0.2.1/24 dev uplink
ip link set remote up
ip link set uplink up
ip route add default via 192.0.2.2
# Two, since a tap is in use for a moment after its machine's end.
for tap in tap0 tap1; do
	ip tuntap add "$tap" mode tap
	ip link set "$tap" addrgenmode none up
done
truncate -s 16M "$TMPDIR/disk"

for ((cycle = 0; cycle < cycles; cycle++)); do
	case $((cycle % 3)) in
	0) net=(nat --publish 8080:80) ;;
	1) net=(user --publish 8080:80) ;;
	2) net=("tap=tap$((cycle % 2)),ip=198.51.100.2/24") ;;
	esac
	status=0
	"$kvmbox" boot --kernel "$guest" --disk "$TMPDIR/disk" --net "${net[@]}" -- true >/run/output 2>&1 || status=$?
	# The guest ends without a word of its workload, which is what 125 says here.
	if [[ $status != 125 ]] || ! grep -q 'ok end' /run/output; then
		fail "status $status, ${net[*]}: $(</run/output)"
	fi
	rm /run/output
	if ((cycle == 2)); then
		# Locks and directories for all machines are there now, and stay.
		before=$(everything)
	elif ((cycle > 2)); then
		after=$(everything)
		[[ $after == "$before" ]] || fail "${net[*]} left something: $(diff <(printf '%s\n' "$before") <(printf '%s\n' "$after"))"
	fi
done
printf '%s cycles\n' "$cycles"
