package bgp

import (
	"cmp"
	"slices"
)

// candidate is what one neighbour says of a prefix.
type candidate struct {
	from     *neighbour // nil: the path is our own
	with     *offer
	id       uint32 // path identifier (RFC 7911)
	session  uint32 // of the neighbour, in which it came; an earlier one's is stale
	accepted bool   // by the import policy
	far      bool   // its next hop is on no link of ours
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
	for _, step := range []func(candidate) uint32{
		func(c candidate) uint32 { return boolTo1(c.far) },
		func(c candidate) uint32 { return boolTo1(c.from.is(lastResort)) },
		func(c candidate) uint32 { return boolTo1(c.with.worn || c.aged) }, // RFC 9494 section 4.2
		func(c candidate) uint32 { return ^c.with.localPref },              // RFC 4271 section 9.1.1
		func(c candidate) uint32 { return boolTo1(c.from != nil) },
		func(c candidate) uint32 { return uint32(len(c.with.path)) }, // a
		func(c candidate) uint32 { return uint32(c.with.origin) },    // b
	} {
		if cs = least(cs, step); len(cs) < 2 {
			return cs
		}
	}
	cs = leastMED(cs)
	return least(cs, func(c candidate) uint32 { return boolTo1(c.from != nil && c.from.internal) }) // d
}

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
