// Package apiserver runs a real Kubernetes API for tests that need nothing else of a cluster: etcd and kube-apiserver as
// processes of the test, on ports of the loopback, with their data in a temporary folder. podroute's CRDs and the
// permissions of deploy/base are applied as a user would apply them.
//
// Agents are impersonated: each kubeconfig that Agent writes has the service account's name and groups, and the
// node name that a bound token carries. So what RBAC or the admission policy forbids fails here too.
//
// The programs are those that make e2e has built; they are looked for below .cache/e2e.
package apiserver
