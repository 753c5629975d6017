// Package nft owns one nftables table, inet podroute, and nothing else in nftables.
//
// The table does four things. On the way in, a packet from a pod link whose source address is not
// routed back to that very link is dropped and counted: a pod cannot speak under another's address
// (strict reverse path, RFC 3704 section 2.2, on pod links alone). On the way out, a connection
// from this node's pods to a destination outside the cluster gets the node's address as its source;
// everything inside keeps its addresses. On the way through, a packet that is still destined to a service address is
// refused: nobody has translated it, and it would bounce between this node and its router. And while a node is drained, a chain of its own counts what still arrives from
// outside for service addresses, before they are translated (watch.go).
//
// # Invariants
//
//   - Set makes the kernel's table equal to what a Config asks for. It compares with the table as the
//     kernel has it, not with a memory of it, and writes nothing where they agree.
//   - A packet sees the old rules or the new ones, never a mixture or none. One batch does not give
//     that: the elements of its sets can be looked up only a moment after its rules are in force, and
//     a packet that is between a rule and its lookup at that moment leaves untranslated. So sets are
//     never edited: a set's name carries a hash of its content, and a change is three batches, new
//     sets, rules that use them, old sets away. TestSetUnderTraffic holds this.
//   - The anti-spoofing chain is static, so its counters survive changes of the rest. Chains come and go by themselves.
//   - A table that is not of our making in any detail (chains, flags, edited sets) is deleted and
//     written anew in one batch.
//   - Addresses are translated when a connection's first packet leaves. Replies to connections from
//     outside belong to an existing connection and keep the pod's address.
//
// # Concurrency
//
// Set, Drifted and Remove belong to one goroutine; Counts may be called from any; Run, which signals what others do to the table, may
// be another. A Table remembers the network namespace of the thread that called New and opens its
// sockets there.
package nft
