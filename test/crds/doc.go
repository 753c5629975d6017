// Package crds holds the generated CRDs against the Go types' own validation, with the API server's code: what
// the one refuses the other must refuse too, so that a folder of manifests and kubectl apply -f of it come to the
// same.
//
// The schema may let pass what Go refuses (it cannot see everything, a label selector's syntax for instance); such an
// object gets the condition Accepted=False. testdata/left.golden lists those, so that none is added unseen. The
// other way round nothing may pass.
//
// It is a module of its own: the API server's packages stay out of the product's go.mod.
package crds
