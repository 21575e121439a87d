#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# apparmor.sh PROFILE: that AppArmor takes the profile.
set -euo pipefail

command -v apparmor_parser >/dev/null || {
	echo 'skipped: apparmor_parser is not installed (apparmor)'
	exit 77
}
apparmor_parser --quiet --skip-cache --skip-kernel-load "$1"
names=$(apparmor_parser --quiet --names "$1")
[[ $names == $'kvmbox\nkvmbox//monitor' ]] || {
	printf 'the profiles are %s\n' "$names"
	exit 1
}
