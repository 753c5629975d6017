package bgp

import (
	"fmt"
	"strings"
)

// String is the rule as one line of text, which tests compare and prints are made of.
func (r rule) String() string {
	var b strings.Builder
	b.WriteString([]string{"any", "own", "internal", "external"}[r.From])
	if r.Peers != nil {
		fmt.Fprintf(&b, " peers %v", r.Peers)
	}
	if r.Family != 0 {
		fmt.Fprintf(&b, " %v", r.Family)
	}
	b.WriteString(r.conditions())
	if r.Loops != nil {
		fmt.Fprintf(&b, " AS path %v", r.Loops)
	}
	if s := r.Set.String(); s != "" {
		b.WriteString(" set" + s)
	}
	b.WriteString(" " + []string{"pass", "accept", "reject"}[r.Verdict])
	return b.String()
}

// conditions are what a route must be like but for its family and its loops, each item after a space.
func (r rule) conditions() string {
	var b strings.Builder
	if len(r.Prefixes) > 0 {
		b.WriteString(" in")
		for _, p := range r.Prefixes {
			fmt.Fprintf(&b, " %v", p)
		}
	}
	for i, c := range r.Carrying {
		fmt.Fprintf(&b, " %s %v", []string{"carrying", "and"}[min(i, 1)], c)
	}
	if text := r.Path.String(); text != "" {
		b.WriteString(" path" + text)
	}
	return b.String()
}

// Texts are what a filter says for people, an item each.
func (f Filter) Texts() []string {
	var out []string
	for _, m := range f.Reject {
		out = append(out, "reject"+m.conditions())
	}
	for _, m := range f.Accept {
		out = append(out, "accept"+m.conditions())
	}
	if f.Only {
		out = append(out, "only")
	}
	return out
}

// conditions are what a route must be like, each item after a space; empty: like anything.
func (m Match) conditions() string {
	r := rule{Carrying: patterns(m.Communities), Path: m.Path}
	if m.Prefixes.Prefix.IsValid() {
		r.Prefixes = []PrefixRange{m.Prefixes}
	}
	if m.Family != 0 {
		return " " + m.Family.String() + r.conditions()
	}
	return r.conditions()
}

// String is "10.0.0.0/8{16,24}", or only the prefix where the range is just that.
func (r PrefixRange) String() string {
	if r.exact() {
		return r.Prefix.String()
	}
	return fmt.Sprintf("%v{%d,%d}", r.Prefix, r.Min, r.Max)
}

// String is what is changed, each item after a space; empty when nothing is.
func (a attributes) String() string {
	var b strings.Builder
	if a.NextHop.IsValid() {
		fmt.Fprintf(&b, " next-hop %v", a.NextHop)
	}
	if a.Self {
		b.WriteString(" next-hop self")
	}
	if a.Unchanged {
		b.WriteString(" next-hop unchanged")
	}
	for _, c := range a.Communities {
		b.WriteString(" community " + c)
	}
	for _, c := range a.Large {
		b.WriteString(" large " + c)
	}
	if a.LocalPref != nil {
		fmt.Fprintf(&b, " local-pref %d", *a.LocalPref)
	}
	if a.MED != nil {
		fmt.Fprintf(&b, " med %d", *a.MED)
	}
	if a.Prepend != 0 {
		fmt.Fprintf(&b, " prepend %d", a.Prepend)
	}
	return b.String()
}
