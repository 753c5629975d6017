package bgp

import (
	"fmt"
	"maps"
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
	Unchanged   bool // the next hop is the one that we were told
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
	Carrying []pattern // communities that the route must carry, all of them
	Path     PathMatch // what its AS path must be like
	Loops    []loop    // the AS path goes round one of these
	Set      attributes
	Verdict  verdict
	Why      string // says to people why it rejects; of import rules

	index map[netip.Prefix]bool // the single prefixes among Prefixes, where they are many; see indexed
}

// loop is an AS that may stand in an AS path so many times. AS 0 also stands for segments that are no AS_SEQUENCE.
type loop struct {
	as   uint32
	most int
}

// String is a regular expression of gobgp's for AS paths that go round the loop; it shows an AS_SET as AS 0.
func (l loop) String() string {
	if l.most == 0 {
		return fmt.Sprintf("_%d_", l.as)
	}
	// \b, because _ takes the separator with it, and the next match finds none.
	return fmt.Sprintf(`(\b%d\b.*){%d}`, l.as, l.most+1)
}

// policy is what is accepted from the neighbours and what is sent to them.
type policy struct {
	Import, Export []rule
}

// concerns says whether a rule may match routes of this neighbour.
func (r rule) concerns(peer netip.Addr) bool {
	return r.Peers == nil || slices.Contains(r.Peers, peer.WithZone(""))
}

// prints are rules as each neighbour sees them: when a neighbour's print has changed, its routes are evaluated
// anew. The rules for all are kept once, because there may be hundreds of neighbours.
type prints struct {
	all  string
	each map[netip.Addr]string
}

func printsOf(rules []rule) prints {
	var all strings.Builder
	each := map[netip.Addr]*strings.Builder{}
	for _, r := range rules {
		peers := r.Peers
		r.Peers = nil
		text := r.String()
		if peers == nil {
			all.WriteString(text + "\n")
			continue
		}
		for _, p := range peers {
			if each[p] == nil {
				each[p] = &strings.Builder{}
			}
			fmt.Fprintf(each[p], "%d %s\n", all.Len(), text) // where it stands among the rules for all
		}
	}
	out := prints{all: all.String(), each: map[netip.Addr]string{}}
	for p, b := range each {
		out.each[p] = b.String()
	}
	return out
}

// same says whether two sets of rules are the same to a neighbour.
func (p prints) same(q prints, peer netip.Addr) bool {
	peer = peer.WithZone("")
	return p.all == q.all && p.each[peer] == q.each[peer]
}

// equal says whether two sets of rules are the same to every neighbour.
func (p prints) equal(q prints) bool { return p.all == q.all && maps.Equal(p.each, q.each) }

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
