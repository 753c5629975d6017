// Package routers runs real routing daemons for tests: BIRD, FRR, gobgpd and OpenBGPD, in network namespaces.
//
// A test says in Config what the router shall be, whichever daemon plays it, and asks the Router for its
// sessions and routes in the same words for all. Start writes the daemon's own configuration into a
// directory of the test's, runs it there, and waits until it answers; all ends with the test.
//
// The daemons' files and sockets lie in directories of the test alone, so that any number of them run side
// by side. FRR's daemons drop their privileges to the user frr, so those directories are open to all.
//
// Kill, Start again and the kernel's routes in between are how a restart is tested (RFC 4724): Config's
// GracefulRestart makes each daemon keep its kernel routes over that, as far as it can. gobgpd and, on Linux, OpenBGPD have no
// forwarding table and play the control plane only.
//
// A Router is used by one goroutine.
package routers
