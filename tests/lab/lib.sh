# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154  # kvmbox, dir, patience: set by run
#
# What the cases of the lab tests share. A case has the program in $kvmbox and an empty directory of
# its own in $dir, which is also its working directory. It fails by fail, or by any command that
# fails; what it printed is then shown.

# case_begin: sets the process up for one case.
case_begin() {
	set -Eeuo pipefail
	trap 'note_failed_command $? "$LINENO" "$BASH_COMMAND"' ERR
	trap 'case_end $?' EXIT
	cd "$dir"
	out=$dir/.out
	err=$dir/.err
	status=-
	last_boot=
	# A pipe that nothing comes through, for nap. Not made when it is first needed: it changes $!.
	exec {nap_fd}<> <(:)
	: >"$out"
	: >"$err"
}

note_failed_command() {
	[[ -e $dir/.why ]] || printf 'line %s of %s.sh failed with status %s: %s\n' "$2" "$topic" "$1" \
		"${3%%$'\n'*}" >"$dir/.why"
}

# own_state: gives the case VMs in the background of its own, in $state; they go with it.
own_state() {
	export KVMBOX_STATE=$dir/s
	state=$dir/s
}

# Shows the last guest of a case that failed, and ends what the case left behind.
case_end() {
	trap - ERR
	set +e
	if [[ $1 != 0 && $1 != 77 && -n $last_boot ]]; then
		printf 'the last guest: kvmbox boot%s\n' "$last_boot"
		printf 'its status: %s\n' "$status"
		printf 'its stdout, %s bytes:\n' "$(stat -c %s "$out")"
		tail -c 2000 "$out" | sed 's/^/  | /'
		printf '\nits stderr, %s bytes:\n' "$(stat -c %s "$err")"
		tail -c 3000 "$err" | sed 's/^/  | /'
	fi
	if [[ -d $dir/s ]]; then
		"$kvmbox" ps -aq | xargs -r "$kvmbox" rm -f >/dev/null
	fi
	local pid
	for pid in $(jobs -p); do
		kill -KILL "$pid" 2>/dev/null
	done
	wait
	umount_all
	free_loops
	exit "$1"
}

# fail WORD...: ends the case with this sentence as the reason.
fail() {
	printf '%s\n' "$*" >"$dir/.why"
	exit 1
}

# note WORD...: what the line of a case that passes says besides, such as how much it did.
note() {
	printf '%s\n' "$*" >"$dir/.noted"
}

# skip WORD...: ends the case, which cannot run here for this reason.
skip() {
	printf '%s\n' "$*" >"$dir/.why"
	exit 77
}

# need TOOL...: skips the case where one is missing.
need() {
	local tool
	for tool in "$@"; do
		command -v "$tool" >/dev/null || skip "$tool is not installed"
	done
}

# need_mem MIB: skips the case where the host has less memory free.
need_mem() {
	local have
	have=$(awk '$1 == "MemAvailable:" { print int($2 / 1024) }' /proc/meminfo)
	((have >= $1)) || skip "the host has $have MiB of memory left, $1 are needed"
}

loops=()

# own_loop FILE [OPTION]...: a loop device for it, in $loop, which goes with the case.
own_loop() {
	need_loop
	loop=$(losetup --find --show "${@:2}" "$1")
	loops+=("$loop")
}

free_loops() {
	local item
	for item in "${loops[@]}"; do
		losetup -d "$item"
	done
	loops=()
}

need_loop() {
	[[ -e /dev/loop-control ]] || modprobe loop 2>/dev/null ||
		skip "the host has no loop devices"
}

# need_cgroups: sees to it that cgroup v2 is mounted, with the controllers; sets $cgroups.
need_cgroups() {
	cgroups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
	if [[ -z $cgroups ]]; then
		cgroups=/sys/fs/cgroup
		mount -t cgroup2 none "$cgroups" 2>/dev/null || skip "the host does not mount cgroup v2"
	fi
	local controller
	for controller in cpu memory pids; do
		grep -qw "$controller" "$cgroups/cgroup.controllers" || skip "cgroup v2 has no controller $controller here"
	done
}

# ---- guests ----

# boot ARG...: runs "kvmbox boot" to its end: $out and $err are its output, $status its exit status.
boot() {
	last_boot=$(printf ' %q' "$@")
	status=0
	"$kvmbox" boot "$@" >"$out" 2>"$err" || status=$?
}

# boot_async ARG...: starts "kvmbox boot" with standard input from $dir/.in, a fifo that fd 7 keeps
# open; sets $pid. finish waits for its end.
boot_async() {
	last_boot=$(printf ' %q' "$@")
	[[ -p $dir/.in ]] || mkfifo "$dir/.in"
	: >"$out"
	: >"$err"
	"$kvmbox" boot "$@" <"$dir/.in" >"$out" 2>"$err" 7>&- &
	pid=$!
	exec 7>"$dir/.in"
}

finish() {
	status=0
	wait "$pid" || status=$?
	exec 7>&-
}

# monitor_of PID: prints the process id of the monitor of a kvmbox.
monitor_of() {
	local child children
	read -ra children <"/proc/$1/task/$1/children" || true
	for child in "${children[@]}"; do
		if [[ $(<"/proc/$child/comm") == kvmbox-vmm ]]; then
			printf '%s\n' "$child"
			return
		fi
	done
	fail "process $1 has no child called kvmbox-vmm"
}

# gone PID: true when the process has ended.
gone() {
	[[ ! -e /proc/$1 ]] || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null
}

