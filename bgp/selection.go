package bgp

import (
	"cmp"
	"fmt"
	"slices"
)

// candidate is what one neighbour says of a prefix.
type candidate struct {
	from     *neighbour // nil: the path is our own
	with     *offer
	id       uint32 // path identifier (RFC 7911)
	session  uint32 // of the neighbour, in which it came; an earlier one's is stale
	accepted bool   // by the import policy
	far      bool   // its next hop cannot be reached; see table.far
	aged     bool   // the neighbour may be gone for good
	lingers  bool   // see lingering
	said     *said  // nil where nobody was to be told
	loops    bool   // see turnsAway
	missed   bool   // and it is counted
}

// before says whether a candidate stands before what a neighbour says under an identifier.
func (c candidate) before(n *neighbour, id uint32) bool {
	switch {
	case c.from == nil:
		return true
	case c.from == n:
		return c.id < id
	}
	return c.from.addr.Less(n.addr)
}

// canonical puts what one neighbour says in the order of next hops, each once: path identifiers come as they like, and routes with the same next
// hops are to have the same set. It reuses the slice.
func canonical(cs []candidate) []candidate {
	for i := 1; i < len(cs); i++ {
		if cs[i].from != nil && cs[i].from == cs[i-1].from {
			slices.SortStableFunc(cs, func(a, b candidate) int {
				am, bm := a.member(), b.member()
				return cmp.Or(am.peer.Compare(bm.peer), am.hop.Compare(bm.hop))
			})
			return slices.CompactFunc(cs, func(a, b candidate) bool { return a.from == b.from && a.with.hop == b.with.hop })
		}
	}
	return cs
}

// best keeps those of the candidates that traffic goes to, in their order; it reuses the slice. That is the
// decision process of RFC 4271 section 9.1.2.2 as far as paths may differ for a host at the edge: what is left
// after step d is of equal cost. Unlike the RFC's steps f and g it breaks no ties, because all are used, and
// unlike those of FRR and BIRD the AS paths of equal ones may lead through different neighbour ASes. Before all
// steps, paths go whose next hop cannot be reached (section 9.1.2), unless there are no others: then the reader is
// to say why the route is of no use.
func best(cs []candidate) []candidate {
	cs = slices.DeleteFunc(cs, func(c candidate) bool { return !c.accepted || c.from.is(shelved) })
	if len(cs) < 2 {
		return cs
	}
	for _, s := range steps() {
		if cs = least(cs, s.value); len(cs) < 2 {
			return cs
		}
	}
	cs = leastMED(cs)
	return least(cs, candidate.fromInside) // d
}

// step is one of the decision process: candidates with the smallest value stay.
type step struct {
	value func(candidate) uint32
	// why says to people why c is out and w is not.
	why func(c, w candidate) string
}

// steps are those before MEDs are compared.
func steps() [7]step {
	return [7]step{
		{func(c candidate) uint32 { return boolTo1(c.far) }, func(c, _ candidate) string {
			return fmt.Sprintf("its next hop %v cannot be reached", c.with.hop)
		}},
		{func(c candidate) uint32 { return boolTo1(c.from.is(lastResort)) }, func(candidate, candidate) string {
			return "its peer comes and goes, and is used only where there are no others"
		}},
		{func(c candidate) uint32 { return boolTo1(c.with.worn || c.aged) }, func(candidate, candidate) string { // RFC 9494 section 4.2
			return "it is kept although its router may be gone for good, and is used only where there are no others"
		}},
		{func(c candidate) uint32 { return ^c.with.localPref }, func(c, w candidate) string { // RFC 4271 section 9.1.1
			return fmt.Sprintf("local preference %d, and %s has %d", c.with.localPref, w.from, w.with.localPref)
		}},
		{func(c candidate) uint32 { return boolTo1(c.from != nil) }, func(candidate, candidate) string {
			return "this node announces the prefix itself"
		}},
		{func(c candidate) uint32 { return uint32(len(c.with.path)) }, func(c, w candidate) string { // a
			return fmt.Sprintf("AS path of %d, and %s has one of %d", len(c.with.path), w.from, len(w.with.path))
		}},
		{func(c candidate) uint32 { return uint32(c.with.origin) }, func(c, w candidate) string { // b
			return fmt.Sprintf("origin %s, and %s has %s", originName(c.with.origin), w.from, originName(w.with.origin))
		}},
	}
}

// fromInside is step d.
func (c candidate) fromInside() uint32 { return boolTo1(c.from != nil && c.from.internal) }

// lingering are those of the candidates that would be chosen if their neighbours did not ask for other ways (RFC 8326), beside those that are: flows
// that are under way there may stay for as long as the neighbours do.
func lingering(cs, chosen []candidate) []candidate {
	asks := func(c candidate) bool { return c.with != nil && c.with.leaving }
	if len(chosen) == 0 || asks(chosen[0]) || !slices.ContainsFunc(cs, asks) {
		return nil
	}
	cs = slices.Clone(cs)
	for i, c := range cs {
		if asks(c) {
			o := *c.with
			o.localPref = defaultLocalPref
			cs[i].with, cs[i].lingers = &o, true
		}
	}
	return slices.DeleteFunc(best(cs), func(c candidate) bool { return !c.lingers })
}

// least keeps the candidates with the smallest value.
func least(cs []candidate, value func(candidate) uint32) []candidate {
	out := cs[:0]
	var lowest uint32
	for _, c := range cs {
		v := value(c)
		if len(out) > 0 && v > lowest {
			continue
		}
		if v < lowest {
			out = out[:0]
		}
		lowest, out = v, append(out, c)
	}
	return out
}

// leastMED is step c: a MED is worth something among paths of the same neighbour AS only.
func leastMED(cs []candidate) []candidate {
	if !slices.ContainsFunc(cs, func(c candidate) bool { return c.with.med != cs[0].with.med }) {
		return cs
	}
	lowest := map[uint32]uint32{}
	for _, c := range cs {
		as := c.with.neighbourAS()
		if med, ok := lowest[as]; !ok || c.with.med < med {
			lowest[as] = c.with.med
		}
	}
	return slices.DeleteFunc(cs, func(c candidate) bool { return c.with.med > lowest[c.with.neighbourAS()] })
}

func boolTo1(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
