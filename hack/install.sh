#!/usr/bin/env bash
# install.sh PACKAGE VERSION FILE: builds a Go program at an exact version and puts it at FILE.
set -euo pipefail

package=$1 version=$2 file=$3
if [[ $version != v*.*.* ]]; then
	echo "install.sh: $version is not an exact version" >&2
	exit 2
fi
echo "building $package@$version (once)"
mkdir -p "$(dirname "$file")"
scratch=$(mktemp -d "$(dirname "$file")/install.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
if ! CGO_ENABLED=0 GOBIN=$scratch GOFLAGS= go install -trimpath "$package@$version"; then
	echo "install.sh: $package@$version is neither in .cache/ nor could it be built:" \
		"the first run needs the Go module proxy" >&2
	exit 1
fi
mv "$scratch/$(basename "$package")" "$file"
