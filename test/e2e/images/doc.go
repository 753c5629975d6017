// Package images makes container images without a registry, a container runtime, or a base image: each
// is a docker-archive file (what `docker save` writes) of one layer, from the programs in
// binaries.Builder.Dir and from Debian's tools with the libraries they need. The files carry the names
// under which Kubernetes and its tests ask for images, so that nothing is ever pulled.
package images
