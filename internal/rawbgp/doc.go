// Package rawbgp speaks just enough BGP-4 (RFC 4271) for tests and benchmarks to be a neighbour of their
// own making: one that sends what no router would, or a hundred thousand routes as fast as TCP takes them.
//
// It owns a connection and nothing else: there is no state machine, no timer and no table. A Session is
// what two OPENs and two KEEPALIVEs have made of a net.Conn; messages are built from raw attributes, so
// that every octet may be wrong. Where a message is well formed, the functions that build it say so.
//
// Send and Recv may be used by one goroutine each.
package rawbgp
