# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# kvmbox on a terminal, driven by terminal.py.

on_terminal() {
	[[ -x /usr/bin/python3 ]] || skip "/usr/bin/python3 is not installed"
	/usr/bin/python3 -I "$lab/terminal.py" "$1" "$kvmbox" 2>"$dir/.why" || exit 1
}

case_shell() {
	on_terminal shell
}

case_monitor_killed() {
	on_terminal killed
}

case_escape() {
	on_terminal escape
}
