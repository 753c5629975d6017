// Package pool decides which blocks of address pools a node claims next, and which of its own it gives back.
//
// It is pure: a State goes in, a Plan comes out, and nothing is remembered. Whether a claim succeeds is
// settled elsewhere, by a compare-and-swap on the block's name; so two nodes that plan the same block
// do no harm, they only lose time. Candidates therefore come in an order that is each node's own: a
// permutation of all blocks of the pool that starts and steps by hashes of the node's name. It needs no memory,
// leaves no block out, and where few blocks are taken, two nodes seldom meet.
//
// A pool that is cut into ranges, one for each value of a node label, is claimed in two steps of the same
// form: first the range, under the value's name, by whichever node of the value comes first, in an order that is the
// value's own; then blocks in it. All nodes of one value walk the same order, so they come to the same range
// even when they do so at once, and no two values ever share one.
//
// When: a demand is what some pods need, one address of a family from any of a list of pools. A demand claims
// a block while fewer addresses are free than its low-water mark, a quarter of a block, at most 64: so a pod
// waits only where a node takes pods faster than the API answers. A block is given back when it has been empty for a
// while, by the node that claimed it itself, and when twice the mark stays free without it, so that a node
// that goes up and down by one pod does not claim and give back for ever. A demand's last block stays.
package pool
