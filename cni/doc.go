// Package cni wires pods: it serves the container runtime's plugin and owns the links of pods.
//
// What it owns in the kernel: every veth link whose name is "pr" and 12 hexadecimal digits, the
// permanent neighbour entries on it, and the host routes over it (protocol 179, metric 100). In the
// pod: the interface that the runtime asked for, with everything on it. It touches nothing else.
//
// The kernel is the journal. A link's alias carries the attachment (alias.go); the table in memory is
// a copy of it, filled by Restore and corrected by the watcher. Nothing is written to disk.
//
// Invariants:
//   - the alias is on the link before the pod has its address (wire.go), so that an address in use is
//     always in the journal;
//   - an address is released after its link is gone, and never before (remove.go), so that no two
//     pods ever have the same;
//   - an ADD that fails leaves neither link nor address behind; where even the removal fails, the
//     address stays taken until the link has gone.
//
// Concurrency: the calls of one attachment take turns (locks.go); calls of different attachments
// share nothing but short sections under a mutex, none of which spans a netlink message. The watcher,
// one goroutine, is told of every link; it restores the host routes of a link that comes up again and
// forgets attachments whose link has vanished, with the pod's namespace for instance.
//
// The plugin's half is package client; hostlink is what both must agree upon.
package cni
