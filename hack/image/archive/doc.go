// Package archive writes container images of one layer without a container engine or a registry, as the
// docker-archive that `ctr image import`, `docker load` and `podman load` read. All in it belongs to root, and every
// time is the Unix epoch: the same files give the same bytes.
package archive
