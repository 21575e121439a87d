# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016
# shellcheck disable=SC2154  # lib.sh and run share variables
#
# What the cases about the network share. Each has a host of its own, which is a network namespace: it
# has one interface, and behind that, in the namespace "remote", is the rest of the world.

# own_host: makes that host. The first thing in a case, which begins anew in it.
own_host() {
	need ip unshare nft ping
	[[ -e /dev/net/tun ]] || modprobe tun 2>/dev/null || skip "the host has no tap interfaces"
	[[ -n ${NET_CASE:-} ]] ||
		NET_CASE=1 exec unshare --net --mount bash "$lab/run" --case "$kvmbox" "$topic/$case_name" "$dir"
	mkdir -p /run/kvmbox /run/netns
	mount -t tmpfs own /run/kvmbox
	mount -t tmpfs own /run/netns
	echo 'nameserver 192.0.2.2' >resolv.conf
	mount --bind resolv.conf "$(realpath /etc/resolv.conf)"
	sysctl -qw net.ipv4.ping_group_range='0 2147483647'

	ip netns add remote
	ip link add uplink type veth peer name eth0 netns remote
	ip link set lo up
	ip addr add 192.0.2.1/24 dev uplink
	ip addr add 2001:db8::1/64 dev uplink nodad
	ip link set uplink up
	ip -n remote link set lo up
	ip -n remote addr add 192.0.2.2/24 dev eth0
	ip -n remote addr add 2001:db8::2/64 dev eth0 nodad
	ip -n remote link set eth0 up
	ip route add default via 192.0.2.2
	ip route add default via 2001:db8::2

	mkdir www
	echo 'the remote page' >www/page
	# In the foreground, so that the case's end ends them.
	ip netns exec remote busybox httpd -f -p 80 -h www &
	ip netns exec remote "$lab/resolver.py" 192.0.2.2 192.0.2.2 &
	await 60 "the remote web server" http remote 192.0.2.2 2>/dev/null
}

# http NETNS ADDR [PORT]: gets /page from there; NETNS "" is the host's own.
http() {
	within 10 ${1:+ip netns exec "$1"} bash -c 'exec 3<>"/dev/tcp/$0/$1" && printf "GET /page HTTP/1.0\r\n\r\n" >&3 &&
		sed "1,/^\r\$/d" <&3' "$2" "${3:-80}"
}

# expect_nothing_left: no VM's network is there.
expect_nothing_left() {
	[[ -z $(nft list tables) ]] || fail "there are tables left: $(nft list tables)"
	! ip -o link | grep kvmbox || fail "there is an interface left"
	[[ $(ls /run/kvmbox/net) == lock ]] || fail "there is a state file left: $(ls /run/kvmbox/net)"
}

# passt_here: prints the passt processes of this case; there may be those of others.
passt_here() {
	pgrep --ns $$ --nslist net passt
}
