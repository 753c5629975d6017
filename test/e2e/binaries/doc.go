// Package binaries builds the programs of a Kubernetes release, and CoreDNS, from their Go modules, and
// keeps them in a folder named after everything that determines them: the modules' go.mod and go.sum, our
// own sources there, the Go version. So a second run takes no time, and a changed version builds anew.
//
// Go's own build cache would do the same, but is some twenty times as big.
package binaries
