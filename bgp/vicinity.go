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
	// forgot: known was too much to remember all.
	forgot bool
	// stale: a neighbour's Recursive has changed.
	stale bool
}

// mostKnown bounds what is remembered of next hops: neighbours may make up any number of them.
const mostKnown = 1 << 16

// far tells whether a neighbour's next hop is on none of our links, as far as they are known, and no other route of this
// host leads to it that the neighbour's may follow. A link-local one is on the link to its neighbour, if that has one.
func (t *table) far(n *neighbour, hop netip.Addr) bool {
	r := &t.near
	switch {
	case len(r.links) == 0:
		return false
	case hop.Is6() && hop.IsLinkLocalUnicast():
		return hop.Zone() == ""
	case slices.ContainsFunc(r.links, func(p netip.Prefix) bool { return p.Contains(hop) && p.Addr() != hop }):
		return false
	}
	return !n.recursive || !r.leads(hop)
}

// leads tells whether the longest of the ways to a next hop leads there.
func (r *vicinity) leads(hop netip.Addr) bool {
	is, ok := r.known[hop]
	if !ok {
		is = r.find(hop)
		if len(r.known) == mostKnown {
			clear(r.known)
			r.forgot = true
		}
		r.known[hop] = is
	}
	return is
}

func (r *vicinity) find(hop netip.Addr) bool {
	dead, found := r.dead.Longest(hop)
	return found && !dead
}

// setReach says where next hops can be, and chooses anew where that makes a difference: not where all that is known of next
// hops stays, whatever becomes of other ways.
func (t *table) setReach(c Config) {
	r := &t.near
	same := slices.Equal(c.Links, r.links) && !r.stale
	if same && slices.Equal(c.Ways, r.ways) {
		return
	}
	r.links, r.ways, r.dead = slices.Clone(c.Links), slices.Clone(c.Ways), prefixmap.New[bool]()
	for _, w := range r.ways {
		r.dead.Put(w.Dst, w.Dead)
	}
	for hop, was := range r.known {
		same = same && r.find(hop) == was
	}
	if same && !r.forgot {
		return
	}
	r.known, r.forgot, r.stale = map[netip.Addr]bool{}, false, false
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
