package bgp

import (
	"fmt"
	"net/netip"
	"slices"
)

// This file finds the mistake that keeps nodes of one AS number apart which speak with their routers by eBGP: each drops the others'
// routes, for their AS paths hold its own number (RFC 4271 section 9.1.2). Where loops are dropped as they should be, another
// neighbour has told the same prefix, or it is our own.

// turnsAway says whether a route is rejected for our own AS number in its AS path, and for nothing else.
func (n *neighbour) turnsAway(p netip.Prefix, o *offer) bool {
	ours := func(as uint32) bool { return slices.Contains(o.path, as) }
	if !slices.ContainsFunc(n.own, ours) || ours(0) || o.unordered || n.internal && o.originator == n.us && n.us.IsValid() {
		return false
	}
	for _, r := range n.rules {
		if r.Loops == nil && r.covers(p) && o.fits(r.Carrying, r.Path) {
			return r.Verdict == accept
		}
	}
	return false
}

// tally counts with its neighbours what is missing because they were turned away.
func (t *table) tally(r *route) {
	if !slices.ContainsFunc(r.paths, func(c candidate) bool { return c.loops || c.missed }) {
		return
	}
	known := slices.ContainsFunc(r.paths, func(c candidate) bool { return c.accepted })
	for i := range r.paths {
		c := &r.paths[i]
		switch missed := c.loops && !known; {
		case missed && !c.missed:
			c.from.missed++
		case !missed && c.missed:
			c.from.missed--
		}
		c.missed = c.loops && !known
	}
}

// missed is how many routes of a neighbour are missing because their AS paths hold our own number, and the text that says so.
func (t *table) missed(peer netip.Addr) (routes int, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.peers[peer]
	if n == nil || n.missed == 0 {
		return 0, ""
	}
	own := fmt.Sprintf("AS number %d", n.own[0])
	if len(n.own) > 1 {
		own = fmt.Sprintf("AS numbers %d or %d", n.own[0], n.own[1])
	}
	return n.missed, fmt.Sprintf("%d routes dropped that nobody else has told: their AS paths hold our own %s, as loops do. If other nodes have it too, give each "+
		"an AS number of its own (annotation podroute.io/as-number), set allowOwnAS: 1 on the BGPPeer, or have the router put its own in its place (as-override)", n.missed, own)
}

// ownNumbers are the AS numbers that a neighbour's routes must not have passed.
func (p Peer) ownNumbers(c Config) []uint32 {
	if p.LocalAS != 0 && p.LocalAS != c.AS {
		return []uint32{c.AS, p.LocalAS}
	}
	return []uint32{c.AS}
}
