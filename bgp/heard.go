package bgp

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// HeardRoute is what the neighbours have said of a prefix.
type HeardRoute struct {
	Prefix netip.Prefix
	// Paths are in the order of their neighbours' addresses.
	Paths []HeardPath
}

// HeardPath is a path that a neighbour has told, and what has become of it.
type HeardPath struct {
	// Peer is the name of the neighbour.
	Peer string
	*Attributes
	// ID is its path identifier (RFC 7911); 0: it has none.
	ID    uint32
	State PathState
	// Why says to people why it is not best.
	Why string
	// Stale: the session in which it came is over.
	Stale bool
}

// PathState is what has become of a path.
type PathState string

// What may become of a path.
const (
	PathBest      PathState = "Best"      // traffic goes there, as far as the next hop can be reached
	PathLingering PathState = "Lingering" // flows that are under way may stay, no other goes there; see Via.Leaving
	PathBeaten    PathState = "Beaten"    // by a better one
	PathHeld      PathState = "Held"      // its neighbour comes and goes
	PathRejected  PathState = "Rejected"  // by the import policy
)

// Heard returns all that the neighbours say, accepted or not, sorted by prefix.
func (s *Speaker) Heard() []HeardRoute {
	out := s.table.heard()
	slices.SortFunc(out, func(a, b HeardRoute) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), a.Prefix.Bits()-b.Prefix.Bits())
	})
	return out
}

func (t *table) heard() []HeardRoute {
	t.mu.Lock()
	defer t.mu.Unlock()
	texts := map[*offer]*Attributes{} // many prefixes share what is said of them
	out := make([]HeardRoute, 0, t.routes.Len())
	for r := range t.routes.All() {
		o := t.outcomeOf(r)
		h := HeardRoute{Prefix: r.prefix, Paths: make([]HeardPath, 0, len(r.paths))}
		for _, c := range r.paths {
			if c.from == nil {
				continue
			}
			if texts[c.with] == nil {
				texts[c.with] = c.with.attributes()
			}
			p := HeardPath{Peer: c.from.name, Attributes: texts[c.with], ID: c.id, Stale: !c.from.live || c.session != c.from.session}
			p.State, p.Why = o.of(c)
			h.Paths = append(h.Paths, p)
		}
		if len(h.Paths) > 0 {
			out = append(out, h)
		}
	}
	return out
}

// attributes are the offer's for people.
func (o *offer) attributes() *Attributes {
	a := &Attributes{
		NextHop: o.hop, Origin: originName(o.origin), ASPath: o.path, LocalPref: &o.localPref,
		Originator: o.originator, Clusters: o.clusters, Aggregate: o.summary,
	}
	if o.priced {
		a.MED = &o.med
	}
	for _, c := range o.communities {
		a.Communities = append(a.Communities, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
	}
	for _, c := range o.large {
		a.Communities = append(a.Communities, fmt.Sprintf("%d:%d:%d", c[0], c[1], c[2]))
	}
	return a
}

// originName is an origin (RFC 4271 section 4.3).
func originName(o uint8) string {
	switch o {
	case 0:
		return "IGP"
	case 1:
		return "EGP"
	}
	return "INCOMPLETE"
}
