package bgp

import (
	"net/netip"
	"slices"
	"time"
)

// neighbour is one whom we hear. It is the table's, and under its mutex.
type neighbour struct {
	addr     netip.Addr
	name     string
	internal bool
	// recursive: see Peer.Recursive.
	recursive bool
	us        netip.Addr // our BGP identifier
	rules     []*rule    // of the import policy, those that concern it; see rulesFor
	bound     bound
	warnOnly  bool

	from       time.Time // see heed
	session    uint32    // counts its sessions
	live       bool      // a session is up, and what it says counts
	asWithdraw bool      // the next UPDATE is malformed and takes back what it announces (RFC 7606 section 2)
	last       *offer
	said       *said // the last UPDATE's, while stations may be told

	introduced introduction // to stations
	told       uint32       // the session that stations know of; 0: none
	ended      [2]uint32    // in which session End-of-RIB came, by family
	malformed  int          // UPDATEs that were taken as withdrawals

	received, accepted [2]int // prefixes, by family
	excess             [2]excess
	own                []uint32 // see ownNumbers
	missed             int      // see tally
	held               held
}

// String is the neighbour's name; a path of ours has none.
func (n *neighbour) String() string {
	if n == nil {
		return "this node"
	}
	return n.name
}

// quick are rules made quick to match, and without those that no neighbour's routes meet.
func quick(rules []rule) []rule {
	out := slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return r.From == fromUs })
	for i := range out {
		out[i].indexed()
	}
	return out
}

// rulesFor are the rules that concern a neighbour's routes. They are the same for all whom they concern: in a mesh
// each of a thousand neighbours has a rule for itself, and a copy of all for each would be a million.
func rulesFor(quick []rule, peer netip.Addr) []*rule {
	var out []*rule
	for i := range quick {
		if quick[i].concerns(peer) {
			out = append(out, &quick[i])
		}
	}
	return out
}

// accepts is the import policy: the first rule that matches decides. ORIGINATOR_ID tells of a route of our
// own that a reflector sends back (RFC 4456 section 8).
func (n *neighbour) accepts(p netip.Prefix, o *offer) bool {
	if n.reflected(o) {
		return false
	}
	r := n.ruleFor(p, o)
	return r != nil && r.Verdict == accept
}

func (n *neighbour) reflected(o *offer) bool {
	return n.internal && o.originator == n.us && n.us.IsValid()
}

// ruleFor is the rule that decides on a route; nil: there is none.
func (n *neighbour) ruleFor(p netip.Prefix, o *offer) *rule {
	for _, r := range n.rules {
		if r.covers(p) && (r.Loops == nil || o.goesRound(r.Loops)) && o.fits(r.Carrying, r.Path) {
			return r
		}
	}
	return nil
}

// goesRound says whether an AS stands in the path more often than it may. AS 0 is there, too, where a segment is
// no sequence.
func (o *offer) goesRound(loops []loop) bool {
	for _, l := range loops {
		n := o.times(l.as)
		if n > l.most || l.as == 0 && o.unordered {
			return true
		}
	}
	return false
}

// times is how often an AS stands in the path.
func (o *offer) times(as uint32) (n int) {
	for _, x := range o.path {
		if x == as {
			n++
		}
	}
	return n
}

// count counts a prefix that came or went.
func (t *table) count(n *neighbour, p netip.Prefix, received int) {
	f := int(familyOf(p.Addr()) - IPv4)
	n.received[f] += received
	t.stand(n, f)
}

// recount counts a prefix that was accepted or not, and is now or is not.
func (n *neighbour) recount(p netip.Prefix, was, is bool) {
	f := familyOf(p.Addr()) - IPv4
	if was {
		n.accepted[f]--
	}
	if is {
		n.accepted[f]++
	}
}

// is says whether the neighbour's routes are held back that far; those of ours never are.
func (n *neighbour) is(level held) bool { return n != nil && n.held == level }

func (n *neighbour) empty() bool { return n.received == [2]int{} }
