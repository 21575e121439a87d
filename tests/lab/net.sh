# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# --net and --publish.
# shellcheck source=tests/lab/netlib.sh
. "$lab/netlib.sh"

# udp_send NETNS ADDR PORT: sends a datagram there. In the guest nobody listens (its busybox knows no UDP), but
# its kernel counts it, which $serve tells at the end.
udp_send() {
	${1:+ip netns exec "$1"} bash -c 'echo hello >"/dev/udp/$0/$1"' "$2" "$3"
}

# What a guest says once it serves /page at its port 80.
serve='echo "the page of $(hostname)" >/tmp/page; httpd -p 80 -h /tmp; echo ready; read line
	set -- $(grep "^Udp: [0-9]" /proc/net/snmp); echo "datagrams to ports where nobody listens: $3"'

case_tap() {
	own_host
	ip tuntap add tap0 mode tap
	ip addr add 198.51.100.1/24 dev tap0
	ip addr add 2001:db8:1::1/64 dev tap0 nodad
	ip link set tap0 mtu 4000 up
	boot_async --net tap=tap0,mac=02:00:00:00:ab:cd,ip=198.51.100.2/24,ip=2001:db8:1::2/64,ip=198.51.100.77/24,gw=198.51.100.1,gw=2001:db8:1::1,dns=198.51.100.1,dns=2001:db8:1::1 -- /bin/sh -c '
		ip link show eth0
		ip route; ip -6 route
		cat /etc/resolv.conf /etc/hosts
		ping -c 2 -s 3000 198.51.100.1 >/dev/null && echo pings IPv4
		ping -c 2 -s 3000 2001:db8:1::1 >/dev/null && echo pings IPv6
		echo ready; read line'
	await_line '^ready$'
	ping -q -c 2 -W 10 198.51.100.2
	ping -q -c 2 -W 10 198.51.100.77
	ping -q -c 2 -W 10 2001:db8:1::2
	echo >&7
	finish
	expect_status 0
	expect_line 'mtu 4000'
	expect_line 'link/ether 02:00:00:00:ab:cd'
	expect_line '^default via 198.51.100.1 dev eth0'
	expect_line '^default via 2001:db8:1::1 dev eth0'
	expect_line '^nameserver 198.51.100.1$'
	expect_line '^nameserver 2001:db8:1::1$'
	expect_line '^198.51.100.2[[:space:]]kvmbox-'
	expect_line '^pings IPv4$'
	expect_line '^pings IPv6$'
	ip link show tap0 >/dev/null || fail "the user's tap is gone"
}

# An address of its own network only, whose gateway is in none: as some hosters have it.
case_tap_onlink() {
	own_host
	ip tuntap add tap0 mode tap
	ip addr add 198.51.100.1/32 dev tap0
	ip link set tap0 up
	ip route add 203.0.113.7 dev tap0
	cat >vm.json <<-'END'
		{
		  "network-interfaces": [ { "iface_id": "eth0", "guest_mac": "06:00:AC:10:00:02", "host_dev_name": "tap0",
		    "mtu": 1400, "ip": [ "203.0.113.7/32" ], "gw": [ "198.51.100.1" ] } ],
		  "workload": { "argv": [ "/bin/sh", "-c", "ip link show eth0; ping -c 2 198.51.100.1 >/dev/null && echo pings" ] }
		}
	END
	boot --config vm.json
	expect_status 0
	expect_line 'mtu 1400'
	expect_line 'link/ether 06:00:ac:10:00:02'
	expect_line '^pings$'
}

