package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Filter accepts and rejects routes; Reject wins. On import, Accept adds to Config.Import; on export, an empty Accept
// means everything. With Only, what Accept names is all that is accepted, in either direction.
type Filter struct {
	Accept, Reject []Match
	Only           bool
}

// only says whether nothing is sent but what Accept names.
func (f Filter) only() bool { return f.Only || len(f.Accept) > 0 }

// check says what is wrong with a filter.
func (f Filter) check() error {
	for _, m := range slices.Concat(f.Accept, f.Reject) {
		for _, c := range m.Communities {
			if _, err := parsePattern(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// Match is a set of routes: those for which all conditions hold that are set.
type Match struct {
	// Prefixes that the route is one of; those of the zero Prefix are all.
	Prefixes PrefixRange
	// Family of the route; 0 means both.
	Family Family
	// Communities that it carries, all of them: "64512:100", "64512:1:2", a well-known name, or with * for any
	// number: "64512:*".
	Communities []string
	// Path is what its AS path is like.
	Path PathMatch
}

// PathMatch is what an AS path is like, as it is received or sent; zero: no matter what.
type PathMatch struct {
	Neighbor  uint32 // the AS that it begins with
	Origin    uint32 // the AS that it ends with
	Contains  uint32 // an AS that stands in it
	MaxLength int    // ASes that it has at most, each counted as often as it is there
}

// plain says whether a match is about prefixes alone: the rest changes on the way, and an own path has it from its
// Advertisement.
func (m Match) plain() bool { return len(m.Communities) == 0 && m.Path == PathMatch{} }

// holds says whether a route of ours matches.
func (m Match) holds(p netip.Prefix, o *offer) bool {
	return (m.Family == 0 || m.Family == familyOf(p.Addr())) && (!m.Prefixes.Prefix.IsValid() || m.Prefixes.contains(p)) &&
		o.fits(patterns(m.Communities), m.Path)
}

// matching adds rules like r for what matches. Those that differ in prefixes only become one for each family.
func matching(rules []rule, r rule, matches []Match) []rule {
	type group struct {
		r      rule
		ranges []PrefixRange
	}
	var groups []group
	index := map[string]int{}
	for _, m := range matches {
		next := group{r: r}
		next.r.Family, next.r.Carrying, next.r.Path = m.Family, patterns(m.Communities), m.Path
		if !m.Prefixes.Prefix.IsValid() {
			groups = append(groups, next)
			continue
		}
		key := next.r.String()
		i, ok := index[key]
		if !ok {
			i = len(groups)
			index[key], groups = i, append(groups, next)
		}
		groups[i].ranges = append(groups[i].ranges, m.Prefixes)
	}
	for _, g := range groups {
		if g.ranges == nil {
			rules = append(rules, g.r)
		} else {
			rules = ranged(rules, g.r, g.ranges)
		}
	}
	return rules
}

// pattern is a community, or a set of them: a number that is any stands for all. Of one that is not large the third
// number is 0.
type pattern struct {
	large bool
	parts [3]uint32
	any   [3]bool
}

// parsePattern reads what a Match may say of communities.
func parsePattern(s string) (pattern, error) {
	wild := strings.Split(s, ":")
	for i, part := range wild {
		if part == "*" {
			wild[i] = "0"
		}
	}
	text, large, err := parseCommunity(strings.Join(wild, ":"))
	if err != nil {
		return pattern{}, fmt.Errorf("%q: %w", s, err)
	}
	if !strings.Contains(s, "*") {
		s = text // of a name
	}
	p := pattern{large: large}
	for i, part := range strings.Split(s, ":") {
		if p.any[i] = part == "*"; !p.any[i] {
			n, _ := strconv.ParseUint(part, 10, 32) // was read before
			p.parts[i] = uint32(n)
		}
	}
	return p, nil
}

// patterns reads communities that were checked.
func patterns(communities []string) []pattern {
	var out []pattern
	for _, c := range communities {
		if p, err := parsePattern(c); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// String is the pattern as it is written.
func (p pattern) String() string { return p.join("*") }

// expression is the pattern as gobgp wants it.
func (p pattern) expression() string { return "^" + p.join("[0-9]+") + "$" }

func (p pattern) join(any string) string {
	n := 2
	if p.large {
		n = 3
	}
	var text []string
	for i := range n {
		if p.any[i] {
			text = append(text, any)
		} else {
			text = append(text, fmt.Sprint(p.parts[i]))
		}
	}
	return strings.Join(text, ":")
}

func (p pattern) matches(parts [3]uint32) bool {
	for i := range parts {
		if !p.any[i] && p.parts[i] != parts[i] {
			return false
		}
	}
	return true
}

// fits says whether an offer carries these communities and has such an AS path.
func (o *offer) fits(carrying []pattern, path PathMatch) bool {
	return path.matches(o.path) && !slices.ContainsFunc(carrying, func(p pattern) bool { return !o.carries(p) })
}

func (o *offer) carries(p pattern) bool {
	if p.large {
		return slices.ContainsFunc(o.large, p.matches)
	}
	return slices.ContainsFunc(o.communities, func(c uint32) bool { return p.matches([3]uint32{c >> 16, c & 0xffff}) })
}

func (m PathMatch) matches(path []uint32) bool {
	n := len(path)
	switch {
	case m.MaxLength > 0 && n > m.MaxLength,
		m.Neighbor != 0 && (n == 0 || path[0] != m.Neighbor),
		m.Origin != 0 && (n == 0 || path[n-1] != m.Origin),
		m.Contains != 0 && !slices.Contains(path, m.Contains):
		return false
	}
	return true
}

// expressions are the conditions but for the length as gobgp wants them: all of them hold.
func (m PathMatch) expressions() []string {
	var out []string
	if m.Neighbor != 0 {
		out = append(out, fmt.Sprintf("^%d_", m.Neighbor))
	}
	if m.Origin != 0 {
		out = append(out, fmt.Sprintf("_%d$", m.Origin))
	}
	if m.Contains != 0 {
		out = append(out, fmt.Sprintf("_%d_", m.Contains))
	}
	return out
}

// String is what is wanted of a path, each item after a space.
func (m PathMatch) String() string {
	var b strings.Builder
	for _, x := range []struct {
		name  string
		value uint32
	}{{"from", m.Neighbor}, {"origin", m.Origin}, {"through", m.Contains}, {"length", uint32(m.MaxLength)}} {
		if x.value != 0 {
			fmt.Fprintf(&b, " %s %d", x.name, x.value)
		}
	}
	return b.String()
}
