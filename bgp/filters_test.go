package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/podroute/podroute/internal/rawbgp"
)

func TestPatterns(t *testing.T) {
	t.Parallel()
	o := &offer{communities: []uint32{64512<<16 | 100, 0xffffff01}, large: [][3]uint32{{4200000000, 1, 2}}}
	for text, want := range map[string]bool{
		"64512:100": true, "64512:101": false, "64512:*": true, "*:100": true, "*:*": true, "64513:*": false, "no-export": true,
		"no-advertise": false, "4200000000:1:2": true, "4200000000:*:2": true, "4200000000:*:3": false, "*:*:*": true,
	} {
		p, err := parsePattern(text)
		if err != nil {
			t.Error(err)
		} else if got := o.carries(p); got != want {
			t.Errorf("%s is carried: %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"", "*", "64512", "70000:*", "1:2:3:*", "64512:1*", "**:1", "all"} {
		if p, err := parsePattern(text); err == nil {
			t.Errorf("%q is %v", text, p)
		}
	}
}

func TestPathMatches(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		m    PathMatch
		path []uint32
		want bool
	}{
		{PathMatch{}, nil, true},
		{PathMatch{Neighbor: 1}, nil, false},
		{PathMatch{Origin: 1}, nil, false},
		{PathMatch{Contains: 1}, nil, false},
		{PathMatch{MaxLength: 1}, nil, true},
		{PathMatch{Neighbor: 1, Origin: 3, Contains: 2, MaxLength: 3}, []uint32{1, 2, 3}, true},
		{PathMatch{Neighbor: 2}, []uint32{1, 2, 3}, false},
		{PathMatch{Origin: 2}, []uint32{1, 2, 3}, false},
		{PathMatch{Contains: 3}, []uint32{1, 2, 3}, true},
		{PathMatch{Contains: 4200000000}, []uint32{1, 4200000000}, true},
		{PathMatch{MaxLength: 3}, []uint32{1, 1, 1, 1}, false},
	} {
		if got := x.m.matches(x.path); got != x.want {
			t.Errorf("%v matches%v: %v, want %v", x.path, x.m, got, x.want)
		}
	}
}

// conditioned are filters by attributes, and which of the routes 1 to 4 of attributeRoutes they let through.
func conditioned() map[string]struct {
	f    Filter
	want []int
} {
	return map[string]struct {
		f    Filter
		want []int
	}{
		"none":                  {Filter{}, []int{1, 2, 3, 4}},
		"reject a community":    {Filter{Reject: []Match{{Communities: []string{"65010:1"}}}}, []int{3, 4}},
		"reject two":            {Filter{Reject: []Match{{Communities: []string{"65010:1", "65010:2"}}}}, []int{1, 3, 4}},
		"reject any of an AS":   {Filter{Reject: []Match{{Communities: []string{"65010:*"}}}}, []int{3, 4}},
		"reject a large one":    {Filter{Reject: []Match{{Communities: []string{"4200000000:*:3"}}}}, []int{1, 2, 4}},
		"reject an origin":      {Filter{Reject: []Match{{Path: PathMatch{Origin: 4200000001}}}}, []int{1, 2, 3}},
		"reject a neighbour":    {Filter{Reject: []Match{{Path: PathMatch{Contains: 65001, Origin: 65009}}}}, []int{1, 2, 4}},
		"reject a way through":  {Filter{Reject: []Match{{Path: PathMatch{Contains: 65005}}}}, []int{1, 2, 4}},
		"only short paths":      {Filter{Only: true, Accept: []Match{{Path: PathMatch{MaxLength: 2}}}}, []int{1, 2}},
		"only a community":      {Filter{Only: true, Accept: []Match{{Communities: []string{"65010:2"}}}}, []int{2}},
		"one or the other":      {Filter{Only: true, Accept: []Match{{Communities: []string{"65010:2"}}, {Path: PathMatch{Origin: 65009}}}}, []int{2, 3}},
		"both":                  {Filter{Only: true, Accept: []Match{{Communities: []string{"65010:2"}, Path: PathMatch{Origin: 65009}}}}, nil},
		"in a range":            {Filter{Only: true, Accept: []Match{{Prefixes: within("10.130.101.0/24"), Communities: []string{"65010:1"}}}}, []int{1}},
		"a family":              {Filter{Only: true, Accept: []Match{{Family: IPv4}}}, []int{1, 2, 3, 4}},
		"the other family":      {Filter{Only: true, Accept: []Match{{Family: IPv6}}}, nil},
		"nothing":               {Filter{Only: true}, nil},
		"reject wins over only": {Filter{Only: true, Accept: []Match{{Family: IPv4}}, Reject: []Match{{Communities: []string{"65010:2"}}}}, []int{1, 3, 4}},
	}
}

// attributeRoutes are routes 1 to 4, 10.130.101.0/24 to 10.130.104.0/24, as AS 65001 at 10.0.0.1 announces them.
func attributeRoutes() [][]byte {
	hop := addr("10.0.0.1")
	one := func(i int, as []uint32, more ...rawbgp.Attr) []byte {
		return rawbgp.Announce(as, hop, []netip.Prefix{attributeRoute(i)}, more...)
	}
	return [][]byte{
		one(1, []uint32{65001}, rawbgp.Communities(65010<<16|1)),
		one(2, []uint32{65001}, rawbgp.Communities(65010<<16|1, 65010<<16|2)),
		one(3, []uint32{65001, 65005, 65009}, rawbgp.LargeCommunity(4200000000, 2, 3)),
		one(4, []uint32{65001, 4200000000, 4200000001}),
	}
}

func attributeRoute(i int) netip.Prefix { return pfx(fmt.Sprintf("10.130.%d.0/24", 100+i)) }

// What was learned is judged by communities and AS paths under one session, and each time anew.
func TestImportByAttributes(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	p, c := speak(t, us, nil, passive())
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	r.send(attributeRoutes()...)
	r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("0.0.0.0/0", "10.0.0.0/24", "10.96.0.1/32", "10.130.2.0/24"), rawbgp.Communities(65010<<16|1)))
	for name, x := range conditioned() {
		c.Peers[0].Import = x.f
		p.set(c)
		t.Log(name)
		p.learns(routesVia(x.want)...)
	}
	// What no rule lets in, no condition does; a name does.
	c.Peers[0].Import = Filter{Accept: []Match{{Communities: []string{"65010:1"}}, {Family: IPv4}}}
	p.set(c)
	p.learns(routesVia([]int{1, 2, 3, 4})...)
	exact := PrefixRange{pfx("0.0.0.0/0"), 0, 0}
	c.Peers[0].Import = Filter{Accept: []Match{{Prefixes: exact, Communities: []string{"65010:2"}}}}
	p.set(c)
	p.learns(routesVia([]int{1, 2, 3, 4})...)
	c.Peers[0].Import = Filter{Accept: []Match{{Prefixes: exact, Communities: []string{"65010:1"}, Path: PathMatch{Neighbor: 65001}}}}
	p.set(c)
	p.learns(append([]string{"0.0.0.0/0 via 10.0.0.1"}, routesVia([]int{1, 2, 3, 4})...)...)
	if st := p.peer("tor"); st.Flaps != 0 {
		t.Errorf("the session was touched: %+v", st)
	}
}

