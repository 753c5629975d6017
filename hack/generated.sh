#!/usr/bin/env bash
# generated.sh: are the generated Go files what their sources and the pinned generators give? Each package
# with a go:generate line is generated anew in a scratch folder and compared. protoc's own version, a
# comment, may differ.
set -euo pipefail

cd "$(dirname "$0")/.."
if ! command -v protoc >/dev/null && ! hack/packages.sh protobuf-compiler; then
	echo "generated files: NOT COMPARED, for want of protoc (Debian package protobuf-compiler)" >&2
	exit 0
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
stale=0
while IFS= read -r source; do
	package=$(dirname "$source")
	mkdir -p "$scratch/$package"
	cp "$package"/*.proto "$source" "$scratch/$package/"
	(cd "$scratch/$package" && GO111MODULE=off go generate "$(basename "$source")")
	for new in "$scratch/$package"/*.pb.go; do
		diff -u -I '^//.*protoc  *v' "$package/$(basename "$new")" "$new" || stale=1
	done
done < <(git ls-files --cached --others --exclude-standard '*.go' | xargs -r grep -l '^//go:generate protoc ')

if [[ $stale -ne 0 ]]; then
	echo "generated files are out of date: run 'make generate' and commit what it writes" >&2
	exit 1
fi
echo "generated files: up to date"
