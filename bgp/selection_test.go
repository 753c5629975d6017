package bgp

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// RFC 4271 section 9.1.2.2, step by step: what wins by one step loses by the steps after it.
func TestBestPaths(t *testing.T) {
	t.Parallel()
	external, other := &neighbour{name: "a"}, &neighbour{name: "b"}
	internal := &neighbour{name: "i", internal: true}
	via := func(n *neighbour, change func(*offer)) candidate {
		o := ourOffer()
		o.path = []uint32{65001, 65000}
		if change != nil {
			change(o)
		}
		return candidate{from: n, with: o, accepted: true}
	}
	path := func(as ...uint32) func(*offer) { return func(o *offer) { o.path = as } }
	med := func(med uint32, as ...uint32) func(*offer) {
		return func(o *offer) { o.med, o.path = med, as }
	}
	for name, x := range map[string]struct {
		candidates []candidate
		want       string // indices
	}{
		"none":      {nil, ""},
		"one":       {[]candidate{via(external, nil)}, "0"},
		"equal":     {[]candidate{via(external, nil), via(other, nil)}, "0 1"},
		"different": {[]candidate{via(external, path(1, 2)), via(other, path(3, 4))}, "0 1"},
		"rejected":  {[]candidate{{from: external, with: ourOffer()}, via(other, nil)}, "1"},
		"a next hop out of reach": {[]candidate{
			func() candidate { c := via(external, path(1)); c.far = true; return c }(), via(other, nil), via(internal, nil),
		}, "1"},
		"all next hops out of reach": {[]candidate{
			func() candidate { c := via(external, path(1)); c.far = true; return c }(),
			func() candidate { c := via(other, nil); c.far = true; return c }(),
		}, "0"},
		"LLGR_STALE before all": {[]candidate{
			via(internal, func(o *offer) { o.worn, o.localPref = true, 900 }), via(other, nil),
		}, "1"},
		"LOCAL_PREF before our own": {[]candidate{
			{with: ourOffer(), accepted: true}, via(internal, func(o *offer) { o.localPref = 101 }),
		}, "1"},
		"our own before the AS path": {[]candidate{{with: ourOffer(), accepted: true}, via(internal, path())}, "0"},
		"AS path before origin":      {[]candidate{via(external, path(1)), via(other, path(1, 2)), via(internal, path(1, 2))}, "0"},
		"AS path, worse origin": {[]candidate{
			via(external, func(o *offer) { o.path, o.origin = []uint32{1}, 2 }), via(other, path(1, 2)),
		}, "0"},
		"origin before MED": {[]candidate{
			via(external, func(o *offer) { o.med = 9 }), via(other, func(o *offer) { o.origin = 1 }),
		}, "0"},
		"MED of one AS before external": {[]candidate{via(external, med(10, 1, 2)), via(internal, med(9, 1, 3))}, "1"},
		"MED of different ASes":         {[]candidate{via(external, med(10, 1, 2)), via(other, med(9, 3, 2))}, "0 1"},
		"MED in groups": {[]candidate{
			via(external, med(10, 1, 2)), via(other, med(20, 3, 2)), via(other, med(5, 3, 4)), via(other, med(11, 1, 7)),
		}, "0 2"},
		"MED within the AS":        {[]candidate{via(internal, med(2)), via(internal, med(1))}, "1"},
		"no MED is the best":       {[]candidate{via(external, med(1, 1)), via(other, med(0, 1))}, "1"},
		"external before internal": {[]candidate{via(internal, nil), via(external, nil)}, "1"},
		"stale is no worse":        {[]candidate{via(external, nil), func() candidate { c := via(other, nil); c.session = 1; return c }()}, "0 1"},
	} {
		// Whatever the order in which they came.
		for turn := range max(1, len(x.candidates)) {
			in := append(slices.Clone(x.candidates[turn:]), x.candidates[:turn]...)
			var got []string
			for _, c := range best(slices.Clone(in)) {
				i := slices.IndexFunc(x.candidates, func(y candidate) bool { return y.with == c.with })
				got = append(got, fmt.Sprint(i))
			}
			slices.Sort(got)
			if s := strings.Join(got, " "); s != x.want {
				t.Errorf("%s, turned by %d: %q, want %q", name, turn, s, x.want)
			}
		}
	}
}

