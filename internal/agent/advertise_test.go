package agent

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/podroute/podroute/bgp"
)

// TestSupersede: what an Advertisement for some peers says takes nothing from the others.
func TestSupersede(t *testing.T) {
	t.Parallel()
	p, other := netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.0.1.0/24")
	rest := bgp.Path{Prefix: other}
	all, ab, b := bgp.Path{Prefix: p}, bgp.Path{Prefix: p, Peers: []string{"a", "b"}}, bgp.Path{Prefix: p, Peers: []string{"b"}}
	for name, c := range map[string]struct {
		before []bgp.Path
		peers  []string
		want   []bgp.Path
	}{
		"all by all":        {[]bgp.Path{rest, all}, nil, []bgp.Path{rest}},
		"all by some":       {[]bgp.Path{rest, all}, []string{"a"}, []bgp.Path{rest, all}},
		"some by all":       {[]bgp.Path{rest, all, ab}, nil, []bgp.Path{rest, ab}},
		"some by some":      {[]bgp.Path{all, ab}, []string{"a"}, []bgp.Path{all, b}},
		"some by these":     {[]bgp.Path{ab, rest}, []string{"b", "a"}, []bgp.Path{rest}},
		"some by others":    {[]bgp.Path{ab}, []string{"c"}, []bgp.Path{ab}},
		"another's prefix":  {[]bgp.Path{rest}, nil, []bgp.Path{rest}},
		"aggregate by all":  {[]bgp.Path{{Prefix: p, Peers: []string{"a"}, Aggregate: true}, rest}, nil, []bgp.Path{rest}},
		"nobody's prefix":   {nil, []string{"a"}, nil},
		"some, of two each": {[]bgp.Path{{Prefix: p, Peers: []string{"a"}}, b}, []string{"b"}, []bgp.Path{{Prefix: p, Peers: []string{"a"}}}},
	} {
		if diff := cmp.Diff(c.want, supersede(c.before, bgp.Path{Prefix: p, Peers: c.peers}), cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(bgp.Path{}, "NextHop")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
