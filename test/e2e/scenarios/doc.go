// Package scenarios is what podroute promises, shown on a live cluster: each Scenario is a function that
// makes pods, sends traffic, breaks things, and says in an error what was not as promised.
//
// A scenario gets a T: the cluster, a namespace of its own, which is deleted afterwards, and helpers for
// pods (pods.go), traffic that survives the API (traffic.go), and figures for the report (T.Note). Those
// that break nothing run side by side; one that Disturbs runs alone, and has left the cluster as it found
// it when it returns: the runner waits until all nodes are ready, and blames it if they are not.
//
// test/e2e/doc.go tells how to add one.
package scenarios
