#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# drill.sh DRILL KNOCK ENDS SECURITY.md [short]: the breakout drill. A machine whose monitor is in the hands of drill.c
# makes each attempt in SECURITY.md's table, on each kind of thread, beside another machine, and fares as that table
# says; as root, and as a user who has /dev/kvm. With "short", as for a slow host, one attempt on each thread meets the
# filters, and all of them what is behind.
set -euo pipefail

# shellcheck source=tests/payload/lib.sh
. "$(dirname "$0")/lib.sh"

drill=$1 knock=$2 ends=$3 table=$4 short=${5:-}
as=() who='' role='' what='' neighbour='' work=''

fail() {
	printf '%s\n' "$who, $role, $what: $*" >&2
	exit 1
}

clean_up() {
	if [[ -n $neighbour ]]; then
		kill -KILL "$neighbour" 2>/dev/null || true
		wait "$neighbour" 2>/dev/null || true
	fi
	rm -rf "$dir"
}

need_kvm
for tool in pgrep setpriv; do
	command -v "$tool" >/dev/null || skip "there is no $tool"
done
dir=$(mktemp -d)
trap clean_up EXIT
chmod 777 "$dir"
# Where a user who is not its owner may have no way to.
install -m 755 "$drill" "$dir/drill"
install -m 644 "$knock" "$dir/knock"
install -m 644 "$ends" "$dir/ends"
echo 'no archive' >"$dir/initrd"

# boot [ARG]...: with $role and $what; its status in $status, its words and its monitor's in $work/words.
boot() {
	# New ones, as the last machine's may be locked for another moment.
	rm -f "$work"/{own,largest,ro}
	truncate -s 1M "$work/own"
	truncate -s 2M "$work/ro"
	truncate -s 3M "$work/largest"
	chmod 666 "$work"/{own,largest,ro}
	status=0
	"${as[@]}" DRILL_ROLE="$role" DRILL_ATTEMPT="$what" DRILL_NEIGHBOUR="$monitor" \
		DRILL_STATE="$dir/$who/state/neighbour" timeout 60 "$dir/drill" boot --kernel "$dir/knock" \
		--initrd "$dir/initrd" --disk "$work/own,queues=2" --disk "$work/largest" --disk "$work/ro,ro" "$@" \
		>"$work/out" 2>"$work/words" || status=$?
	cmp -s -n 2097152 "$work/ro" /dev/zero || fail 'the read-only disk was written to'
	[[ $(stat -c %s "$work/largest") == $((3 << 20)) ]] || fail 'the largest disk has grown'
}

# expect_end STATUS TEXT: it ended so, and says TEXT, which is a regular expression, in one line and no other.
expect_end() {
	[[ $status == "$1" ]] || fail "status $status: $(<"$work/words")"
	[[ $(grep -c -e "$2" "$work/words") == 1 ]] || fail "not once \"$2\": $(<"$work/words")"
}

# expect_killed: by its first forbidden call, and that is told, once.
expect_killed() {
	expect_end 125 'a system call that its jail forbids'
	if grep -v '^drill: without: ' "$work/words" | grep '^drill: ' >&2; then
		fail 'the monitor was not killed'
	fi
}

# results: prints ATTEMPT: RESULT for what did not kill the monitor.
results() {
	sed -n -e '/^drill: without: /d' -e 's/^drill: //p' "$work/words"
}

# is_as_said RESULT CELL: whether that is how the cell begins, or what hosts have in its place.
is_as_said() {
	local cell=${2%%[:;]*}
	[[ $1 == "$cell" ]] && return
	# A kernel that has no modules has no such call.
	[[ $what == 'load a module' && $1 == ENOSYS ]] && return
	# Nor have all file systems such space.
	[[ $what == *'take space'* && $1 == EOPNOTSUPP ]] && return
	# Nor have all kernels keys, and a container's engine may keep them from what is in it.
	[[ $what == 'find the keys of its session' && $1 == @(ENOSYS|EPERM) ]] && return
	# Without a cgroup an ordinary user has no such limit.
	[[ $what == 'fill the table of processes' && $who != root && $without == *'cgroup limits'* && $1 == succeeds ]]
}

# The table: what is tried, and what comes of it with the filters, and without.
names=()
declare -A filtered behind
while IFS='|' read -r name first second; do
	names+=("$name")
	filtered[$name]=$first
	behind[$name]=$second
