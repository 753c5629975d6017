// Package ipam hands out a node's pod addresses.
//
// An Allocator owns the addresses of the node's blocks: which attachment holds which, and which were
// freed a moment ago. It lives in memory only. The truth is in the kernel, where every pod's link
// carries its addresses; Restore rebuilds the allocator from there.
//
// Invariants: an address is held by at most one key, unless Restore found it twice; a key holds at
// most one address a family; what is held stays held when its block goes away, until its release.
//
// Which addresses of a block are for pods: all but the first of a block (in IPv4 the network's own
// address, in IPv6 the subnet-router anycast address, RFC 4291 section 2.6.1) and, in IPv4, but the last
// (broadcast). Pods are routed one by one and would do with these too, but other systems' firewalls
// and routers know such addresses by sight. Blocks of one or two addresses (RFC 3021, RFC 6164) give
// all, IPv6 blocks shorter than /64 those of their first /64. No address is set aside for a gateway: pods' gateways are link-local.
//
// Order: the blocks in the order given, so that later ones stay empty and can be returned; within a
// block round and round, from a random start, so that a restarted agent, which forgets what was freed,
// does not hand out first what its predecessor freed last. A freed address cools down (30 s by
// default) so that others' connections to the old pod die before a new pod answers them. It is
// given out early, the longest-freed first, when nothing else is left: an old connection in the wrong
// place is a small and unlikely harm, a pod that does not start is a certain one. So an allocator is
// exhausted only when every address is in use.
//
// Cost: memory grows with the addresses in use or cooling, not with the size of the block; an IPv6 /64
// costs what a /24 costs.
//
// All methods are safe for concurrent use and never block on anything but one another.
package ipam