# The link of the guest's card follows the tap's, and without the tap the guest goes on.
case_tap_down_and_gone() {
	own_host
	ip tuntap add tap0 mode tap
	ip addr add 198.51.100.1/24 dev tap0
	ip link set tap0 up
	boot_async --net tap=tap0,ip=198.51.100.2/24 -- /bin/sh -c '
		is() { until [ "$(cat /sys/class/net/eth0/carrier)" = "$1" ]; do sleep 0.1; done; echo "carrier $1"; }
		is 1; is 0; is 1
		ping -c 2 -W 10 198.51.100.1 >/dev/null && echo pings
		is 0
		read line
		echo still here'
	await_line '^carrier 1$'
	ip link set tap0 down
	await_line '^carrier 0$'
	ip link set tap0 up
	await_line '^pings$'
	ip link del tap0
	await_line "^kvmbox: net0: the host's end of it is gone" "$err"
	echo >&7
	finish
	expect_status 0
	expect_line '^still here$'
}

case_tap_errors() {
	own_host
	boot --net tap=tap7 -- true
	expect_status 125
	expect_sentence 'there is no network interface tap7'
	boot --net tap=uplink -- true
	expect_status 125
	expect_sentence 'uplink is not a tap interface|another interface of this name'
	ip tuntap add tap0 mode tap
	boot --net tap=tap0,queues=4 -- true
	expect_status 125
	expect_sentence 'tap0 is not a tap with several queues'
	boot --net tap=tap0,mtu=9000 -- true
	expect_status 125
	expect_sentence "the tap's own MTU is 1500"
	ip link set tap0 up
	boot_async --net tap=tap0 -- /bin/sh -c 'echo ready; read line'
	await_line '^ready$'
	"$kvmbox" boot --net tap=tap0 -- true 2>second && fail "two VMs have the same tap"
	grep -q '^kvmbox: tap tap0 is in use' second || fail "no word about the tap in use: $(<second)"
	echo >&7
	finish
	expect_status 0
}