done < <(sed -n '/^| attempt |/,/^$/p' "$table" | sed -e '1,2d' -e '/^$/d' -e 's/^| //' -e 's/ |$//' -e 's/ | /|/g')
((${#names[@]} > 20)) || fail 'SECURITY.md has no table of attempts'

# start_neighbour: another machine of the same user, which only waits; its monitor's process in $monitor.
start_neighbour() {
	local i
	"${as[@]}" "$dir/drill" boot --name neighbour --kernel "$dir/ends" --initrd "$dir/initrd" --append halt >"$dir/neighbour" 2>&1 &
	neighbour=$!
	for ((i = 0; i < 600; i++)); do
		monitor=$(pgrep --parent "$neighbour" kvmbox-vmm) && [[ -S $dir/$who/state/neighbour/control.sock ]] && return
		sleep 0.05
	done
	fail "the neighbour has not started: $(<"$dir/neighbour")"
}

stop_neighbour() {
	kill -0 "$monitor" || fail 'the neighbour is gone'
	kill -KILL "$neighbour"
	wait "$neighbour" 2>/dev/null || true
	neighbour=''
}

# meet_filters: one attempt after the other.
meet_filters() {
	local expected got
	for what in "${names[@]}"; do
		boot --json
		expected=${filtered[$what]}
		[[ $role != vcpu || $what != 'by its ring'* ]] || expected=killed
		if [[ $expected == killed ]]; then
			expect_killed
			expect_end 125 '"reason":"forbidden-call"'
			[[ $short != short ]] || break
		else
			expect_end 0 '"reason":"reset"'
			got=$(results)
			is_as_said "${got#"$what: "}" "$expected" ||
				fail "not \"$expected\": $(<"$work/words")"
		fi
	done
	# And in words.
	what='open a file'
	boot
	expect_killed
	# An error of our own is told from that.
	what=abort
	boot --json
	expect_end 125 '"reason":"monitor-killed"'
}

# meet_the_rest: all of them, in one machine, whose thread has no filter.
meet_the_rest() {
	local lines line
	DRILL_FILTER=off boot --json
	expect_end 0 '"reason":"reset"'
	mapfile -t lines < <(results)
	for line in "${lines[@]}"; do
		what=${line%: *}
		[[ $role != vcpu || $what != 'by its ring'* ]] || continue
		[[ -n ${behind[$what]:-} ]] || fail "SECURITY.md does not tell of it"
		is_as_said "${line##*: }" "${behind[$what]}" || fail "it comes to ${line##*: }, not to \"${behind[$what]}\""
	done
	what='all of it'
	((${#lines[@]} == ${#names[@]} && $(results | sort -u | wc -l) == ${#names[@]})) || fail "of ${#names[@]} attempts not each was made, once: $(<"$work/words")"
}

# left_out WHAT: what this host or build cannot show; it is the same on each thread.
left_out() {
	[[ $role != vcpu ]] || printf 'left out: %s\n' "$1" >&2
}

# drill_role: all that a thread of $role may try, in a directory of its own.
drill_role() {
	work=$dir/$who/$role
	mkdir "$work"
	chmod 755 "$work"
	# Without an attempt, the guest comes to its end.
	what='nothing at all'
	DRILL_FILTER=off boot --json
	expect_end 0 '"reason":"reset"'
	without=$(sed -n 's/^drill: without: //p' "$work/words")
	if [[ $without == *seccomp* ]]; then
		left_out "the filters for $who, as the monitor has none"
	else
		meet_filters
	fi
	if [[ $without == *namespace* || $without == *root* ]]; then
		left_out "what is behind the filters for $who, as the host has no ${without//$'\n'/, }"
	else
		what=all
		meet_the_rest
	fi
}

# see_all: without a jail, the attempts get what they want: so the test would see it.
see_all() {
	work=$dir/$who/none role=loop
	mkdir "$work"
	chmod 755 "$work"
	for what in 'open a file' 'connect out' "connect to another VM's control socket" "read another VM's state" \
		'signal another process'; do
		boot --json --unsafe-no-jail
		expect_end 0 '"reason":"reset"'
		[[ $(results) == "$what: succeeds" ]] || fail "without a jail it fails: $(<"$work/words")"
	done
}

users=("$(id -un)")
[[ $EUID != 0 ]] || users=(root nobody)
for who in "${users[@]}"; do
	mkdir -m 777 "$dir/$who"
	as=(env KVMBOX_STATE="$dir/$who/state")
	[[ $EUID != 0 || $who == root ]] || as=(setpriv --reuid 65534 --regid 65534 --groups "$(stat -c %g /dev/kvm)" "${as[@]}")
	start_neighbour
	# At once, as there is much to wait for.
	jobs=()
	for role in vcpu loop worker; do
		drill_role &
		jobs+=($!)
	done
	see_all &
	jobs+=($!)
	failed=0
	for job in "${jobs[@]}"; do
		wait "$job" || failed=1
	done
	((!failed)) || exit 1
	stop_neighbour
done
