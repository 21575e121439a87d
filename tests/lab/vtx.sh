#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# vtx.sh KVMBOX: a guest of kvmbox on an emulated Intel VT-x host (scripts/lab --vtx), which this script
# starts itself: one start, all that is to be seen there. Prints the lines of tests/lab/run.
# shellcheck disable=SC2317  # the checks are called by verdict
set -euo pipefail

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

[[ $# == 1 ]] || { printf 'usage: vtx.sh KVMBOX\n' >&2; exit 2; }
kvmbox=$(realpath -e -- "$1")
work=$(mktemp -d "${TMPDIR:-/var/tmp}/kvmbox-vtx.XXXXXX")
trap 'rm -rf "$work"' EXIT
failed=0

# verdict NAME: the case has passed if its function prints no reason why not.
verdict() {
	local why
	why=$("check_$1") || why=${why:-its check broke off}
	if [[ -z $why ]]; then
		printf 'ok vtx/%s\n' "$1"
		return
	fi
	failed=1
	printf 'not ok vtx/%s: %s\n' "$1" "$why"
	local file
	for file in "$work/out/$1".* "$work/lab"; do
		[[ ! -s $file ]] || { printf '%s:\n' "${file##*/}"; tail -n 20 "$file" | cat -v | cut -c 1-300; }
	done | sed 's/^/    /'
}

# check_boot NAME: what the issue asks of this command line.
check_boot() {
	local status=none
	[[ ! -f $work/out/$1.status ]] || status=$(<"$work/out/$1.status")
	[[ $status == 7 ]] || { printf 'the exit status is %s, not 7' "$status"; return; }
	[[ $(<"$work/out/$1.stdout") == hi ]] || { printf 'standard output is not "hi"'; return; }
	[[ ! -s $work/out/$1.stderr ]] || printf 'standard error is not empty'
}

check_hello() {
	check_boot hello
}

check_ext4() {
	check_boot ext4
	[[ $(<"$work/out/ext4.fsck") == 0 ]] || { printf '; e2fsck finds the image damaged'; return; }
	[[ $(<"$work/out/ext4.data") == written ]] || printf '; what the guest wrote is not in the image'
}

check_lab() {
	[[ $status == 0 ]] || printf 'the command ended with status %s' "$status"
}

# On the VT-x host there is a plain shell and busybox, and what --file names.
cat >"$work/job" <<'END'
#!/bin/sh
kvmbox=$1
tree=$2
cd "$LAB_OUT" || exit 1
"$kvmbox" boot -- /bin/sh -c 'echo hi; exit 7' >hello.stdout 2>hello.stderr
echo $? >hello.status
mkfs.ext4 -q -d "$tree" /dev/shm/image 1G >ext4.mkfs 2>&1
"$kvmbox" boot --rootfs /dev/shm/image -- /bin/sh -c 'echo written >/data; echo hi; exit 7' >ext4.stdout 2>ext4.stderr
echo $? >ext4.status
e2fsck -fn /dev/shm/image >ext4.e2fsck 2>&1
echo $? >ext4.fsck
debugfs -R 'cat /data' /dev/shm/image >ext4.data 2>/dev/null
exit 0
END
chmod +x "$work/job"

mkdir -p "$work/out" "$work/tree"/{bin,dev,proc,sys,tmp,run}
cp /bin/busybox "$work/tree/bin/"
ln -s busybox "$work/tree/bin/sh"

files=()
for file in "$kvmbox" "${kvmbox%/*}"/guest/{vmlinux-micro,init.cpio,builtin.erofs} "$work/tree" \
	"$(command -v mkfs.ext4)" "$(command -v e2fsck)" "$(command -v debugfs)" /etc/mke2fs.conf; do
	files+=(--file "$file")
done

status=0
LAB_OUT=$work/out "$lab/../../scripts/lab" --vtx --timeout 900 "${files[@]}" -- \
	"$work/job" "$kvmbox" "$work/tree" >"$work/lab" 2>&1 || status=$?
verdict lab
verdict hello
verdict ext4
exit "$failed"
