package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// source is where a route came from.
type source uint8

const (
	anywhere source = iota
	fromUs
	fromInternal // learned over iBGP
	fromExternal // learned over eBGP
)

// verdict is what a rule decides.
type verdict uint8

const (
	pass verdict = iota // change attributes and go on with the next rule
	accept
	reject
)

// attributes are what a rule changes in the routes it matches; the zero value changes nothing.
type attributes struct {
	NextHop     netip.Addr
	Self        bool // the next hop is our end of the session
	Communities []string
	Large       []string
	LocalPref   *uint32
	MED         *uint32
	Prepend     int
}

// rule is one line of a policy: rules are tried in order, and the first that matches and does not pass
// decides. A route that no rule decides is rejected.
type rule struct {
	From     source
	Peers    []netip.Addr // neighbours, without zones; nil means all
	Family   Family       // 0 means both
	Prefixes []PrefixRange
	Except   bool     // all prefixes of Family but Prefixes
	Carrying string   // a community that the route must carry
	Path     []string // the AS path matches one of these, in gobgp's regular expressions
	Set      attributes
	Verdict  verdict
}

// policy is what is accepted from the neighbours and what is sent to them.
type policy struct {
	Import, Export []rule
}

// concerns says whether a rule may match routes of this neighbour.
func (r rule) concerns(peer netip.Addr) bool {
	return r.Peers == nil || slices.Contains(r.Peers, peer.WithZone(""))
}

// forPeer are the rules of one direction that concern a neighbour, as text: when it has changed, the
// neighbour's routes are evaluated anew.
func forPeer(rules []rule, peer netip.Addr) string {
	var b strings.Builder
	for _, r := range rules {
		if r.concerns(peer) {
			r.Peers = nil
			b.WriteString(r.String())
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// compile turns what the configuration wants into rules.
func compile(c Config) policy {
	return policy{Import: importRules(c), Export: exportRules(c)}
}

// ranged adds a rule once for every family that the ranges have: a set of prefixes has one family.
func ranged(rules []rule, r rule, ranges []PrefixRange) []rule {
	for _, fam := range []Family{IPv4, IPv6} {
		r.Family, r.Prefixes = fam, nil
		for _, x := range ranges {
			if familyOf(x.Prefix.Addr()) == fam {
				r.Prefixes = append(r.Prefixes, x)
			}
		}
		if len(r.Prefixes) > 0 {
			rules = append(rules, r)
		}
	}
	return rules
}

// inside are prefixes with all that lies in them.
func inside(prefixes []netip.Prefix) []PrefixRange {
	out := make([]PrefixRange, len(prefixes))
	for i, p := range prefixes {
		out[i] = PrefixRange{Prefix: p.Masked(), Min: p.Bits(), Max: p.Addr().BitLen()}
	}
	return out
}

// exactly are prefixes without what lies in them.
func exactly(prefixes []netip.Prefix) []PrefixRange {
	out := make([]PrefixRange, len(prefixes))
	for i, p := range prefixes {
		out[i] = PrefixRange{Prefix: p.Masked(), Min: p.Bits(), Max: p.Bits()}
	}
	return out
}

func (p Peer) key() []netip.Addr { return []netip.Addr{p.Address.WithZone("")} }

func importRules(c Config) []rule {
	rules := []rule{{From: fromUs, Verdict: accept}}
	rules = ranged(rules, rule{Verdict: reject}, inside(c.NeverEver))
	rules = append(rules, loopRules(c)...)
	for _, p := range c.Peers {
		rules = ranged(rules, rule{Peers: p.key(), Verdict: reject}, p.Import.Reject)
	}
	for _, p := range c.Peers {
		exact := slices.DeleteFunc(slices.Clone(p.Import.Accept), func(r PrefixRange) bool { return !r.exact() })
		rules = ranged(rules, rule{Peers: p.key(), Verdict: accept}, exact)
	}
	rules = ranged(rules, rule{Verdict: reject}, c.Never)

	var closed []netip.Addr // peers that nothing more is accepted from
	for _, p := range c.Peers {
		if p.Only != nil {
			rules = ranged(rules, rule{Peers: p.key(), Verdict: accept}, exactly(p.Only))
			closed = append(closed, p.key()...)
		}
	}
	if closed != nil {
		rules = append(rules, rule{Peers: closed, Verdict: reject})
	}
	rules = ranged(rules, rule{Verdict: accept}, c.Import)
	for _, p := range c.Peers {
		rules = ranged(rules, rule{Peers: p.key(), Verdict: accept}, p.Import.Accept)
	}
	return rules
}

// loopRules keep out AS paths with our own AS in them, more often than the peer may (RFC 4271 section 9.1.2),
// with AS 0 (RFC 7607) or with an AS_SET (RFC 9774), which gobgp shows as AS 0. gobgp has a check for loops of
// its own, which is turned off: it drops the UPDATE without taking the route away that the UPDATE replaces.
func loopRules(c Config) []rule {
	rules := []rule{{Path: []string{"_0_"}, Verdict: reject}}
	index := map[string]int{}
	for _, p := range c.Peers {
		var path []string
		for _, as := range []uint32{c.AS, p.LocalAS} {
			switch {
			case as == 0:
			case p.AllowOwnAS == 0:
				path = append(path, fmt.Sprintf("_%d_", as))
			default: // \b, because _ takes the separator with it, and the next match finds none
				path = append(path, fmt.Sprintf(`(\b%d\b.*){%d}`, as, p.AllowOwnAS+1))
			}
		}
		key := fmt.Sprint(path)
		if _, ok := index[key]; !ok {
			index[key] = len(rules)
			rules = append(rules, rule{Path: path, Verdict: reject})
		}
		i := index[key]
		rules[i].Peers = append(rules[i].Peers, p.key()...)
	}
	if len(rules) == 2 { // the same for all: one rule that need not look at the neighbour
		return []rule{{Path: append(rules[0].Path, rules[1].Path...), Verdict: reject}}
	}
	return rules
}

func exportRules(c Config) []rule {
	var rules []rule
	internal, external, reflects := sides(c)
	if c.Transit || reflects {
		rules = append(rules, scopeRules(external)...)
	}
	for _, p := range c.Peers {
		rules = append(rules, exportFilter(c, p)...)
	}
	rules = append(rules, nextHopRules(c, internal)...)
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