// A change of filters judges anew what neighbours said before, and only where it concerns them.
func TestFiltersJudgeAnew(t *testing.T) {
	t.Parallel()
	tab := newTable(make(chan struct{}, 1), newAgenda())
	a, b := addr("10.0.0.1"), addr("10.0.0.2")
	c := Config{AS: 65002, MaxPaths: 8, Import: []PrefixRange{within("10.128.0.0/9")}, Peers: []Peer{
		{Name: "a", Address: a, AS: 1}, {Name: "b", Address: b, AS: 2},
	}}
	learnFrom(tab, c)
	say(tab, a, a, prefixList("10.130.1.0/24", "10.130.2.0/24", "192.168.0.0/16")...)
	say(tab, b, b, prefixList("10.130.1.0/24")...)
	check := func(step string, accepted int, want ...string) {
		t.Helper()
		got := map[netip.Prefix][]Via{}
		for r := range tab.routes.All() {
			if via := r.now.vias(); via != nil {
				got[r.prefix] = via
			}
		}
		if text := viaText(got); !slices.Equal(text, want) {
			t.Errorf("%s: %q, want %q", step, text, want)
		}
		if r, acc := tab.counts(a); r[IPv4] != 3 || acc[IPv4] != accepted {
			t.Errorf("%s: %d received, %d accepted, want 3 and %d", step, r[IPv4], acc[IPv4], accepted)
		}
	}
	check("at first", 2, "10.130.1.0/24 via 10.0.0.1,10.0.0.2", "10.130.2.0/24 via 10.0.0.1")
	c.Peers[0].Import.Reject = among(within("10.130.1.0/24"))
	learnFrom(tab, c)
	check("reject", 1, "10.130.1.0/24 via 10.0.0.2", "10.130.2.0/24 via 10.0.0.1")
	c.Peers[0].Import = Filter{Accept: among(within("192.168.0.0/16"))}
	learnFrom(tab, c)
	check("accept", 3, "10.130.1.0/24 via 10.0.0.1,10.0.0.2", "10.130.2.0/24 via 10.0.0.1", "192.168.0.0/16 via 10.0.0.1")
	c.Never = []PrefixRange{within("10.130.0.0/16")}
	for i := range 20 { // many single prefixes are looked up another way
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(i), 0}), 24)
		c.Never = append(c.Never, exactly([]netip.Prefix{p})...)
	}
	say(tab, a, netip.Addr{}, pfx("10.130.2.0/24"))
	say(tab, a, a, pfx("192.168.7.0/24"))
	learnFrom(tab, c)
	check("never", 1, "192.168.0.0/16 via 10.0.0.1")
	c.Peers[0].Only = prefixList("192.168.7.0/24", "10.130.1.0/24")
	c.Never = nil
	learnFrom(tab, c)
	check("only", 2, "10.130.1.0/24 via 10.0.0.1,10.0.0.2", "192.168.7.0/24 via 10.0.0.1")
	// A neighbour that is not configured any more takes everything with it.
	c.Peers = c.Peers[:1]
	learnFrom(tab, c)
	check("without b", 2, "10.130.1.0/24 via 10.0.0.1", "192.168.7.0/24 via 10.0.0.1")
}

// A path that wins, but leads where no link of ours does, keeps no other from being used; links come and go.
func TestNextHopsInReach(t *testing.T) {
	t.Parallel()
	tab := newTable(make(chan struct{}, 1), newAgenda())
	near, far := addr("10.0.1.1"), addr("10.0.11.0")
	c := Config{AS: 65002, MaxPaths: 8, Import: []PrefixRange{within("10.128.0.0/9")}, Peers: []Peer{
		{Name: "near", Address: near, AS: 1}, {Name: "far", Address: far, AS: 2},
	}}
	check := func(step string, want ...string) {
		t.Helper()
		learnFrom(tab, c)
		chooses(t, tab, step, want...)
	}
	learnFrom(tab, c)
	say(tab, near, near, prefixList("10.130.1.0/24")...)
	say(tab, far, far, prefixList("10.130.1.0/24", "10.130.2.0/24")...)
	check("links not known", "10.130.1.0/24 via 10.0.1.1,10.0.11.0", "10.130.2.0/24 via 10.0.11.0")
	c.Links = prefixList("10.0.1.11/24", "fd00::11/64")
	check("one link", "10.130.1.0/24 via 10.0.1.1", "10.130.2.0/24 via 10.0.11.0")
	say(tab, near, addr("10.0.1.11"), prefixList("10.130.1.0/24")...)
	check("our own address", "10.130.1.0/24 via 10.0.1.11,10.0.11.0", "10.130.2.0/24 via 10.0.11.0")
	c.Links = prefixList("10.0.1.11/24", "10.0.11.1/31")
	check("another link", "10.130.1.0/24 via 10.0.11.0", "10.130.2.0/24 via 10.0.11.0")
}

