// Package bfd tells within milliseconds that a neighbour has fallen silent (RFC 5880), over one hop
// (RFC 5881) or several (RFC 5883), in asynchronous mode.
//
// System owns all sessions of this node, their UDP sockets, and nothing else: what the loss of a neighbour
// means for routes is for its caller to say (RFC 5882). Set makes the sessions those of a Config, Changed
// signals that States would answer otherwise than before.
//
// Invariants:
//   - A neighbour is lost when a session that was up hears nothing for a detection time, or hears that the
//     neighbour hears nothing. It is not lost when the neighbour's BFD is shut down administratively, when
//     there never was a session, or when this node is late: silence is judged only after everything that the
//     kernel has received is read, by the kernel's own time of receipt, and a wakeup that comes too late
//     gives the neighbour the time of another packet.
//   - A loss has a date, the one that counts for sessions of other protocols: those that came up since are not lost.
//     If the neighbour tells of it, the date is when it heard us last, and it is told a moment later.
//   - What RFC 5880 section 6.8.6 discards changes nothing; if it bears the address of a neighbour, it is
//     counted on that neighbour's session, with the reason.
//   - Run's end is silent. A session that says AdminDown while its BGP session is being restarted makes
//     neighbours drop the routes that they would have kept.
//   - A session that is no longer wanted, but whose neighbour stays (Peer.Off), goes on answering as long as
//     the neighbour uses it, and its loss means nothing: both AdminDown and silence would end BGP there.
//   - The Control Plane Independent bit is clear: BFD lives and dies with the agent (RFC 5882 section 4.3.2).
//
// session.go is the protocol and knows neither sockets nor clocks: time and packets are handed to it.
//
// Concurrency: the engine, one goroutine, owns sessions and sockets, and waits for nothing but its sockets. It runs in
// Run, in the network namespace of the thread that calls it; or, with Options.Apart, in a process of its own, whose
// Serve it is and whose threads come before all that merely computes (docs/adr/0016). Set and States meet it at a
// mutex that is held for copies only.
package bfd
