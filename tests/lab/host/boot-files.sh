# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154  # the caller's variables
#
# What goes into the kernel and initrd of a lab host, sourced by scripts/lab.

# kernel_release PACKAGE: prints the release that a kernel metapackage stands for.
kernel_release() {
	dpkg-query -W -f '${Depends}' "$1" | sed 's/^linux-image-\([^ ,]*\).*/\1/'
}

# stage_modules RELEASE DIR MODULE...: copies the modules and what they need to DIR, with their order in DIR/order.
stage_modules() {
	local release=$1 dir=$2 path
	shift 2
	mkdir -p "$dir"
	modprobe --set-version "$release" --ignore-install --show-depends --all "$@" |
		sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' |
		while read -r path; do
			cp "$path" "$dir/"
			basename "$path"
		done >"$dir/order"
	# Much of their size is debug information, which an emulated CPU takes seconds to load.
	strip --strip-debug --remove-section=.BTF "$dir"/*.ko
}

# stage_busybox DIR: puts busybox there under all its names.
stage_busybox() {
	local applet
	cp /bin/busybox "$1/"
	for applet in $(/bin/busybox --list); do
		[[ $applet == busybox ]] || ln -s busybox "$1/$applet"
	done
}

# pack_initrd TREE: prints TREE as a cpio archive.
pack_initrd() {
	(cd "$1" && find . -print0 | LC_ALL=C sort -z | cpio --null --create --format=newc --owner=+0:+0 --quiet)
}

# store_boot_files DIR: moves what was built in $run/boot to the cache, whose old entries go.
store_boot_files() {
	local cache=${1%/*}
	mkdir -p "$cache"
	find "$cache" -mindepth 1 -maxdepth 1 -mtime +7 -exec rm -rf {} +
	# Another lab may have stored the same at the same time.
	mv -T "$run/boot" "$1" 2>/dev/null || [[ -d $1 ]] || die "cannot write $1"
}