// What a neighbour said before its restart stays until it has said all again.
func TestStaleRoutesInTheTable(t *testing.T) {
	t.Parallel()
	tab := newTable(make(chan struct{}, 1), newAgenda())
	a := addr("10.0.0.1")
	learnFrom(tab, Config{AS: 65002, MaxPaths: 8, Import: []PrefixRange{within("0.0.0.0/0"), within("::/0")}, Peers: []Peer{{Name: "a", Address: a, AS: 1}}})
	check := func(step string, want ...string) {
		t.Helper()
		_, _ = tab.drain() // routes of which nothing is left go when that was told
		got := []string{}
		for r := range tab.routes.All() {
			got = append(got, r.prefix.String())
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", step, got, want)
		}
	}
	say(tab, a, a, prefixList("10.1.0.0/16", "10.2.0.0/16", "fd00:1::/64")...)
	hears(tab, a, saysDown)
	tab.ended(a, map[Family]bool{IPv4: true})
	check("a family that is not kept goes", "10.1.0.0/16", "10.2.0.0/16")
	say(tab, a, a, pfx("10.9.0.0/16"))
	check("what comes after the end is late", "10.1.0.0/16", "10.2.0.0/16")
	hears(tab, a, saysUp)
	say(tab, a, a, prefixList("10.1.0.0/16", "10.3.0.0/16")...)
	check("before End-of-RIB", "10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16")
	tab.ended(a, nil) // the end of the first session is told late
	check("a late end spares the new session", "10.1.0.0/16", "10.3.0.0/16")
	say(tab, a, a, pfx("10.2.0.0/16"))
	hears(tab, a, saysDown)
	tab.ended(a, map[Family]bool{IPv4: true})
	hears(tab, a, saysUp)
	say(tab, a, a, pfx("10.3.0.0/16"))
	tab.confirmed(a)
	check("End-of-RIB", "10.3.0.0/16")
	tab.silence(a)
	say(tab, a, a, pfx("10.4.0.0/16"))
	check("silence")
}

// A malformed UPDATE takes back what it announces; the one after it counts again.
func TestTreatedAsWithdraw(t *testing.T) {
	t.Parallel()
	tab := newTable(make(chan struct{}, 1), newAgenda())
	a := addr("10.0.0.1")
	learnFrom(tab, Config{AS: 65002, MaxPaths: 1, Import: []PrefixRange{within("10.0.0.0/8")}, Peers: []Peer{{Name: "a", Address: a, AS: 1}}})
	say(tab, a, a, prefixList("10.1.0.0/16", "10.2.0.0/16")...)
	hears(tab, a, saysMalformed)
	say(tab, a, a, pfx("10.1.0.0/16"))
	if tab.routes.Get(pfx("10.1.0.0/16")).now != nil || tab.routes.Get(pfx("10.2.0.0/16")).now == nil {
		t.Error("the malformed UPDATE withdrew the wrong prefix, or none")
	}
	say(tab, a, a, pfx("10.1.0.0/16"))
	if tab.routes.Get(pfx("10.1.0.0/16")).now == nil {
		t.Error("the UPDATE after the malformed one was taken for a withdrawal")
	}
}

