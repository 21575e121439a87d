# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# AppArmor's profile: in force, and nothing that kvmbox does is forbidden by it.
# shellcheck source=tests/lab/netlib.sh
. "$lab/netlib.sh"

# confined: installs kvmbox into this case's directory, with its profile, which is loaded.
confined() {
	need apparmor_parser aa-exec jq curl
	[[ $(cat /sys/module/apparmor/parameters/enabled 2>/dev/null) == Y ]] || skip "the host's kernel does not use AppArmor"
	[[ -e /sys/kernel/security/apparmor/profiles ]] || skip "the host has not mounted securityfs"
	! grep -q '^kvmbox ' /sys/kernel/security/apparmor/profiles || skip "the host has the profile loaded already"
	mkdir -p usr/bin usr/lib/kvmbox
	cp "$kvmbox" usr/bin/
	cp "${kvmbox%/*}"/guest/{init.cpio,vmlinux-micro,builtin.erofs} usr/lib/kvmbox/
	sed -e "s|^profile kvmbox [^ ]*|profile kvmbox $dir/usr/bin/kvmbox|" -e "s|^  [^ ]*/kvmbox mr,|  $dir/usr/bin/kvmbox mr,|" \
		"${kvmbox%/*}/data/kvmbox.apparmor" >profile
	apparmor_parser --skip-cache --replace profile
	dmesg --clear
	kvmbox=$dir/usr/bin/kvmbox
}

# denials: prints what the profile has denied since the last time.
denials() {
	dmesg --read-clear | grep -o 'apparmor="DENIED".*profile="kvmbox.*' || true
}

expect_no_denials() {
	local list
	list=$(denials)
	[[ -z $list ]] || fail "$1 is forbidden by the profile: $list"
}

expect_denial() {
	local list
	list=$(denials)
	[[ $list == *$1* ]] || fail "$2 is not forbidden by the profile: ${list:-no denial}"
}

limit_enforce=900
case_enforce() {
	own_host
	own_state
	confined
	# What the kernel knows by this path is not to be attached to the next case's program.
	trap 'ended=$?; apparmor_parser --remove profile; case_end $ended' EXIT
	local monitor

	# A disk, NAT, a directory as the root, an exec, files both ways.
	make_tree tree
	truncate -s 16M disk
	"$kvmbox" boot -d --name a --cpus 2 --disk disk,queues=2,bw=8M --net nat -p 8080:80 --rootfs tree -- /bin/sh -c '
		echo hello >/tmp/page; dd if=/dev/zero of=/dev/vdb bs=64k count=16 && sync; busybox httpd -p 80 -h /tmp; sleep 1000'
	monitor=$(jq .monitor_pid s/a/state.json)
	[[ $(<"/proc/$monitor/attr/apparmor/current") == 'kvmbox//monitor (enforce)' ]] ||
		fail "the monitor's label is $(<"/proc/$monitor/attr/apparmor/current")"
	[[ $(cat "/proc/$(jq .pid s/a/state.json)/attr/apparmor/current") == 'kvmbox (enforce)' ]] || fail "the supervisor is not confined"
	expect_no_denials 'a start'
	[[ $("$kvmbox" exec a cat /tmp/page) == hello ]] || fail "exec fails"
	echo file >file
	"$kvmbox" cp file a:/tmp/file
	"$kvmbox" cp a:/tmp/file back
	expect_same file back
	"$kvmbox" ps
	"$kvmbox" stats --json a
	"$kvmbox" logs a
	"$kvmbox" inspect a | jq -e '.[0].jail.left_out | index("Landlock") == null'
	curl -s --unix-socket s/a/control.sock -X PATCH http://x/drives/vdb -d '{"rate_limiter": {"bandwidth": {"size": 0, "refill_time": 0}}}'
	expect_no_denials 'a command'
	"$kvmbox" audit --json a >audit.json || true
	jq -e '.processes[0].apparmor == "kvmbox//monitor (enforce)"' audit.json || fail "the audit does not tell of the profile"
	jq -e '[.weaker[].rule] | index("apparmor") == null' audit.json || fail "the audit finds fault with the profile"
	expect_no_denials 'an audit'
	"$kvmbox" stop a
	"$kvmbox" rm a
	expect_no_denials 'a stop'

	boot --net user -p 8081:80 --disk disk,ro -- /bin/sh -c 'dd if=/dev/vdb of=/dev/null bs=64k count=16 2>/dev/null; echo up'
	expect_status 0
	expect_line '^up$'
	expect_no_denials 'passt'
	"$kvmbox" check >/dev/null || true
	expect_no_denials 'a check'

	# What is outside of it.
	truncate -s 16M /etc/kvmbox-test.img
	boot --disk /etc/kvmbox-test.img -- true
	rm /etc/kvmbox-test.img
	expect_sentence 'cannot open disk /etc/kvmbox-test.img for writing: Permission denied'
	expect_denial '/etc/kvmbox-test.img' 'a disk in /etc'
	! aa-exec -p kvmbox//monitor -- /bin/true || fail "a monitor can run a program"
	expect_denial 'profile="kvmbox//monitor"' 'a program'
}
