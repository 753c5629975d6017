package bgp

import (
	"net/netip"
	"slices"

	"github.com/podroute/podroute/internal/prefixmap"
)

// vicinity is where next hops can be (RFC 4271 section 5.1.3).
type vicinity struct {
	links []netip.Prefix
	ways  []Way
	dead  prefixmap.Map[bool] // Way.Dead by Way.Dst
	// known are the next hops that were looked for so far, and whether a way leads to them: they are few, and paths many.
	known map[netip.Addr]bool
	// stale: a neighbour's Recursive has changed.
	stale bool
}

// mostKnown bounds what is remembered of next hops: neighbours may make up any number of them.
const mostKnown = 1 << 16

// far tells whether a neighbour's next hop is on none of our links, as far as they are known, and no other route of this
// host leads to it that the neighbour's may follow. A link-local one is where its neighbour is.
func (t *table) far(n *neighbour, hop netip.Addr) bool {
	r := &t.near
	if len(r.links) == 0 || hop.IsLinkLocalUnicast() || slices.ContainsFunc(r.links, func(p netip.Prefix) bool { return p.Contains(hop) && p.Addr() != hop }) {
		return false
	}
	return !n.recursive || !r.leads(hop)
}

// leads tells whether the longest of the ways to a next hop leads there.
func (r *vicinity) leads(hop netip.Addr) bool {
	if len(r.ways) == 0 {
		return false
	}
	is, ok := r.known[hop]
	if !ok {
		dead, found := r.dead.Longest(hop)
		is = found && !dead
		if len(r.known) == mostKnown {
			clear(r.known)
		}
		r.known[hop] = is
	}
	return is
}

// setReach says where next hops can be, and chooses anew where that makes a difference.
func (t *table) setReach(c Config) {
	r := &t.near
	if slices.Equal(c.Links, r.links) && slices.Equal(c.Ways, r.ways) && !r.stale {
		return
	}
	*r = vicinity{links: slices.Clone(c.Links), ways: slices.Clone(c.Ways), dead: prefixmap.New[bool](), known: map[netip.Addr]bool{}}
	for _, w := range r.ways {
		r.dead.Put(w.Dst, w.Dead)
	}
	for r := range t.routes.All() {
		changed := false
		for i := range r.paths {
			c := &r.paths[i]
			if far := c.from != nil && t.far(c.from, c.with.hop); far != c.far {
				c.far, changed = far, true
			}
		}
		if changed {
			t.choose(r)
		}
	}
}
