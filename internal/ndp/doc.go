// Package ndp finds the neighbour at the other end of a link that has no addresses but link-local ones, and lets it
// find us: what BGP over an interface (unnumbered) needs before it can dial.
//
// On each link it is given, it sends every ten seconds, and in quick succession at first, a router advertisement and
// a router solicitation (RFC 4861 sections 4.2 and 4.1): that is how routers that do the same, FRR among them, learn
// of each other; and an echo request to all nodes (RFC 4443), which those answer that advertise nothing. It never
// says that it is a default router: the router lifetime is 0.
//
// Invariants:
//   - Only what was sent on the link counts: hop limit 255 where the protocol wants it (RFC 4861 section 6.1), and a
//     link-local source.
//   - One that advertises itself as a router goes before one that answers echo requests. Of several of the same kind
//     none is taken: the link is no point-to-point link, and an address must be named.
//   - A neighbour that falls silent stays until another one speaks: whether it is alive is for BGP to find out.
//
// Concurrency: Run owns the socket; Set, Neighbours and Changed may be called from any goroutine.
package ndp
