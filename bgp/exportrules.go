package bgp

import (
	"fmt"
	"net/netip"
	"slices"
)

// exportRules are what the neighbours are told.
func exportRules(c Config) []rule {
	var rules []rule
	internal, external, reflects := sides(c)
	if c.Transit || reflects {
		rules = append(rules, scopeRules(external)...)
	}
	for _, p := range c.Peers {
		rules = append(rules, exportFilter(c, p)...)
	}
	rules = append(rules, summaryRules(c)...)
	rules = append(rules, nextHopRules(c, internal)...)
	if c.Drain {
		rules = append(rules, rule{Set: attributes{Communities: []string{gracefulShutdown}, LocalPref: lowest()}})
	}
	rules = append(rules, ownRules(c, external)...)
	switch {
	case c.Transit:
		rules = append(rules, rule{From: fromInternal, Verdict: accept}, rule{From: fromExternal, Verdict: accept})
	case reflects:
		// Who is told what among the clients and the others is RFC 4456 section 6, and gobgp's doing.
		rules = append(rules, rule{From: fromInternal, Peers: internal, Verdict: accept})
	}
	return rules
}

// gracefulShutdown is the community of routes that are about to go (RFC 8326 section 3).
const gracefulShutdown = "65535:0"

// lowest is the lowest local preference that gobgp can express; RFC 8326 section 4.2 wants 0.
func lowest() *uint32 {
	one := uint32(1)
	return &one
}

// sides are the addresses of internal and of external neighbours, and whether we reflect.
func sides(c Config) (internal, external []netip.Addr, reflects bool) {
	for _, p := range c.Peers {
		if p.internal(c) {
			internal = append(internal, p.key()...)
		} else {
			external = append(external, p.key()...)
		}
		reflects = reflects || p.ReflectorClient
	}
	return internal, external, reflects
}

// scopeRules keep routes where RFC 1997 says that they must stay; gobgp itself does not.
func scopeRules(external []netip.Addr) []rule {
	var rules []rule
	for _, from := range []source{fromInternal, fromExternal} {
		rules = append(rules, rule{From: from, Carrying: "65535:65282", Verdict: reject}) // NO_ADVERTISE
		if external != nil {
			rules = append(rules, rule{From: from, Peers: external, Carrying: "65535:65281", Verdict: reject}) // NO_EXPORT
		}
	}
	return rules
}

// exportFilter takes away what a peer's own filter does not let through.
func exportFilter(c Config, p Peer) []rule {
	rules := ranged(nil, rule{Peers: p.key(), Verdict: reject}, p.Export.Reject)
	for _, fam := range p.withoutNextHop() {
		for _, from := range throughUs(c, p) {
			rules = append(rules, rule{From: from, Peers: p.key(), Family: fam, Verdict: reject})
		}
	}
	if len(p.Export.Accept) == 0 {
		return rules
	}
	some := ranged(nil, rule{Peers: p.key(), Except: true, Verdict: reject}, p.Export.Accept)
	for _, fam := range []Family{IPv4, IPv6} {
		if !slices.ContainsFunc(some, func(r rule) bool { return r.Family == fam }) {
			some = append(some, rule{Peers: p.key(), Family: fam, Verdict: reject})
		}
	}
	return append(rules, some...)
}

// throughUs are the routes whose next hop we are for a peer: our own always; those in transit unless they stay
// inside the AS. Reflected routes keep theirs (RFC 4456 section 10).
func throughUs(c Config, p Peer) []source {
	out := []source{fromUs}
	if c.Transit {
		out = append(out, fromExternal)
		if !p.internal(c) {
			out = append(out, fromInternal)
		}
	}
	return out
}

// nextHopRules put ourselves in the way where gobgp does not, or not with the right address.
func nextHopRules(c Config, internal []netip.Addr) []rule {
	var rules []rule
	if c.Transit && internal != nil {
		rules = append(rules, rule{From: fromExternal, Peers: internal, Set: attributes{Self: true}})
	}
	for _, p := range c.Peers {
		for _, fam := range p.Families {
			nh, ok := p.NextHops[fam]
			if !ok {
				continue
			}
			for _, from := range throughUs(c, p) {
				rules = append(rules, rule{From: from, Peers: p.key(), Family: fam, Set: attributes{NextHop: nh}})
			}
		}
	}
	return rules
}

// ownRules send our own paths with their attributes to whom they are meant for.
func ownRules(c Config, external []netip.Addr) []rule {
	var rules []rule
	for _, g := range groups(c) {
		r := rule{From: fromUs, Peers: g.peers, Set: g.set, Verdict: accept}
		if g.prepend > 0 { // on iBGP our AS in the path would make the neighbour drop it as a loop
			more := rule{From: fromUs, Peers: intersect(external, g.peers), Set: attributes{Prepend: g.prepend}}
			if len(more.Peers) > 0 {
				rules = ranged(rules, more, g.prefixes)
			}
		}
		rules = ranged(rules, r, g.prefixes)
	}
	return rules
}

// intersect keeps what is in both; b nil means everything.
func intersect(a, b []netip.Addr) []netip.Addr {
	if b == nil {
		return a
	}
	return slices.DeleteFunc(slices.Clone(a), func(x netip.Addr) bool { return !slices.Contains(b, x) })
}

// group are paths with the same attributes for the same peers.
type group struct {
	peers    []netip.Addr
	set      attributes
	prepend  int
	prefixes []PrefixRange
}

// groups gathers the paths, those for named peers first, so that they win over those for all.
func groups(c Config) []group {
	byName := map[string]netip.Addr{}
	for _, p := range c.Peers {
		byName[p.Name] = p.Address.WithZone("")
	}
	index := map[string]int{}
	var out []group
	for _, p := range c.Paths {
		g := group{set: p.attributes(), prepend: p.Prepend}
		if c.Drain {
			g.set.LocalPref = nil // the rule for all has set it
		}
		for _, name := range p.Peers {
			if a, ok := byName[name]; ok {
				g.peers = append(g.peers, a)
			}
		}
		if len(p.Peers) > 0 && g.peers == nil {
			continue // for peers that this node does not have
		}
		key := fmt.Sprint(rule{Peers: g.peers, Set: g.set}, g.prepend)
		i, ok := index[key]
		if !ok {
			i = len(out)
			index[key], out = i, append(out, g)
		}
		out[i].prefixes = append(out[i].prefixes, exactly([]netip.Prefix{p.Prefix})...)
	}
	slices.SortStableFunc(out, func(a, b group) int { return boolToInt(a.peers == nil) - boolToInt(b.peers == nil) })
	return out
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (p Path) attributes() attributes {
	a := attributes{NextHop: p.NextHop, LocalPref: p.LocalPref, MED: p.MED}
	for _, c := range p.Communities {
		text, large, _ := parseCommunity(c) // was checked
		if large {
			a.Large = append(a.Large, text)
		} else {
			a.Communities = append(a.Communities, text)
		}
	}
	return a
}
