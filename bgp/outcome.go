package bgp

import (
	"fmt"
	"net/netip"
	"slices"
)

// outcome is what the decision process has made of a route's paths. It is the table's, and valid under its mutex until the next.
type outcome struct {
	route             *route
	chosen, lingering []candidate
	max               int
}

func (t *table) outcomeOf(r *route) outcome {
	t.field = best(append(t.field[:0], r.paths...))
	return outcome{route: r, chosen: t.field, lingering: lingering(r.paths, t.field), max: t.max}
}

// of is what has become of one of the paths, and why.
func (o outcome) of(c candidate) (PathState, string) {
	same := func(x candidate) bool { return x.from == c.from && x.id == c.id }
	switch {
	case !c.accepted:
		return PathRejected, c.from.refusal(o.route.prefix, c.with)
	case c.from.is(shelved):
		return PathHeld, "its peer comes and goes, and has to prove itself"
	case slices.ContainsFunc(o.lingering, same):
		return PathLingering, "its peer asks for other ways (GRACEFUL_SHUTDOWN): only flows that are under way stay"
	case !slices.ContainsFunc(o.chosen, same):
		return o.beaten(c)
	case !slices.ContainsFunc(o.route.now.vias(), func(v Via) bool { return v.Addr == c.with.hop }):
		return PathBeaten, fmt.Sprintf("more paths are as good than the %d of maxPaths", o.max)
	}
	return PathBest, ""
}

// beaten is which step of the decision process another path was better in.
func (o outcome) beaten(c candidate) (PathState, string) {
	w := o.chosen[0] // c is accepted, and so there is one
	for _, s := range steps() {
		if s.value(c) <= s.value(w) {
			continue
		}
		if c.from.is(lastResort) && !w.from.is(lastResort) && c.far == w.far {
			return PathHeld, s.why(c, w)
		}
		return PathBeaten, s.why(c, w)
	}
	for _, x := range o.route.paths {
		if x.from != nil && x.with.neighbourAS() == c.with.neighbourAS() && x.with.med < c.with.med && x.rivals(w) {
			return PathBeaten, fmt.Sprintf("MED %d, and %s has %d", c.with.med, x.from.name, x.with.med)
		}
	}
	return PathBeaten, fmt.Sprintf("told over iBGP, and by %s over eBGP", w.from.name)
}

// rivals says whether a candidate was as good as w until MEDs were compared.
func (c candidate) rivals(w candidate) bool {
	if !c.accepted || c.from.is(shelved) {
		return false
	}
	for _, s := range steps() {
		if s.value(c) != s.value(w) {
			return false
		}
	}
	return true
}

// refusal is why the import policy rejects a route.
func (n *neighbour) refusal(p netip.Prefix, o *offer) string {
	if n.reflected(o) {
		return whyOurs
	}
	r := n.ruleFor(p, o)
	switch {
	case r == nil:
		return whyNot
	case r.Loops != nil:
		return o.round(r.Loops)
	}
	return r.Why + r.about(p)
}

// round says which AS stands in the path too often.
func (o *offer) round(loops []loop) string {
	for _, l := range loops {
		switch n := o.times(l.as); {
		case l.as != 0 && n > l.most:
			return fmt.Sprintf("AS loop: our AS %d stands in its path %d times, and allowOwnAS allows %d", l.as, n, l.most)
		case l.as == 0 && (n > 0 || o.unordered):
			return "its AS path has an AS_SET (RFC 9774) or AS 0 (RFC 7607)"
		}
	}
	return "" // who asks knows that there is one
}

// about is the condition of a rule that holds for p, after a colon; empty: there is none.
func (r *rule) about(p netip.Prefix) string {
	only := rule{Carrying: r.Carrying, Path: r.Path}
	if r.index[p] {
		only.Prefixes = []PrefixRange{{Prefix: p, Min: p.Bits(), Max: p.Bits()}}
	}
	for _, x := range r.Prefixes {
		if only.Prefixes == nil && x.contains(p) {
			only.Prefixes = []PrefixRange{x}
		}
	}
	if text := only.conditions(); text != "" {
		return ":" + text
	}
	return ""
}
