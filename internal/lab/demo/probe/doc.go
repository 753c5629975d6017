// Package probe is what the demo and the failover test run inside a node: a process that wires pods
// through the CNI plugin, answers and asks in their network namespaces, pings, and listens on links.
//
// It is a JSON-RPC server on its standard streams (net/rpc), and ends when its input does; Client is
// the other end. One probe serves a node and all pods of it: a socket belongs for ever to the
// namespace of the thread that opened it, so only opening is done on a thread inside the pod's
// namespace (namespaces.go), and everything else in ordinary goroutines.
//
// Concurrency: every method may be called at any time, also at the same time; Probe.mu guards what
// they share.
package probe
