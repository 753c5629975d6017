// Package kubernetes is empty: its go.mod pins the Kubernetes release whose programs and tests the
// end-to-end cluster is made of, with that release's own replacements, apart from the product's modules.
// test/e2e/binaries builds them.
package kubernetes