func routesVia(want []int) []string {
	out := []string{}
	for _, i := range want {
		out = append(out, attributeRoute(i).String()+" via 10.0.0.1")
	}
	return out
}

// A router passes on what the filter of a neighbour lets through, and its own paths by what they are told with.
func TestExportByAttributes(t *testing.T) {
	t.Parallel()
	p, c, call := star(t, 2, func(c *Config) {
		c.Transit = true
		c.Paths = append(c.Paths, Path{Prefix: pfx("10.130.3.0/24"), Communities: []string{"65010:2", "4200000000:5:3"}, Prepend: 2})
	})
	from, to := call(0), call(1)
	from.send(attributeRoutes()...)
	for name, x := range map[string]struct {
		f     Filter
		want  []int
		owned []string
	}{
		"none":               {Filter{}, []int{1, 2, 3, 4}, []string{"10.130.2.0/24", "10.130.3.0/24", "fd10:2::/64"}},
		"reject a community": {Filter{Reject: []Match{{Communities: []string{"65010:2"}}}}, []int{1, 3, 4}, []string{"10.130.2.0/24", "fd10:2::/64"}},
		"reject a large one": {Filter{Reject: []Match{{Communities: []string{"4200000000:*:3"}}}}, []int{1, 2, 4}, []string{"10.130.2.0/24", "fd10:2::/64"}},
		"only a community":   {Filter{Accept: []Match{{Communities: []string{"65010:*"}}}}, []int{1, 2}, []string{"10.130.3.0/24"}},
		"only two":           {Filter{Accept: []Match{{Communities: []string{"65010:1", "65010:2"}}}}, []int{2}, nil},
		"only an origin":     {Filter{Accept: []Match{{Path: PathMatch{Neighbor: 65002, Origin: 65009}}}}, []int{3}, nil},
		"only our own":       {Filter{Accept: []Match{{Path: PathMatch{Origin: 65002}}}}, nil, []string{"10.130.2.0/24", "10.130.3.0/24", "fd10:2::/64"}},
		"only short paths":   {Filter{Accept: []Match{{Path: PathMatch{MaxLength: 2}}}}, []int{1, 2}, []string{"10.130.2.0/24", "fd10:2::/64"}},
		"reject a way":       {Filter{Reject: []Match{{Path: PathMatch{Contains: 4200000000}}}}, []int{1, 2, 3}, []string{"10.130.2.0/24", "10.130.3.0/24", "fd10:2::/64"}},
		"nothing":            {Filter{Only: true}, nil, nil},
	} {
		c.Peers[1].Export = x.f
		p.set(c)
		want := slices.Clone(x.owned)
		for _, i := range x.want {
			want = append(want, attributeRoute(i).String())
		}
		slices.Sort(want)
		to.isTold(name, want)
	}
	for _, name := range []string{c.Peers[0].Name, c.Peers[1].Name} {
		if st := p.peer(name); st.Flaps != 0 {
			t.Errorf("session %s was touched: %+v", name, st)
		}
	}
}
