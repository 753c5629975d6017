// Package bgp owns this node's BGP speaker: its sessions, what it announces and what it has learned.
//
// The speaker is gobgp v4, and nothing of gobgp leaves this package. Callers hand a whole Config to
// Set, which compares it with what runs and changes the difference; they are told by empty signals
// (Changed, SessionsChanged) that there is something to read, and read it with Learned and Peers.
//
// Invariants:
//   - Policies and our own paths are in the speaker before the first neighbour is added, so that
//     End-of-RIB (RFC 4724 section 2) tells a neighbour the truth.
//   - Nothing is imported and nothing is exported unless a rule of policy.go says so: the default of
//     both directions is to reject.
//   - What neighbours say is kept, judged and selected in our own table (learned.go, hear.go, selection.go);
//     gobgp imports only what it has to pass on.
//   - What is learned may outlive its session, and who keeps what for how long is decided here (staleness.go), as RFC 4724, RFC 8538
//     and RFC 9494 want it, whatever gobgp makes of it for those it passes routes on to.
//   - A session is torn down only for a change of what it has negotiated (see sessionKey). Filters,
//     paths and attributes change under running sessions.
//   - Learned says Synced only for routes that it has already handed out: a caller that removes stale
//     routes once Synced is true never removes one that was confirmed but not yet read.
//   - gobgp tells late of what happens, and does not wait for the end of a session that it removes: only what it tells of a
//     neighbour as it was last added counts (heed), and what was to be done for it is struck out with it (agenda.keep).
//   - One bad peer is reported (PeerError) and left out; it never stops the others.
//
// Concurrency: a mutex orders Set, Restart, Leave and the housekeeping of Run, which are the only
// callers that change the speaker. gobgp's session goroutines bring UPDATEs into table, by way of its log;
// its watcher goroutine brings changes of sessions into sessions. Each has a mutex of its own, table's
// inside that of sessions, and neither calls gobgp while holding it: gobgp waits for them under its locks.
// Work that follows an event (a soft reset, a redial) is put on an agenda, which Run works off.
//
// gobgp opens its sockets on threads of its own choosing: the speaker lives in the network namespace
// of the process, and there is one speaker a process, because gobgp keeps its path selection options in
// package variables.
package bgp
