# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# --net under load: what arrives is what was sent, nobody is stuck, and nothing is left.
# shellcheck source=tests/lab/netlib.sh
. "$lab/netlib.sh"

# own_tap PAIRS [MTU]: a tap with addresses of the host's; sets $tap_net, the --net that goes with it.
own_tap() {
	local kind=()
	(($1 == 1)) || kind=(multi_queue)
	ip tuntap add tap0 mode tap "${kind[@]}"
	ip addr add 198.51.100.1/24 dev tap0
	ip addr add fd00::1/64 dev tap0 nodad
	ip link set tap0 mtu "${2:-1500}" up
	tap_net=tap=tap0,queues=$1,ip=198.51.100.2/24,ip=fd00::2/64,gw=198.51.100.1,gw=fd00::1
}

# cpus PAIRS: prints how many CPUs the guest gets, and so how many pairs Linux uses: no more than the host has, since
# on an emulated one guests with more did not always survive.
cpus() {
	local have
	have=$(nproc)
	printf '%s\n' $(($1 < have ? $1 : have))
}

# serve_file MIB: www/file, of noise, is at port 80 of the host and of "remote".
serve_file() {
	head -c $(($1 << 20)) /dev/urandom >www/file
	file_sum=$(sha256sum <www/file)
	busybox httpd -f -p 80 -h www &
	await 60 "the host's web server" http '' 198.51.100.1 2>/dev/null
}

# Says how many pairs are in use, gets both files at once, and then serves them.
file_guest='
	cd /sys/class/net/eth0/queues && set -- rx-*; echo $# pairs
	wget -qO /tmp/four http://198.51.100.1/file &
	wget -qO /tmp/six "http://[fd00::1]/file" &
	wait
	sha256sum </tmp/four; sha256sum </tmp/six
	httpd -p 80 -h /tmp; echo ready; read line'

# get URL: prints the sum of what is there.
get() {
	within 120 busybox wget -qO- "$1" | sha256sum
}

# check_files: of boot_async's guest that does $file_guest.
check_files() {
	await_line '^ready$' "$out" 240
	[[ $(grep -cFx "$file_sum" "$out") == 2 ]] || fail "a file has not reached the guest as it was"
	get http://198.51.100.2/four >four &
	local four=$!
	[[ $(get 'http://[fd00::2]/six') == "$file_sum" ]] || fail "a file has not come from the guest as it was, IPv6"
	wait "$four"
	[[ $(<four) == "$file_sum" ]] || fail "a file has not come from the guest as it was, IPv4"
	echo >&7
	finish
	expect_status 0
}

# files PAIRS: a large file each way, by IPv4 and IPv6 at the same time.
files() {
	own_host
	own_tap "$1"
	serve_file 16
	boot_async --net "$tap_net" --cpus "$(cpus "$1")" --mem 512M -- /bin/sh -c "$file_guest"
	check_files
	expect_line "^$(cpus "$1") pairs$"
}

limit_file_1_pair=400
case_file_1_pair() {
	files 1
}

limit_file_4_pairs=400
case_file_4_pairs() {
	files 4
}

case_mtu_9000() {
	own_host
	own_tap 1 9000
	serve_file 16
	boot_async --net "$tap_net,mtu=9000" --mem 512M -- /bin/sh -c "ip link show eth0; $file_guest"
	await_line '^ready$'
	expect_line 'mtu 9000'
	ping -q -c 2 -W 10 -M 'do' -s 8000 198.51.100.2
	ping -q -c 2 -W 10 -M 'do' -s 8000 fd00::2
	check_files
}

# iperf PAIRS: streams each way, as many as there are pairs.
iperf() {
	own_host
	need iperf3 jq mkfs.erofs
	own_tap "$1"
	make_tree tree
	copy_program tree iperf3
	boot_async --net "$tap_net" --cpus "$(cpus "$1")" --mem 256M --rootfs tree -- /bin/sh -c '
		cd /sys/class/net/eth0/queues && set -- rx-*; echo $# pairs
		echo ready; iperf3 --server >/dev/null & read line; kill $! && echo served'
	await_line '^ready$'
	moved to-guest "$1"
	moved from-guest "$1" --reverse
	echo >&7
	finish
	expect_status 0
	expect_line "^$(cpus "$1") pairs$"
	expect_line '^served$'
}

# moved WAY STREAMS OPTION...: streams of 16 MiB. The last bytes may be under way when it ends.
moved() {
	local way=$1 bytes
	await 60 "the guest's iperf3" iperf_client -P "$2" "${@:3}"
	bytes=$(jq .end.sum_received.bytes iperf.json)
	((bytes >= 8 << 20)) || fail "$bytes bytes have moved, $way"
}

# A server that has not come to rest since the last client refuses the next one, and iperf3 calls that no failure.
iperf_client() {
	within 300 iperf3 --client 198.51.100.2 --bytes 16M --json "$@" >iperf.json &&
		jq -e .end.sum_received.bytes iperf.json >/dev/null
}

case_iperf_1_pair() {
	iperf 1
}

limit_iperf_4_pairs=400
case_iperf_4_pairs() {
	iperf 4
}

# capture NETNS INTERFACE FILE [TCPDUMP-OPTION...]: writes what passes there; NETNS "" is the host's own. Sets
# $capture.
capture() {
	${1:+ip netns exec "$1"} tcpdump -Z root -B 32768 -Uni "$2" -w "$3" "${@:4}" tcp 2>"$3.log" &
	capture=$!
	await 60 "tcpdump" grep -q '^tcpdump: listening' "$3.log"
}

