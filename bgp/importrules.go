package bgp

import (
	"fmt"
	"net/netip"
	"slices"
)

// Why a route is rejected, for people.
const (
	whyNeverEver = "it lies in a pod subnet of this node"
	whyReject    = "the peer's import.reject names it"
	whyNever     = "it is a default route, a link or an address of this node, a service range, or has a route of another program: only what import.accept of the peer names is accepted of these"
	whyOnly      = "it is none of those that alone are accepted from this peer (import.only, or a node's own pod subnets in the mesh)"
	whyNot       = "it lies in no range that is accepted: clusterCIDRs with acceptedPrefixLengths, and import.accept of the peer"
	whyOurs      = "it is a route of this node that a reflector sends back (ORIGINATOR_ID)"
)

// importRules are what is accepted from the neighbours.
func importRules(c Config) []rule {
	rules := []rule{{From: fromUs, Verdict: accept}}
	rules = ranged(rules, rule{Verdict: reject, Why: whyNeverEver}, inside(c.NeverEver))
	rules = append(rules, loopRules(c)...)
	for _, p := range c.Peers {
		rules = matching(rules, rule{Peers: p.key(), Verdict: reject, Why: whyReject}, p.Import.Reject)
	}
	for _, p := range c.Peers {
		named := slices.DeleteFunc(slices.Clone(p.Import.Accept), func(m Match) bool { return !c.names(m.Prefixes) })
		rules = matching(rules, rule{Peers: p.key(), Verdict: accept}, named)
	}
	rules = ranged(rules, rule{Verdict: reject, Why: whyNever}, c.Never)

	var closed []netip.Addr // peers that nothing more is accepted from
	for _, p := range c.Peers {
		if p.Only != nil {
			rules = ranged(rules, rule{Peers: p.key(), Verdict: accept}, exactly(p.Only))
		}
		if p.Import.Only {
			rules = matching(rules, rule{Peers: p.key(), Verdict: accept}, p.Import.Accept)
		}
		if p.Only != nil || p.Import.Only {
			closed = append(closed, p.key()...)
		}
	}
	if closed != nil {
		rules = append(rules, rule{Peers: closed, Verdict: reject, Why: whyOnly})
	}
	rules = ranged(rules, rule{Verdict: accept}, c.Import)
	for _, p := range c.Peers {
		if !p.Import.Only {
			rules = matching(rules, rule{Peers: p.key(), Verdict: accept}, p.Import.Accept)
		}
	}
	return rules
}

// names says whether who asks for these prefixes knows what is said of them in Never: they are one prefix, or lie in a
// range of Never. A range around it is no such thing.
func (c Config) names(p PrefixRange) bool {
	return p.exact() || slices.ContainsFunc(c.Never, func(r PrefixRange) bool {
		return !r.exact() && r.Prefix.Bits() <= p.Prefix.Bits() && r.Prefix.Contains(p.Prefix.Addr())
	})
}

// loopRules keep out AS paths with our own AS in them, more often than the peer may (RFC 4271 section 9.1.2),
// with AS 0 (RFC 7607) or with an AS_SET (RFC 9774), which gobgp shows as AS 0. gobgp has a check for loops of
// its own, which is turned off: it drops the UPDATE without taking the route away that the UPDATE replaces.
func loopRules(c Config) []rule {
	rules := []rule{{Loops: []loop{{}}, Verdict: reject}}
	index := map[string]int{}
	for _, p := range c.Peers {
		var loops []loop
		for _, as := range []uint32{c.AS, p.LocalAS} {
			if as != 0 {
				loops = append(loops, loop{as, p.AllowOwnAS})
			}
		}
		key := fmt.Sprint(loops)
		if _, ok := index[key]; !ok {
			index[key] = len(rules)
			rules = append(rules, rule{Loops: loops, Verdict: reject})
		}
		i := index[key]
		rules[i].Peers = append(rules[i].Peers, p.key()...)
	}
	if len(rules) == 2 { // the same for all: one rule that need not look at the neighbour
		return []rule{{Loops: append(rules[0].Loops, rules[1].Loops...), Verdict: reject}}
	}
	return rules
}