# await SECONDS WHAT CMD ARG...: waits until CMD succeeds. Here and below seconds are those of a real host, and an emulated
# one has $patience times as many.
await() {
	local seconds=$(($1 * patience)) what=$2 begin=$SECONDS
	shift 2
	until "$@"; do
		((SECONDS - begin < seconds)) || fail "waited $seconds s in vain for $what"
		nap 0.1
	done
}

# nap SECONDS: sleep, without a process: starting one takes an emulated host as long as a guest needs for much of what is
# being waited for.
nap() {
	read -rt "$1" -u "$nap_fd" || true
}

# within SECONDS CMD ARG...: CMD, which ends with status 124 when it takes longer.
within() {
	timeout "$(($1 * patience))" "${@:2}"
}

# await_line REGEX [FILE [SECONDS]]: waits until a line of the output of the guest matches, up to 90
# seconds if nothing else is said; fails at once when the guest of boot_async is gone.
await_line() {
	local file=${2:-$out} seconds=$((${3:-90} * patience)) begin=$SECONDS fd line='' rest='' ended=
	exec {fd}<"$file"
	while :; do
		while IFS= read -r line <&"$fd"; do
			[[ ! $rest$line =~ $1 ]] || break 2
			rest=
		done 2>/dev/null
		# A prompt is a line without an end.
		rest+=$line
		[[ ! $rest =~ $1 ]] || break
		if [[ -n $ended ]]; then
			finish
			fail "the guest ended before a line matched $1"
		fi
		kill -0 "$pid" 2>/dev/null || ended=1
		((SECONDS - begin < seconds)) || fail "waited $seconds s in vain for a line that matches $1"
		[[ -n $ended ]] || nap 0.1
	done
	exec {fd}<&-
}

# ---- what is expected ----

expect_status() {
	[[ $status == "$1" ]] || fail "the exit status is $status, not $1"
}

# expect_stdout TEXT: standard output is TEXT, byte for byte.
expect_stdout() {
	printf '%s' "$1" | cmp -s - "$out" || fail "standard output is not $(printf '%q' "$1")"
}

# told: prints standard error without what is said of a directory only because packing it has taken more than a second.
told() {
	sed '/^kvmbox: packing .* into a root image (again only when it changes) \.\.\.$/d' "$err"
}

# expect_stderr TEXT: standard error is TEXT, byte for byte.
expect_stderr() {
	printf '%s' "$1" | cmp -s - <(told) || fail "standard error is not $(printf '%q' "$1")"
}

# expect_line REGEX [FILE]: a line of standard output, or of FILE, matches.
expect_line() {
	grep -Eqe "$1" "${2:-$out}" || fail "no line of ${2:-standard output} matches $1"
}

# expect_sentence REGEX: standard error is one line of kvmbox's own, and it matches.
expect_sentence() {
	[[ $(told | wc -l) == 1 ]] || fail "standard error is not one line"
	told | grep -E '^kvmbox: ' | grep -Eqe "$1" || fail "standard error is not a sentence of kvmbox's that matches $1"
}

expect_same() {
	cmp "$1" "$2" || fail "$1 and $2 differ"
}

# ---- things to boot from ----

# make_tree DIR: a small root file system: busybox and a shell's usual names.
make_tree() {
	local name
	[[ $(file_kind /bin/busybox) == static ]] || skip "/bin/busybox is not there or not static (busybox-static)"
	mkdir -p "$1"/{bin,sbin,etc,proc,sys,dev,tmp,root,mnt}
	cp /bin/busybox "$1/bin/"
	for name in sh cat echo ls mount umount sync sleep dd md5sum sha256sum reboot grep touch rm mkdir head tail wc; do
		ln -s busybox "$1/bin/$name"
	done
}

# copy_program TREE PROGRAM: puts one of the host's there, with its libraries.
copy_program() {
	local program file
	program=$(command -v "$2")
	cp "$program" "$1/bin/"
	while read -r file; do
		mkdir -p "$1${file%/*}"
		cp "$file" "$1$file"
	done < <(ldd "$program" | grep -oE '/[^ ]+')
}

# file_kind PROGRAM: prints "static" for a program without an interpreter.
file_kind() {
	[[ -x $1 ]] || return 0
	grep -aq 'ld-linux-x86-64.so.2' <(head -c 4096 "$1") || printf 'static\n'
}

# make_ext4 FILE SIZE [DIR]: an ext4 image, holding DIR.
make_ext4() {
	mkfs.ext4 -q -F ${3:+-d "$3"} "$1" "$2"
}

# fsck_clean IMAGE: fails unless the file system is unmounted in order and without a flaw.
fsck_clean() {
	local state
	e2fsck -fn "$1" || fail "e2fsck finds $1 damaged"
	state=$(dumpe2fs -h "$1" 2>/dev/null | sed -n 's/^Filesystem state: *//p;s/^Filesystem features:.*needs_recovery.*/needs recovery/p')
	[[ $state == clean ]] || fail "the file system of $1 was not unmounted: it is $state"
}

mounts=()

# mount_image FILE DIR [OPTION]: mounts an image of the host's.
mount_image() {
	need_loop
	mkdir -p "$2"
	mount -o "loop${3:+,$3}" "$1" "$2"
	mounts+=("$2")
}

umount_all() {
	local i
	for ((i = ${#mounts[@]} - 1; i >= 0; i--)); do
		umount "${mounts[i]}"
	done
	mounts=()
}