# frames FILE: prints "LENGTH SOURCE-MAC STATUS-OF-CHECKSUM" of each.
frames() {
	tshark -r "$1" -o tcp.check_checksum:TRUE -T fields -E separator=' ' -e frame.len -e eth.src -e tcp.checksum.status 2>/dev/null
}

# expect_frames WHAT FILE CONDITION: some of the frames there are so, as awk says it.
expect_frames() {
	awk "$3 { n++ } END { exit !n }" "$2" || fail "there is no $1"
}

expect_no_frames() {
	! awk "$3 { print; n++ } END { exit !n }" "$2" || fail "there is a $1"
}

# On the tap, frames are longer than the MTU and their checksums are not done yet, both ways: that is what the
# offloads are for. A network card which can do neither has "remote" behind it, where all must be in order.
limit_frames=400
case_frames() {
	own_host
	need ethtool tcpdump tshark
	own_tap 1
	serve_file 4
	sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	ip -n remote route add 198.51.100.0/24 via 192.0.2.1
	ip -n remote route add fd00::/64 via 2001:db8::1
	local off=(rx off tx off sg off tso off gso off gro off)
	ethtool -K uplink "${off[@]}" >/dev/null
	ip netns exec remote ethtool -K eth0 "${off[@]}" >/dev/null

	boot_async --net "$tap_net,mac=02:00:00:00:ab:cd" --mem 512M -- /bin/sh -c '
		cd /tmp
		for host in 198.51.100.1 192.0.2.2 "[2001:db8::2]"; do
			wget -qO file "http://$host/file" && sha256sum <file
		done
		httpd -p 80 -h /tmp; echo ready; read line'
	mkdir tap far
	capture '' tap0 tap/frames -s 128
	local tap_capture=$capture
	capture remote eth0 far/frames
	await_line '^ready$'
	get http://198.51.100.2/file >sums
	within 60 ip netns exec remote busybox wget -qO- http://198.51.100.2/file | sha256sum >>sums
	within 60 ip netns exec remote busybox wget -qO- 'http://[fd00::2]/file' | sha256sum >>sums
	kill -INT "$tap_capture" "$capture"
	wait "$tap_capture" "$capture" || true
	echo >&7
	finish
	expect_status 0
	[[ $(grep -cFx "$file_sum" "$out") == 3 ]] || fail "a file has not reached the guest as it was"
	[[ $(grep -cFx "$file_sum" sums) == 3 ]] || fail "a file has not come from the guest as it was"

	frames tap/frames >tap/list
	expect_frames "long frame from the guest" tap/list '$1 > 1514 && $2 == "02:00:00:00:ab:cd"'
	expect_frames "long frame to the guest" tap/list '$1 > 1514 && $2 != "02:00:00:00:ab:cd"'
	frames far/frames >far/list
	expect_frames "full frame from the guest" far/list '$1 == 1514'
	expect_no_frames "frame longer than the MTU behind the tap" far/list '$1 > 1514'
	expect_no_frames "frame with a wrong checksum behind the tap" far/list '$3 != 1'
}

# The guest's streams are stuck then, and nothing else of it is.
case_gone_under_load() {
	own_host
	own_tap 4
	serve_file 16
	boot_async --net "$tap_net" --cpus "$(cpus 4)" -- /bin/sh -c '
		is() { until [ "$(cat /sys/class/net/eth0/carrier)" = "$1" ]; do sleep 0.1; done; echo "carrier $1"; }
		while :; do wget -qO /dev/null http://198.51.100.1/file && echo got; done &
		while :; do wget -qO /dev/null "http://[fd00::1]/file"; done &
		httpd -p 80 -h /dev
		echo ready
		is 0
		echo still here'
	await_line '^ready$'
	busybox wget -qO /dev/null http://198.51.100.2/zero &
	await_line '^got$'
	ip link del tap0
	finish
	expect_status 0
	expect_line '^carrier 0$'
	expect_line '^still here$'
	expect_sentence "^kvmbox: net0: the host's end of it is gone"
}

# flood SECONDS ADDR: sends as many datagrams as it can, and prints their number.
flood() {
	python3 -c '
import socket, sys, time
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end, sent = time.monotonic() + float(sys.argv[1]), 0
while time.monotonic() < end:
    for _ in range(64):
        out.sendto(bytes(1400), (sys.argv[2], 9))
    sent += 64
print(sent)' "$@"
}

# A guest that has better things to do, and is sent more than it can take.
case_flood() {
	own_host
	own_tap 1
	boot_async --net "$tap_net" -- /bin/sh -c '
		while :; do :; done &
		echo ready
		read line; echo "answer to $line"; ip neigh
		read line; echo "answer to $line"'
	await_line '^ready$'
	note "$(flood 5 198.51.100.2) datagrams"
	echo one >&7
	await_line '^answer to one$'
	await_line '^198.51.100.1 dev eth0 lladdr'
	ping -q -c 2 -W 30 198.51.100.2
	ping -q -c 2 -W 30 fd00::2
	flood 3 198.51.100.2 >/dev/null &
	echo two >&7
	wait $!
	finish
	expect_status 0
	expect_line '^answer to two$'
	expect_stderr ''
}

# VMs come and go. An emulated host takes seconds for each.
limit_cycles=900
case_cycles() {
	own_host
	need passt
	local cycle cycles=${KVMBOX_CYCLES:-200}
	[[ -n ${KVMBOX_CYCLES:-} || ${IN_LAB:-} != amdv ]] || cycles=10
	for ((cycle = 0; cycle < cycles; cycle++)); do
		case $((cycle % 2)) in
		0) boot --net nat -p 8080:80 -- true ;;
		1) boot --net user -p 8080:80 -- true ;;
		esac
		expect_status 0
		expect_nothing_left
		! passt_here || fail "passt is left behind"
	done
	note "$cycles cycles"
}
