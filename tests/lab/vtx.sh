#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# vtx.sh KVMBOX: Linux guests on an emulated Intel VT-x host. Runs outside of the lab, which it starts
# itself, once; prints a line for each case as tests/lab/run does. Status 0 when none failed.
set -euo pipefail
top=$(dirname "$(readlink -f "$0")")/../..

[[ $# == 1 ]] || { printf 'usage: vtx.sh KVMBOX\n' >&2; exit 2; }
kvmbox=$(realpath -e -- "$1")
guest=$(dirname "$kvmbox")/guest
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The cases, in the lab: each leaves its output and status in $LAB_OUT. A 1 GiB root on ext4 is written to
# by one guest and read by the next.
cat >"$work/cases" <<'CASES'
#!/bin/sh
kvmbox=$1
run() {
	name=$1
	shift
	"$kvmbox" boot "$@" >"$LAB_OUT/$name.out" 2>"$LAB_OUT/$name.err"
	echo $? >"$LAB_OUT/$name.status"
}
run hello -- /bin/sh -c 'echo hi; exit 7'
mkdir -p /tmp/root/bin /tmp/root/proc /tmp/root/sys /tmp/root/dev /tmp/root/tmp /tmp/root/run
cp /bin/busybox /tmp/root/bin/busybox
ln -s busybox /tmp/root/bin/sh
mkfs.ext4 -q -F -d /tmp/root "$LAB_DISKS" || exit 1
run write --rootfs "$LAB_DISKS" -- /bin/sh -c 'echo kept >/file; echo hi; exit 7'
run read --rootfs "$LAB_DISKS" -- /bin/sh -c 'read line </file; echo "$line"'
CASES
chmod +x "$work/cases"

status=0
LAB_OUT=$work/out
export LAB_OUT
mkdir "$LAB_OUT"
"$top/scripts/lab" --vtx --timeout 600 --disk 1G --file "$work/cases" --file "$kvmbox" \
	--file "$guest/vmlinux-micro" --file "$guest/init.cpio" --file "$guest/builtin.erofs" \
	--file "$(command -v mkfs.ext4)" --file /etc/mke2fs.conf -- "$work/cases" "$kvmbox" \
	>"$work/log" 2>&1 || status=$?
if [[ $status != 0 ]]; then
	printf 'the emulated VT-x host ended with status %s:\n' "$status"
	tail -n 20 "$work/log" | sed 's/^/    /'
	exit 2
fi

failed=0
# expect NAME OUTPUT STATUS
expect() {
	local output got
	output=$(cat "$LAB_OUT/$1.out")
	got=$(cat "$LAB_OUT/$1.status")
	if [[ $output == "$2" && $got == "$3" && ! -s $LAB_OUT/$1.err ]]; then
		printf 'ok %s\n' "$1"
	else
		failed=1
		printf 'not ok %s: status %s and output "%s"\n' "$1" "$got" "$output"
		sed 's/^/    /' "$LAB_OUT/$1.err"
	fi
}
expect hello hi 7
expect write hi 7
expect read kept 0
exit "$failed"
