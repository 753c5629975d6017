// Package kube reads the configuration from the Kubernetes API, and is the only package that knows
// client-go.
//
// It owns the watches, the copy of what they last said, and what is written back: claims of blocks,
// conditions of objects, the node's report.
package kube
