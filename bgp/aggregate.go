package bgp

import (
	"net/netip"
	"slices"
)

// summaryRules keep back what lies inside aggregates from those who are told the aggregate.
func summaryRules(c Config) []rule {
	byName := map[string]netip.Addr{}
	for _, p := range c.Peers {
		byName[p.Name] = p.Address.WithZone("")
	}
	var rules []rule
	for _, p := range c.Paths {
		if !p.SummaryOnly || p.Prefix.IsSingleIP() {
			continue
		}
		r := rule{Verdict: reject}
		for _, name := range p.Peers {
			if a, ok := byName[name]; ok {
				r.Peers = append(r.Peers, a)
			}
		}
		if len(p.Peers) > 0 && r.Peers == nil {
			continue // for peers that this node does not have
		}
		rules = ranged(rules, r, []PrefixRange{{Prefix: p.Prefix, Min: p.Prefix.Bits() + 1, Max: p.Prefix.Addr().BitLen()}})
	}
	return rules
}

// loosened is the state to go through on the way to c where an aggregate goes that has kept others back: first the
// others are told, then the aggregate goes, or the neighbours would be without both for a moment.
func (s *Speaker) loosened(c Config) (Config, bool) {
	var going []Path
	for _, p := range s.now.Paths {
		stays := slices.ContainsFunc(c.Paths, func(q Path) bool { return q.Prefix == p.Prefix })
		if p.SummaryOnly && !stays {
			p.SummaryOnly = false
			going = append(going, p)
		}
	}
	c.Paths = append(slices.Clone(c.Paths), going...)
	return c, len(going) > 0
}
