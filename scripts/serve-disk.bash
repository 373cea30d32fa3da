# SPDX-License-Identifier: BSD-3-Clause
# Sourced by scripts/run and scripts/vm: one disk on one image, served until
# the script ends, however it ends.
# shellcheck shell=bash disable=SC2034

folder=run
image=$folder/disk.img
socket=$folder/disk.sock
size=1G
server=

die() { echo "${0##*/}: $*" >&2; exit 1; }

# The command: the first argument, else what `make` builds.
find_outboard() {
	if [ $# = 0 ]; then
		make --no-print-directory
		set -- build/outboard
	fi
	[ -x "$1" ] || die "$1 is not there; make builds it"
	outboard=$1
}

# An image that takes no space holds no data.
image_is_blank() {
	[ "$(stat -c %b "$image")" = 0 ]
}

make_image() {
	mkdir -p "$folder"
	[ -e "$image" ] || truncate -s "$size" "$image"
}

# start_server [KEYS]: serves the image on $socket, in a process of its own;
# returns when clients can connect.
start_server() {
	local ready=$folder/ready
	rm -f "$ready"
	mkfifo "$ready"
	"$outboard" serve --device "nvme,socket=$socket,drive=file:$image${1:+,$1}" \
		>"$ready" 2>"$folder/serve.log" </dev/null &
	server=$!
	# One line when it is ready; end of file when it could not be.
	if ! read -r ready_line < "$ready"; then
		rm -f "$ready"
		wait "$server" || true
		server=
		cat "$folder/serve.log" >&2
		exit 1
	fi
	rm -f "$ready"
}

# Asks the server to end, and waits until it has flushed and unlocked.
stop_server() {
	local pid=$server
	[ -n "$pid" ] || return 0
	server=
	kill -TERM "$pid" 2>/dev/null || true
	wait "$pid" || die "the server did not end well, see $folder/serve.log"
}
