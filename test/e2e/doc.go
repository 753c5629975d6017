// Command podroute-e2e tests podroute on a real Kubernetes cluster.
package main
