// Package agent computes the desired state of one node and runs the loop that brings it about. It is
// the only package that knows all the others.
//
// It owns the order of things and nothing else: the kernel's routes belong to package routes, the
// speaker to bgp, the pods to cni, the nftables table to internal/nft.
//
// Compute and apply are apart. desired (desired.go and the files beside it) is a pure function from a
// configuration snapshot and the host's links to plain values; it is tested with text goldens. The
// loop (loop.go) applies them in one order, always the same: a block's unreachable route, the
// nftables table, the CNI server, then the speaker, so that nothing is advertised before this node
// can handle its traffic.
//
// Two streams meet in the loop. Configuration and links change seldom: every such signal recomputes
// the whole desired state. Learned routes change often and in bulk: they are resolved and handed to
// routes as they come (learned.go), at a cost proportional to the change.
//
// One goroutine, the loop, owns the state; who wants to read it is let in between two turns (view.go).
// Signals carry no data: whoever is signalled reads the state again.
//
// Start and stop are the two lists in run.go, to be read from top to bottom.
package agent
