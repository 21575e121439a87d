#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# lxc.sh KVMBOX: kvmbox lxc import as it is used: what it writes where, and that it never leaves half of it.
set -euo pipefail

kvmbox=$(readlink -f "$1")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

fail() {
	printf 'line %s: %s\n' "${BASH_LINENO[0]}" "$*" >&2
	[[ ! -f err ]] || cat err >&2
	exit 1
}

# run STATUS ARG...: kvmbox ARG..., which must exit with STATUS; output in the files out and err.
run() {
	local want=$1 status=0
	shift
	"$kvmbox" "$@" >out 2>err || status=$?
	((status == want)) || fail "kvmbox $*: exit status $status, not $want"
}

# said TEXT: it stands on standard error.
said() {
	grep -qF -- "$1" err || fail "not said: $1"
}

mkdir -p lxc/web/rootfs lxc/bad
cat >lxc/web/config <<END
lxc.include = $dir/common.conf
lxc.rootfs.path = dir:$dir/lxc/web/rootfs
lxc.net.0.type = veth
END
echo 'lxc.cgroup2.memory.max = 100M' >common.conf
printf 'lxc.uts.name = bad\nlxc.cgroup2.memory.max = lots\n' >lxc/bad/config

run 0 lxc import web --lxc-path lxc
[[ ! -s out ]] || fail "something on standard output"
said "kvmbox: $dir/common.conf:1: lxc.cgroup2.memory.max becomes machine-config.mem_size_mib 164"
said 'kvmbox: web.json is written; start it with kvmbox boot --config web.json'
grep -qF "\"rootfs\": \"$dir/lxc/web/rootfs\"" web.json || fail "web.json has no rootfs"
[[ $(stat -c %a web.json) == 600 ]] || fail "web.json can be read by others"

# A file that is there stays as it is, unless --force says otherwise.
echo mine >web.json
run 125 lxc import web -P lxc
said 'web.json is there already'
[[ $(<web.json) == mine ]] || fail "web.json was overwritten"
run 0 lxc import web -P lxc --force --mem 512M --cpus 3
grep -q '"mem_size_mib": 512' web.json || fail "--mem has no effect"
grep -q '"vcpu_count": 3' web.json || fail "--cpus has no effect"

run 0 lxc import -o - web -P lxc
grep -q '"name": "web"' out || fail "nothing on standard output"
run 0 lxc import web -P lxc -o - --json
grep -q '"container": "web"' err || fail "no report as JSON"
! grep -q kvmbox: err || fail "lines beside the report as JSON"

# Nothing is written where something is wrong.
rm web.json
run 125 lxc import bad -P lxc
said 'lxc/bad/config:2: lxc.cgroup2.memory.max: "lots" is not a size such as 512M, or max'
run 125 lxc import gone -P lxc
said 'cannot read lxc/gone/config: No such file or directory'
run 125 lxc import web -P lxc -o gone/web.json
said 'cannot write gone/web.json: No such file or directory'
mkdir taken.json
run 125 lxc import web -P lxc -o taken.json --force
said 'taken.json is no regular file'
rmdir taken.json
mkfifo taken.json
run 125 lxc import web -P lxc -o taken.json --force
[[ -p taken.json ]] || fail "the fifo was replaced"
rm taken.json
[[ -z $(find . -name '*.json*') ]] || fail "left behind: $(find . -name '*.json*')"

# The command line.
for name in ../lxc/web . '' a/b; do
	run 125 lxc import "$name" -P lxc
	said "is no container's name"
done
run 125 lxc
run 125 lxc export web
said 'unknown command "export", there is only import'
run 125 lxc import
said 'which container?'
run 125 lxc import a b
said 'unexpected argument "b"'
run 125 lxc import web --colour
said 'unknown option --colour'
run 125 lxc import web -o
said '-o needs a value'
run 125 lxc import web --mem 1
said '--mem'
run 125 lxc import web --cpus 99
said '99 is out of range'
run 0 lxc --help
run 0 lxc import --help
grep -q '^Usage: kvmbox lxc import NAME' out || fail "no help"
