package bgp

import (
	"cmp"
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
	rules = append(rules, nextHopRules(c)...)
	if c.Drain {
		rules = append(rules, rule{Set: attributes{Communities: []string{GracefulShutdown}, LocalPref: lowest()}})
	}
	rules = append(rules, ownRules(c, external)...)
	for _, p := range c.Peers {
		rules = append(rules, chosenRules(c, p)...)
	}
	switch {
	case c.Transit:
		rules = append(rules, rule{From: fromInternal, Verdict: accept}, rule{From: fromExternal, Verdict: accept})
	case reflects:
		// Who is told what among the clients and the others is RFC 4456 section 6, and gobgp's doing.
		rules = append(rules, rule{From: fromInternal, Peers: internal, Verdict: accept})
	}
	return rules
}

// GracefulShutdown is the community of routes that are about to go (RFC 8326 section 3), as Path and AdvertisedRoute have it.
const GracefulShutdown = "65535:0"

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
		rules = append(rules, rule{From: from, Carrying: patterns([]string{"no-advertise"}), Verdict: reject})
		if external == nil {
			continue
		}
		for _, name := range []string{"no-export", "no-export-subconfed"} {
			rules = append(rules, rule{From: from, Peers: external, Carrying: patterns([]string{name}), Verdict: reject})
		}
	}
	return rules
}

// exportFilter takes away what a peer's own filter does not let through.
func exportFilter(c Config, p Peer) []rule {
	var rules []rule
	for _, m := range p.Export.Reject {
		if m.plain() {
			rules = matching(rules, rule{Peers: p.key(), Verdict: reject}, []Match{m})
			continue
		}
		for _, from := range learnedFor(c, p) {
			rules = matching(rules, rule{From: from, Peers: p.key(), Verdict: reject}, []Match{m})
		}
	}
	if own := heldFrom(c, p); own != nil {
		rules = ranged(rules, rule{From: fromUs, Peers: p.key(), Verdict: reject}, exactly(own))
	}
	for _, fam := range p.withoutNextHop() {
		for _, from := range throughUs(c, p) {
			rules = append(rules, rule{From: from, Peers: p.key(), Family: fam, Verdict: reject})
		}
	}
	return rules
}

// chosenRules pass on what a peer's filter names, where that is all that it lets through.
func chosenRules(c Config, p Peer) []rule {
	var rules []rule
	if !p.Export.only() {
		return nil
	}
	for _, from := range learnedFor(c, p) {
		rules = matching(rules, rule{From: from, Peers: p.key(), Verdict: accept}, p.Export.Accept)
		rules = append(rules, rule{From: from, Peers: p.key(), Verdict: reject})
	}
	return rules
}

// learnedFor are where the routes came from that are passed on to a peer.
func learnedFor(c Config, p Peer) []source {
	switch _, _, reflects := sides(c); {
	case c.Transit:
		return []source{fromInternal, fromExternal}
	case reflects && p.internal(c):
		return []source{fromInternal}
	}
	return nil
}

// heldFrom are our own prefixes that a peer's filter holds back from it. Which communities and AS path they have is
// known here, and not yet where gobgp tries the filter.
func heldFrom(c Config, p Peer) []netip.Prefix {
	f := p.Export
	attributes := func(m Match) bool { return !m.plain() }
	if !f.only() && !slices.ContainsFunc(f.Reject, attributes) {
		return nil
	}
	var out []netip.Prefix
	for prefix, path := range toldTo(c, p) {
		o := path.offered(c, p)
		holds := func(m Match) bool { return m.holds(prefix, o) }
		if slices.ContainsFunc(f.Reject, holds) || f.only() && !slices.ContainsFunc(f.Accept, holds) {
			out = append(out, prefix)
		}
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int { return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits()) })
	return out
}

// toldTo are our paths as a peer is told them: one that names it wins over one for all.
func toldTo(c Config, p Peer) map[netip.Prefix]Path {
	out := map[netip.Prefix]Path{}
	for _, path := range c.Paths {
		named := slices.Contains(path.Peers, p.Name)
		if before, ok := out[path.Prefix]; (len(path.Peers) == 0 || named) && (!ok || named && len(before.Peers) == 0) {
			out[path.Prefix] = path
		}
	}
	return out
}

// offered is a path of ours as a peer gets it.
func (p Path) offered(c Config, to Peer) *offer {
	o := ourOffer()
	if !to.internal(c) {
		o.path = slices.Repeat([]uint32{to.localAS(c)}, 1+p.Prepend)
	}
	for _, x := range patterns(p.Communities) {
		if x.large {
			o.large = append(o.large, x.parts)
		} else {
			o.communities = append(o.communities, x.parts[0]<<16|x.parts[1])
		}
	}
	return o
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