// LOCAL_PREF is heard from internal neighbours only, and a route of ours that a reflector sends back from none.
func TestReadingAttributes(t *testing.T) {
	t.Parallel()
	attrs := []gobgp.PathAttributeInterface{gobgp.NewPathAttributeLocalPref(300), &gobgp.PathAttributeOriginatorId{Value: addr("1.1.1.1")}}
	us := addr("1.1.1.1")
	rules := []rule{{Verdict: accept}}
	mine := rulesFor(quick(rules), us)
	in, ext := &neighbour{internal: true, us: us, rules: mine}, &neighbour{us: us, rules: mine}
	if o := in.read(attrs); o.localPref != 300 || in.accepts(pfx("10.0.0.0/8"), o) {
		t.Errorf("from an internal neighbour: %+v", o)
	}
	if o := ext.read(attrs); o.localPref != defaultLocalPref || !ext.accepts(pfx("10.0.0.0/8"), o) {
		t.Errorf("from an external neighbour: %+v", o)
	}
	set := &gobgp.PathAttributeAsPath{Value: []gobgp.AsPathParamInterface{
		gobgp.NewAs4PathParam(gobgp.BGP_ASPATH_ATTR_TYPE_SEQ, []uint32{1, 7, 7}), gobgp.NewAs4PathParam(gobgp.BGP_ASPATH_ATTR_TYPE_SET, []uint32{9}),
	}}
	o := ext.read([]gobgp.PathAttributeInterface{set})
	for l, want := range map[loop]bool{{0, 0}: true, {7, 0}: true, {7, 1}: true, {7, 2}: false, {8, 0}: false, {9, 0}: true} {
		if o.goesRound([]loop{l}) != want {
			t.Errorf("%+v: want %v in %+v", l, want, o)
		}
	}
	if o.unordered = false; o.goesRound([]loop{{}}) {
		t.Error("AS 0 in a path of sequences without it")
	}
}

func TestOtherLogMessagesAreNotOurs(t *testing.T) {
	t.Parallel()
	tab := newTable(make(chan struct{}, 1), newAgenda())
	if tab.hear(voice{peer: addr("10.0.0.1")}, slog.Record{Message: "sent notification"}) {
		t.Error("a message of another kind was kept from the sessions")
	}
}

// TestLingering: who asks for other ways is left beside those who do not, if it would be chosen otherwise, and where there are others.
func TestLingering(t *testing.T) {
	t.Parallel()
	a, b, i := &neighbour{name: "a"}, &neighbour{name: "b"}, &neighbour{name: "i", internal: true}
	path := func(n *neighbour, leaving bool, length int) candidate {
		o := ourOffer()
		o.path = make([]uint32, length)
		if o.leaving = leaving; leaving {
			o.localPref = 0
		}
		return candidate{from: n, with: o, accepted: true}
	}
	for name, x := range map[string]struct {
		candidates []candidate
		best, want string // names
	}{
		"nobody leaves":          {[]candidate{path(a, false, 1), path(b, false, 1)}, "a b", ""},
		"one of two":             {[]candidate{path(a, true, 1), path(b, false, 1)}, "b", "a"},
		"it was the better one":  {[]candidate{path(a, true, 1), path(b, false, 2)}, "b", "a"},
		"it was no good anyway":  {[]candidate{path(a, true, 2), path(b, false, 1)}, "b", ""},
		"all":                    {[]candidate{path(a, true, 1), path(b, true, 1)}, "a b", ""},
		"one that is not taken":  {[]candidate{func() candidate { c := path(a, true, 1); c.accepted = false; return c }(), path(b, false, 1)}, "b", ""},
		"beside an internal one": {[]candidate{path(a, true, 1), path(i, false, 1)}, "i", "a"},
		"beside our own":         {[]candidate{{with: ourOffer(), accepted: true}, path(a, true, 0)}, "own", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			names := func(cs []candidate) string {
				var all []string
				for _, c := range cs {
					if c.from == nil {
						all = append(all, "own")
					} else {
						all = append(all, c.from.name)
					}
				}
				return strings.Join(all, " ")
			}
			chosen := best(slices.Clone(x.candidates))
			if got := names(chosen); got != x.best {
				t.Errorf("chosen: %q, want %q", got, x.best)
			}
			left := lingering(x.candidates, chosen)
			if got := names(left); got != x.want {
				t.Errorf("lingering: %q, want %q", got, x.want)
			}
			for _, c := range left {
				if !c.member().lingers {
					t.Errorf("%s does not say so", c.from.name)
				}
			}
		})
	}
}
