#!/usr/bin/env bash
# packages.sh NAME...: installs the Debian packages among NAMEs that are missing, and says nothing when
# there are none. Services that they bring along are not started: tests and the demo start the daemons
# themselves, in namespaces.
set -euo pipefail

fail() {
	echo "packages.sh: $*" >&2
	exit 1
}

command -v dpkg-query >/dev/null ||
	fail "this is not Debian or a system like it; install by hand what these packages hold: $*"

missing=()
for name in "$@"; do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null || true)
	[[ $status == installed ]] || missing+=("$name")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

as_root=()
if [[ $(id -u) -ne 0 ]]; then
	command -v sudo >/dev/null || fail "run as root, or install these packages first: ${missing[*]}"
	as_root=(sudo)
fi

# invoke-rc.d asks this program whether a service may be started; 101 means no. A machine that has an
# answer of its own keeps it.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
	trap '"${as_root[@]}" rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
	"${as_root[@]}" chmod 755 "$policy"
fi

log=$(mktemp)
apt() {
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1 || {
		cat "$log" >&2
		fail "apt-get $1 failed; what it was to install: ${missing[*]}"
	}
}
echo "installing ${missing[*]}"
apt update
apt install --no-install-recommends "${missing[@]}"
rm -f "$log"
