// Package upstream runs the conformance tests of Kubernetes' own sig-network against the cluster, with
// the e2e.test and ginkgo of the release that the cluster is made of.
package upstream
