package bgp

import "net/netip"

// PassOn is the next hop of what is passed on from one neighbour to another.
type PassOn uint8

// Next hops of what is passed on. By default it is ourselves, but for what stays inside the AS (RFC 4271 section 5.1.3,
// RFC 4456 section 10).
const (
	PassOnDefault   PassOn = iota
	PassOnSelf             // always ourselves
	PassOnUnchanged        // as we were told: a third party's, or the first neighbour's own
)

// throughUs are the routes whose next hop we are for a peer: our own always; those in transit unless they stay
// inside the AS. Reflected routes keep theirs (RFC 4456 section 10).
func throughUs(c Config, p Peer) []source {
	out := []source{fromUs}
	if p.PassOn == PassOnUnchanged {
		return out
	}
	if c.Transit {
		out = append(out, fromExternal)
	}
	if c.passesOn() && p.PassOn == PassOnSelf || c.Transit && !p.internal(c) {
		out = append(out, fromInternal)
	}
	return out
}

// nextHopRules put ourselves in the way where gobgp does not, or not with the right address, and take ourselves out of it
// where a peer shall be told who else is.
func nextHopRules(c Config) []rule {
	var rules []rule
	self := func(from source, in func(p Peer) bool) {
		var peers []netip.Addr
		for _, p := range c.Peers {
			if p.internal(c) && in(p) {
				peers = append(peers, p.key()...)
			}
		}
		if peers != nil {
			rules = append(rules, rule{From: from, Peers: peers, Set: attributes{Self: true}})
		}
	}
	if c.Transit {
		self(fromExternal, func(p Peer) bool { return p.PassOn != PassOnUnchanged })
	}
	if c.passesOn() {
		self(fromInternal, func(p Peer) bool { return p.PassOn == PassOnSelf })
	}
	for _, p := range c.Peers {
		if p.PassOn == PassOnUnchanged && !p.internal(c) {
			for _, from := range []source{fromInternal, fromExternal} {
				rules = append(rules, rule{From: from, Peers: p.key(), Set: attributes{Unchanged: true}})
			}
		}
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
