#!/usr/bin/env bash
# generated.sh: are the generated files what their sources and the pinned generators give? Each is generated
# anew in a scratch folder and compared. protoc's own version, a comment, may differ.
set -euo pipefail

cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
stale=0

# Deep copies and CRDs of package config.
controller-gen object crd paths=./config output:object:dir="$scratch" output:crd:dir="$scratch/crds"
diff -u config/zz_generated.deepcopy.go "$scratch/zz_generated.deepcopy.go" || stale=1
diff -ru -x Kustomization deploy/crds "$scratch/crds" || stale=1

# What protoc generates.
if command -v protoc >/dev/null || hack/packages.sh protobuf-compiler; then
	while IFS= read -r source; do
		package=$(dirname "$source")
		mkdir -p "$scratch/$package"
		cp "$package"/*.proto "$source" "$scratch/$package/"
		(cd "$scratch/$package" && GO111MODULE=off go generate "$(basename "$source")")
		for new in "$scratch/$package"/*.pb.go; do
			diff -u -I '^//.*protoc  *v' "$package/$(basename "$new")" "$new" || stale=1
		done
	done < <(git ls-files --cached --others --exclude-standard '*.go' | xargs -r grep -l '^//go:generate protoc ')
else
	echo "generated files: those of protoc NOT COMPARED, for want of it (Debian package protobuf-compiler)" >&2
fi

if [[ $stale -ne 0 ]]; then
	echo "generated files are out of date: run 'make generate' and commit what it writes" >&2
	exit 1
fi
echo "generated files: up to date"