case_nat() {
	own_host
	boot_async --net nat,queues=2 --cpus 2 --name web --publish 8080:80 -p 192.0.2.1:5353:53/udp -- /bin/sh -c '
		ip addr; ip route; cat /etc/hosts
		wget -qO- http://192.0.2.2/page
		wget -qO- "http://[2001:db8::2]/page"
		wget -qO- http://remote.example/page && echo by name
		ping -c 1 -W 10 "$(hostname)" >/dev/null && echo I am in /etc/hosts
		'"$serve"'
		echo hairpin: $(wget -qO- http://192.0.2.1:8080/page)'
	await_line '^ready$'
	[[ $(http remote 192.0.2.1 8080) == 'the page of web' ]] || fail "the port is not reached from outside"
	[[ $(http remote 2001:db8::1 8080) == 'the page of web' ]] || fail "the port is not reached from outside, IPv6"
	[[ $(http '' 192.0.2.1 8080) == 'the page of web' ]] || fail "the port is not reached at the host's own address"
	[[ $(http '' 2001:db8::1 8080) == 'the page of web' ]] || fail "the port is not reached at the host's own IPv6 address"
	[[ $(http '' 127.0.0.1 8080) == 'the page of web' ]] || fail "the port is not reached at 127.0.0.1"
	udp_send remote 192.0.2.1 5353
	# Nobody is let in by the guest's own address.
	ip -n remote route add 10.213.0.0/16 via 192.0.2.1
	! http remote 10.213.0.2 2>/dev/null || fail "the guest is reached past the published port"
	"$kvmbox" boot --net nat -p 8080:81 -- true 2>second && fail "two VMs have the same published port"
	grep -q '^kvmbox: --publish 8080:81/tcp: port 8080 of the host is in use' second || fail "no word about the port in use: $(<second)"
	echo >&7
	finish
	expect_status 0
	[[ $(grep -c '^the remote page$' "$out") == 3 ]] || fail "the guest has not reached the remote server each time"
	expect_line '^by name$'
	expect_line 'I am in /etc/hosts'
	expect_line '^10.213.0.2[[:space:]]web$'
	expect_line '^hairpin: the page of web$'
	expect_line '^datagrams to ports where nobody listens: [1-9]'
	expect_nothing_left
}

# The host asks a resolver of its own, which answers nobody but the host.
case_nat_loopback_dns() {
	own_host
	"$lab/resolver.py" 127.0.0.53 192.0.2.2 &
	echo 'nameserver 127.0.0.53' >resolv.conf
	busybox httpd -f -p 127.0.0.1:81 -h www &
	busybox httpd -f -p 82 -h www &
	await 60 "the local web servers" http '' 127.0.0.1 82
	boot --net nat -- /bin/sh -c '
		wget -qO- http://remote.example/page && echo by name
		# All else of the host is closed: what listens to all, and what listens to it alone.
		ip route add 127.0.0.1/32 via 10.213.0.1 dev eth0 table 7
		wget -T 3 -qO- http://10.213.0.1:82/page && echo host reached
		wget -T 3 -qO- http://192.0.2.1:82/page && echo host reached
		ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.0/8 via 10.213.0.1
		echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
		wget -T 3 -qO- http://127.0.0.1:81/page && echo host reached
		true'
	expect_status 0
	expect_line '^by name$'
	! grep 'host reached' "$out" || fail "the guest reaches a service of the host"
	expect_nothing_left
}

# A guest that pretends to be somebody else is not heard.
case_nat_spoof() {
	own_host
	ip netns exec remote timeout 60 tcpdump -lni eth0 icmp >dump 2>/dev/null &
	boot --net nat -- /bin/sh -c '
		ip addr add 198.51.100.66/32 dev eth0
		ping -c 1 -W 10 192.0.2.2 >/dev/null && echo pings
		ping -c 2 -W 2 -I 198.51.100.66 192.0.2.2 >/dev/null && echo spoofed
		true'
	expect_status 0
	expect_line '^pings$'
	! grep spoofed "$out" || fail "a packet with a source of its own was answered"
	! grep 198.51.100.66 dump || fail "a packet with a source of its own has left the host"
}

case_nat_two() {
	own_host
	boot_async --net nat --name one -- /bin/sh -c "ip -o addr show eth0; $serve"
	await_line '^ready$'
	"$kvmbox" boot --net nat --name two -- /bin/sh -c '
		ip -o addr show eth0
		wget -qO- http://192.0.2.2/page
		wget -T 3 -qO- http://10.213.0.2/page
		ping -c 2 -W 3 10.213.0.2 >/dev/null && echo reached
		true' >second 2>&1
	echo >&7
	finish
	expect_status 0
	expect_line ' 10.213.0.2/30 '
	grep -q ' 10.213.0.6/30 ' second || fail "the second VM has not the second network: $(<second)"
	grep -q 'the remote page' second || fail "the second VM does not reach the remote server"
	! grep -e 'the page of one' -e reached second || fail "the second VM reaches the first"
	expect_nothing_left
}

# Two VMs of which one allows the other, which is behind NAT at its own address then.
case_nat_allow() {
	own_host
	boot_async --net nat --name one -- /bin/sh -c "$serve"
	await_line '^ready$'
	"$kvmbox" boot --net nat --name two --allow one -- /bin/sh -c '
		wget -qO- http://10.213.0.2/page
		ping -c 1 -W 10 10.213.0.2 >/dev/null && echo pings' >second 2>&1
	"$kvmbox" boot --net nat --name three -- /bin/sh -c '
		wget -T 3 -qO- http://10.213.0.2/page; true' >third 2>&1
	echo >&7
	finish
	expect_status 0
	grep -q '^the page of one$' second || fail "the allowed VM does not reach the other: $(<second)"
	grep -q '^pings$' second || fail "the allowed VM does not ping the other: $(<second)"
	! grep 'the page of' third || fail "a VM that is not allowed reaches another"
	expect_nothing_left
}

# own_bridge: br0, which has an address, with the ports tap0 and tap1.
own_bridge() {
	ip link add br0 type bridge
	ip addr add 198.51.100.1/24 dev br0
	ip addr add 2001:db8:1::1/64 dev br0 nodad
	ip link set br0 up
	for tap in tap0 tap1; do
		ip tuntap add "$tap" mode tap
		ip link set "$tap" master br0 up
	done
}

# Guests of one bridge: by themselves they are kept apart, by any of their names they meet.
limit_tap_two=300
case_tap_two() {
	own_host
	own_bridge
	boot_async --net tap=tap0,ip=198.51.100.2/24,ip=2001:db8:1::2/64 --name one -- /bin/sh -c "$serve"
	await_line '^ready$'
	local allow
	for allow in '' '--allow one'; do
		# shellcheck disable=SC2086  # none, or two words
		"$kvmbox" boot --net tap=tap1,ip=198.51.100.3/24,ip=2001:db8:1::3/64 --name two $allow -- /bin/sh -c '
			ping -c 1 -W 10 198.51.100.1 >/dev/null && ping -c 1 -W 10 2001:db8:1::1 >/dev/null && echo pings
			timeout 20 wget -qO- http://198.51.100.2/page
			timeout 20 wget -qO- "http://[2001:db8:1::2]/page"; true' >"second$allow" 2>&1
		grep -q '^pings$' "second$allow" || fail "a VM does not reach its host: $(<"second$allow")"
	done
	echo >&7
	finish
	expect_status 0
	! grep 'the page of' second || fail "a VM reaches another of the same bridge"
	[[ $(grep -c '^the page of one$' 'second--allow one') == 2 ]] || fail "the allowed VM does not reach the other: $(<'second--allow one')"
	expect_nothing_left
}

# lies FILTER: boots a guest that pretends to be somebody else, and says in $neighbours what of it was believed.
lies() {
	boot_async --net "tap=tap0,ip=198.51.100.2/24$1" -- /bin/sh -c '
		ping -c 1 -W 10 198.51.100.1 >/dev/null && echo pings
		echo ready; read line
		ip addr add 198.51.100.9/24 dev eth0
		arping -q -U -c 2 -w 3 -I eth0 -s 198.51.100.9 198.51.100.9
		arping -q -A -c 2 -w 3 -I eth0 -s 198.51.100.9 198.51.100.9
		ping -c 2 -W 2 -I 198.51.100.9 198.51.100.1 >/dev/null && echo another address
		ip link set eth0 address 02:00:00:00:00:77
		ping -c 2 -W 2 198.51.100.1 >/dev/null && echo another MAC
		echo done; read line'
	await_line '^ready$'
	ip neigh replace 198.51.100.9 dev br0 lladdr 02:00:00:00:00:99 nud stale
	echo >&7
	await_line '^done$'
	neighbours=$(ip neigh show)
	echo >&7
	finish
	expect_status 0
	expect_line '^pings$'
}

limit_tap_lies=300
case_tap_lies() {
	own_host
	own_bridge
	lies ''
	! grep another "$out" || fail "a lie was believed"
	[[ $neighbours == *'198.51.100.9 dev br0 lladdr 02:00:00:00:00:99'* ]] || fail "a neighbour's address was taken: $neighbours"
	lies ,filter=off
	expect_line '^another address$'
	expect_line '^another MAC$'
	[[ $neighbours != *'lladdr 02:00:00:00:00:99'* ]] || fail "the test is void: nobody has listened to the guest"
}

# A network that the host uses is not given to a guest.
case_nat_collision() {
	own_host
	ip link add dummy0 type dummy
	ip link set dummy0 up
	ip route add 10.213.0.0/17 dev dummy0 table 100
	ip addr add 10.213.128.5/32 dev dummy0
	boot --net nat -- /bin/sh -c 'ip -o -4 addr show eth0; wget -qO- http://192.0.2.2/page'
	expect_status 0
	expect_line ' 10.213.128.2/30 '
	expect_line '^the remote page$'
	ip route add 10.213.128.0/17 dev dummy0
	boot --net nat -- /bin/sh -c 'ip -o -4 addr show eth0'
	expect_line ' 172.29.0.2/30 '
}

# Whoever is killed, nothing is left after the next start.
limit_nat_killed=300
case_nat_killed() {
	own_host
	local monitor
	boot_async --net nat -p 8080:80 -- /bin/sh -c 'echo up; while :; do sleep 1; done'
	await_line '^up$'
	kill -KILL "$(monitor_of "$pid")"
	finish
	expect_status 125
	expect_nothing_left

	boot_async --net nat -p 8080:80 -- /bin/sh -c 'echo up; while :; do sleep 1; done'
	await_line '^up$'
	monitor=$(monitor_of "$pid")
	kill -KILL "$pid"
	finish 2>/dev/null
	expect_status 137
	await 60 "the end of the monitor" gone "$monitor"
	[[ $(nft list tables | grep -c kvmbox0) == 2 ]] || fail "the test is void: the killed VM has not left its tables"
	boot --net nat -p 8080:80 -- /bin/sh -c 'ip -o addr show eth0'
	expect_status 0
	expect_line ' 10.213.0.2/30 '
	expect_nothing_left
}

# An error in the middle of the set-up.
case_nat_errors() {
	own_host
	boot --net nat -p 198.51.100.9:80:80 -- true
	expect_status 125
	expect_sentence 'this host has no address 198.51.100.9'
	expect_nothing_left
	boot --net nat --net tap=none -- true
	expect_status 125
	expect_sentence 'there is no network interface none'
	expect_nothing_left
	chmod 666 /dev/kvm
	status=0
	setpriv --reuid 65534 --regid 65534 --clear-groups "$kvmbox" boot --net nat -- true 2>"$err" || status=$?
	expect_status 125
	expect_sentence 'only root may do'
}

# as_nobody_boot ARG...: boot as a user who has /dev/kvm and nothing else.
as_nobody_boot() {
	last_boot=$(printf ' %q' "$@")
	setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/nonexistent "$kvmbox" boot "$@"
}

user_guest='
	ip -o addr show eth0
	wget -qO- http://192.0.2.2/page
	wget -qO- "http://[2001:db8::2]/page"
	wget -qO- http://remote.example/page && echo by name
	wget -T 3 -qO- http://10.0.2.2:81/page && echo host reached
	'"$serve"

# check_user: what the guest of $user_guest has to do.
check_user() {
	await_line '^ready$'
	[[ $(http remote 192.0.2.1 8080) == 'the page of web' ]] || fail "the port is not reached from outside"
	[[ $(http '' 192.0.2.1 8080) == 'the page of web' ]] || fail "the port is not reached at the host's own address"
	[[ $(http '' 127.0.0.1 8080) == 'the page of web' ]] || fail "the port is not reached at 127.0.0.1"
	udp_send remote 192.0.2.1 5353
	echo >&7
	finish
	expect_status 0
	[[ $(grep -c '^the remote page$' "$out") == 3 ]] || fail "the guest has not reached the remote server each time"
	expect_line '^by name$'
	expect_line '^datagrams to ports where nobody listens: [1-9]'
	! grep 'host reached' "$out" || fail "the guest reaches what listens on 127.0.0.1 of the host"
	! passt_here || fail "passt is left behind"
}

case_user() {
	own_host
	need passt setpriv
	chmod 666 /dev/kvm
	busybox httpd -f -p 127.0.0.1:81 -h www &
	mkfifo .in
	as_nobody_boot --net user --name web -p 8080:80 -p 192.0.2.1:5353:53/udp -- /bin/sh -c "$user_guest" \
		<.in >"$out" 2>"$err" 7>&- &
	pid=$!
	exec 7>.in
	check_user
}

case_user_as_root() {
	own_host
	need passt
	# And a resolver that only the host can ask.
	"$lab/resolver.py" 127.0.0.1 192.0.2.2 &
	echo 'nameserver 127.0.0.1' >resolv.conf
	busybox httpd -f -p 127.0.0.1:81 -h www &
	boot_async --net user --name web -p 8080:80 -p 192.0.2.1:5353:53/udp -- /bin/sh -c "$user_guest"
	check_user
}

# Without passt's other end, either way.
limit_user_killed=300
case_user_killed() {
	own_host
	need passt
	boot_async --net user -- /bin/sh -c 'echo up; read line; cat /sys/class/net/eth0/carrier; echo still here'
	await_line '^up$'
	passt_here | xargs kill -KILL
	await_line "^kvmbox: net0: the host's end of it is gone" "$err"
	echo >&7
	finish
	expect_status 0
	expect_line '^still here$'

	boot_async --net user -- /bin/sh -c 'echo up; while :; do sleep 1; done'
	await_line '^up$'
	passt_here >/dev/null || fail "the test is void: there is no passt"
	kill -KILL "$pid"
	finish 2>/dev/null
	await 60 "the end of passt" no_passt
}

no_passt() {
	! passt_here >/dev/null
}

case_user_errors() {
	own_host
	need passt
	local kvmbox_dir
	kvmbox_dir=$(dirname "$kvmbox")
	status=0
	PATH=$kvmbox_dir "$kvmbox" boot --net user -- true 2>"$err" || status=$?
	expect_status 125
	expect_sentence 'passt is missing.*install passt'
	busybox httpd -f -p 8080 -h www &
	await 60 "the local web server" http '' 127.0.0.1 8080
	boot --net user -p 8080:80 -- true
	expect_status 125
	expect_sentence '--publish 8080:80/tcp: port 8080 of the host is in use'
	ip route del default
	ip -6 route del default
	boot --net user -- true
	expect_status 125
	expect_sentence 'it has no default route'
}

# Where the names go: a root that can be written, one that has links, one that cannot be written.
case_names() {
	own_host
	make_tree tree
	rmdir tree/etc
	make_ext4 bare.img 64M tree
	boot --net nat --rootfs bare.img -- /bin/sh -c 'cat /etc/hosts /etc/resolv.conf'
	expect_status 0
	expect_line '^10.213.0.2[[:space:]]kvmbox-'
	expect_line '^nameserver 192.0.2.2$'
	fsck_clean bare.img
	[[ -z $(debugfs -R 'cat /etc/resolv.conf' bare.img 2>/dev/null) ]] || fail "the guest's servers were written to the image"

	mkdir tree/etc tree/run
	echo '192.0.2.99 mine' >tree/etc/hosts
	ln -s ../run/systemd/resolve/stub-resolv.conf tree/etc/resolv.conf
	make_ext4 linked.img 64M tree
	boot --net nat --rootfs linked.img -- /bin/sh -c 'cat /etc/hosts /etc/resolv.conf'
	expect_status 0
	expect_line '^10.213.0.2[[:space:]]kvmbox-'
	expect_line '^nameserver 192.0.2.2$'
	[[ $(debugfs -R 'cat /etc/hosts' linked.img 2>/dev/null) == '192.0.2.99 mine' ]] || fail "the image's own hosts were changed"

	rm tree/etc/resolv.conf
	make_ext4 fixed.img 64M tree
	cat >vm.json <<-'END'
		{ "drives": [ { "path_on_host": "fixed.img", "is_root_device": true, "is_read_only": true } ],
		  "network-interfaces": [ { "mode": "nat" } ],
		  "workload": { "argv": [ "/bin/sh", "-c", "cat /etc/hosts; ls /etc" ] } }
	END
	boot --config vm.json
	expect_status 0
	expect_line '^10.213.0.2[[:space:]]kvmbox-'
	! grep resolv.conf "$out" || fail "there is a resolv.conf in a root that cannot be written"
	expect_stderr ''

	boot -- /bin/sh -c 'cat /etc/hosts; ls /etc/resolv.conf'
	expect_status 1
	! grep -v localhost "$out" || fail "a guest without a network has more than localhost in its hosts"
}
