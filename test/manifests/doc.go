// Package manifests tests what deploy/ installs: that kustomize and helm give the same objects, that
// each is what its Go type says, and that nothing is asked of a cluster beyond what is listed.
//
// It holds no code of the product. It is a module of its own because helm and kustomize, which render
// here as libraries, bring much along.
package manifests
