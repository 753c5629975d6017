package bgp

import (
	"net/netip"
	"slices"

	"github.com/podroute/podroute/bgp/bmp"
)

// settings says whom to learn from and how: the neighbours with what is accepted from each, our own paths, the
// bound on the paths of a route, and the links. What neighbours have said is judged anew where rules that concern
// them, or links, have changed. If a set of paths now reads otherwise, the next drain is of the whole table.
func (t *table) settings(c Config, rules []rule, same func(peer netip.Addr) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.max, t.keep = c.MaxPaths, len(c.Stations) > 0
	again := t.meet(c, rules, same)
	t.setOwn(prefixes(c.Paths))
	t.setReach(c)
	if len(again) > 0 {
		for r := range t.routes.All() {
			t.judge(r, again)
		}
	}
	for _, s := range t.sets {
		if via := t.viaOf(s.members); !slices.Equal(via, s.via) {
			s.via = via
			t.all = true
		}
	}
	if t.all {
		signal(t.changed)
	}
}

// meet brings the neighbours up to date, and returns those whose routes must be judged anew.
func (t *table) meet(c Config, rules []rule, same func(netip.Addr) bool) map[*neighbour]bool {
	again := map[*neighbour]bool{}
	old, quick := t.peers, quick(rules)
	t.peers = make(map[netip.Addr]*neighbour, len(c.Peers))
	for _, p := range c.Peers {
		n := old[p.Address]
		if n == nil {
			n = &neighbour{addr: p.Address}
		}
		if !n.empty() && !same(p.Address) {
			again[n] = true
		}
		n.own = p.ownNumbers(c)
		n.rules = rulesFor(quick, p.Address) // also where they say the same: those of before can go
		n.name, n.internal, n.us = p.Name, p.internal(c), c.RouterID
		if n.recursive != p.Recursive {
			n.recursive, t.near.stale = p.Recursive, true
		}
		t.peers[p.Address] = n
		delete(old, p.Address)
		if b := p.bound(); n.bound != b || n.warnOnly != p.WarnOnly {
			n.bound, n.warnOnly, n.excess = b, p.WarnOnly, [2]excess{}
			for f := range n.received {
				t.stand(n, f)
			}
		}
	}
	for _, n := range old {
		t.takeLeave(n, bmp.ReasonDeconfigured, nil)
		t.drop(n, n.session+1, nil)
	}
	return again
}

// judge asks the import policy again about a route's paths.
func (t *table) judge(r *route, again map[*neighbour]bool) {
	changed := false
	for i := range r.paths {
		c := &r.paths[i]
		if !again[c.from] {
			continue
		}
		if ok := c.from.accepts(r.prefix, c.with); ok != c.accepted {
			c.from.recount(r.prefix, c.accepted, ok)
			c.accepted, changed = ok, true
		}
		c.loops = !c.accepted && c.from.turnsAway(r.prefix, c.with)
	}
	if changed {
		t.choose(r)
	} else {
		t.tally(r)
	}
}

// setOwn says which paths are our own.
func (t *table) setOwn(own map[netip.Prefix]bool) {
	for p := range t.own {
		if r := t.routes.Get(p); !own[p] && r != nil {
			r.paths = slices.DeleteFunc(r.paths, func(c candidate) bool { return c.from == nil })
			t.choose(r)
		}
	}
	for p := range own {
		if t.own[p] {
			continue
		}
		r := t.routes.Get(p)
		if r == nil {
			r = &route{prefix: p}
			t.routes.Put(p, r)
		}
		r.paths = slices.Insert(r.paths, 0, candidate{with: t.ours, accepted: true})
		t.choose(r)
	}
	t.own = own
}
