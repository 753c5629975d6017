// Package cluster runs a real Kubernetes cluster on one machine: etcd, the control plane, and nodes of
// kubelet, containerd and kube-proxy, in the network namespaces of a lab (internal/lab).
//
// The machines and their network are a containerlab topology, fabric/cluster.clab.yml: two racks behind
// FRR top-of-racks, a spine, a control plane, an outside client. Each machine's services run under runit
// (services/), so that a test restarts a kubelet with `sv restart kubelet`, as one would on a real node.
// Nothing in a node knows that it shares a kernel: default paths everywhere.
//
// What a cluster writes is in one folder, Options.Out: logs/MACHINE-SERVICE.log, and cluster/ with keys,
// kubeconfigs, run scripts and the machines' disks (the container runtime's overlays need a real file
// system below them). The next Up begins with that folder empty.
//
// Invariants
//
//   - A machine's first process holds all that runs there, pods included: killing it (Down) ends the
//     machine whole. Control groups outlive processes, so Down removes the machines' own by name.
//   - Nothing listens on the host but the forwarder to the API server, on 127.0.0.1; it lives in the
//     control plane's PID namespace and ends with it.
//   - A node registers with the taint podroute.io/not-ready, which podroute removes.
//
// A Cluster holds no state but names: any number of goroutines and processes may use one at once. Up and
// Down exclude each other by the lab's own lock.
package cluster
