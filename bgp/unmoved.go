package bgp

import (
	"maps"
	"net/netip"
	"slices"
)

// unmoved says for which neighbours nothing changes in what they are told of our paths that stay. A path that comes or goes
// is told by that alone, and of thousands the others need not be told again. Where gobgp tells a neighbour
// nothing yet, all of it is told again later.
func (s *Speaker) unmoved(c Config, out prints) func(peer netip.Addr) bool {
	same := func(peer netip.Addr) bool { return out.same(s.out, peer) }
	old, wanted := prefixes(s.now.Paths), prefixes(c.Paths)
	if maps.Equal(old, wanted) {
		return same
	}
	staying := func(c Config) prints {
		c.Paths = slices.DeleteFunc(slices.Clone(c.Paths), func(p Path) bool {
			_, was := old[p.Prefix]
			_, is := wanted[p.Prefix]
			return !(was && is || p.Aggregate || p.SummaryOnly) // aggregates concern others, too
		})
		return printsOf(exportRules(c))
	}
	before, after, silent := staying(s.now), staying(c), s.sessions.silentTo()
	return func(peer netip.Addr) bool {
		return same(peer) || before.same(after, peer) && s.sessions.heldBack(peer).IsZero() && !slices.Contains(silent, peer)
	}
}
