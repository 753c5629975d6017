package agent

import (
	stdcmp "cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/routes"
)

// hopsText is "10.0.1.0@2" or with a weight "10.0.1.0@2*3".
func hopsText(hops []routes.NextHop) string {
	var parts []string
	for _, h := range hops {
		text := fmt.Sprintf("%v@%d", h.Addr, h.Link)
		if h.OnLink {
			text += "!"
		}
		if h.Weight != 0 {
			text += fmt.Sprintf("*%d", h.Weight)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

// way reads "10.255.0.0/16 metric 7 10.0.1.0@2*3 …".
func way(t *testing.T, s string) routes.Way {
	t.Helper()
	f := strings.Fields(s)
	w := routes.Way{Dst: netip.MustParsePrefix(f[0])}
	for i, x := range f[1:] {
		if x == "metric" {
			if _, err := fmt.Sscan(f[i+2], &w.Metric); err != nil {
				t.Fatal(s, err)
			}
		}
		addr, link, ok := strings.Cut(x, "@")
		if !ok {
			continue
		}
		h := routes.NextHop{Weight: 1, OnLink: strings.HasSuffix(link, "!")}
		link = strings.TrimSuffix(link, "!")
		if addr != "" {
			h.Addr = netip.MustParseAddr(addr)
		}
		if _, err := fmt.Sscanf(strings.Replace(link, "*", " ", 1)+" 1", "%d %d", &h.Link, &h.Weight); err != nil {
			t.Fatal(s, err)
		}
		w.NextHops = append(w.NextHops, h)
	}
	return w
}

var resolverLinks = []routes.Link{
	{Index: 1, Name: "lo", Up: true, Loopback: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("10.255.2.1/32"), netip.MustParsePrefix("fd00:255:2::1/128")}},
	{Index: 2, Name: "eth1", Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.1.1/31"), netip.MustParsePrefix("fd00:1::1/127"), netip.MustParsePrefix("fe80::1/64")}},
	{Index: 3, Name: "eth2", Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.2.1/31"), netip.MustParsePrefix("169.254.7.2/30")}},
	{Index: 4, Name: "eth3", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.3.1/31")}},
	{Index: 5, Name: "pr0123456789ab", Up: true},
}

// TestResolve: next hops on links; through routes of others where the peer may; and what is said of those that cannot be reached.
func TestResolve(t *testing.T) {
	t.Parallel()
	const far, mend = "is on none of this node's links: let the peer set itself as next hop", ", or give this node a route to %s that is neither the default nor BGP's"
	ways := []string{
		"10.0.1.0/31 @2", "10.255.0.0/16 metric 5 10.0.1.0@2", "10.255.1.0/24 10.0.1.0@2 10.0.2.0@3", "10.255.2.0/24 10.0.1.0@2", "10.255.3.0/24 10.0.1.0@2*3 10.0.2.0@3",
		"10.255.4.0/24 metric 1 10.0.3.0@4", "10.255.4.0/24 metric 2 10.0.2.0@3", "10.255.5.0/24 10.0.3.0@4", "10.255.6.0/24 metric 1",
		"10.255.7.0/24 @3", "10.255.8.0/24 fe80::9@2", "10.255.9.0/24 10.0.2.0@3 10.0.3.0@4", "10.255.10.0/24 10.0.9.1@5", "10.255.11.0/24 10.0.2.0@3",
		"fd00:255::/32 fe80::9@2", "10.255.12.0/24 192.0.2.9@3!", "fe80::/64 @2", "10.0.0.0/16 10.0.1.0@2", "169.254.7.0/30 @3",
	}
	for _, c := range []struct{ name, vias, want, problem string }{
		{"on a link", "10.0.1.0", "10.0.1.0@2", ""},
		{"on two links", "10.0.1.0 10.0.2.0", "10.0.1.0@2 10.0.2.0@3", ""},
		{"on a link that is down", "10.0.3.0 10.0.1.0", "10.0.1.0@2", "next hop 10.0.3.0 of peer multihop: link eth3 is down"},
		{"link-local", "fe80::7%eth1", "fe80::7@2", ""},
		{"link-local, on no link that is known", "fe80::7", "", "next hop fe80::7 of peer multihop " + far},
		{"link-local, on a link that is gone", "fe80::7%eth9", "", "next hop fe80::7%eth9 of peer multihop " + far},
		{"link-local, on a link that is down", "fe80::7%eth3", "", "next hop fe80::7%eth3 of peer multihop: link eth3 is down"},
		{"of a neighbour on a link that is down", "near/10.0.3.0", "", "next hop 10.0.3.0 of peer near: link eth3 is down"},
		{"link-local of IPv4", "near/169.254.7.1 169.254.7.1", "169.254.7.1@3", ""},
		{"static", "10.255.200.1", "10.0.1.0@2", ""},
		{"two equal paths", "10.255.1.1", "10.0.1.0@2 10.0.2.0@3", ""},
		{"weights stay", "10.255.3.1", "10.0.1.0@2*3 10.0.2.0@3*1", ""},
		{"each next hop gets as much", "10.255.1.1 10.0.2.0", "10.0.1.0@2*1 10.0.2.0@3*1 10.0.2.0@3*2", ""},
		{"the longest route counts", "10.255.11.1", "10.0.2.0@3", ""},
		{"the lowest metric whose link is up", "10.255.4.1", "10.0.2.0@3", ""},
		{"one of two links is down", "10.255.9.1", "10.0.2.0@3", ""},
		{"a longer route down is not gone round", "10.255.5.1", "", "next hop 10.255.5.1 of peer multihop: link eth3 of this host's route to 10.255.5.0/24 is down"},
		{"nor one that is unreachable", "10.255.6.1", "", "next hop 10.255.6.1 of peer multihop: this host's route to 10.255.6.0/24 leads to no router"},
		{"nor one to pods", "10.255.10.1", "", "next hop 10.255.10.1 of peer multihop: this host's route to 10.255.10.0/24 leads to no router"},
		{"a route without a router", "10.255.7.9", "10.255.7.9@3", ""},
		{"a router of the other family", "10.255.8.1", "fe80::9@2", ""},
		{"a router that is on no subnet of its link", "10.255.12.1", "192.0.2.9@3!", ""},
		{"IPv6", "fd00:255:1::1", "fe80::9@2", ""},
		{"one of two", "10.255.200.1 192.0.2.1", "10.0.1.0@2", "next hop 192.0.2.1 of peer multihop " + far + fmt.Sprintf(mend, "192.0.2.1")},
		{"our own address", "10.255.2.1", "", "next hop 10.255.2.1 of peer multihop: it is an address of this node itself"},
		{"of a neighbour on a link", "near/10.255.200.1", "", "next hop 10.255.200.1 of peer near " + far},
		{"no route", "fd00:9::1", "", "next hop fd00:9::1 of peer multihop " + far + fmt.Sprintf(mend, "fd00:9::1")},
	} {
		in := Inputs{Links: resolverLinks}
		for _, w := range ways {
			in.Ways = append(in.Ways, way(t, w))
		}
		var vias []bgp.Via
		for _, v := range strings.Fields(c.vias) {
			peer, addr, ok := strings.Cut(v, "/")
			if !ok {
				peer, addr = "multihop", v
			}
			vias = append(vias, bgp.Via{Addr: netip.MustParseAddr(addr), Peer: peer})
		}
		res := newResolver(in, []bgp.Peer{{Name: "near"}, {Name: "multihop", Recursive: true}}).resolve(vias)
		if diff := cmp.Diff(c.want, hopsText(res.hops)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		problem := ""
		if res.err != nil {
			problem = res.err.Error()
		}
		if diff := cmp.Diff(c.problem, problem); diff != "" {
			t.Errorf("%s: problem (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestResolveLeaving: next hops that ask for other ways keep a share that is as small as can be, whatever the weights of the others.
func TestResolveLeaving(t *testing.T) {
	t.Parallel()
	in := Inputs{Links: resolverLinks, Ways: []routes.Way{way(t, "10.255.1.0/24 10.0.1.0@2*3 10.0.2.0@3"), way(t, "10.255.2.0/24 10.0.2.0@3")}}
	r := newResolver(in, []bgp.Peer{{Name: "multihop", Recursive: true}})
	res := r.resolve([]bgp.Via{
		{Addr: netip.MustParseAddr("10.255.1.1"), Peer: "multihop"},
		{Addr: netip.MustParseAddr("10.255.2.9"), Peer: "multihop", Leaving: true},
		{Addr: netip.MustParseAddr("192.0.2.1"), Peer: "multihop", Leaving: true},
	})
	if got, want := hopsText(res.lasting), "10.0.1.0@2*256 10.0.2.0@3*85 10.0.2.0@3*1"; got != want || res.err != nil {
		t.Errorf("%s (%v), want %s", got, res.err, want)
	}
}

// TestReachesFar: whose next hops may be on no link.
func TestReachesFar(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		peer bgp.Peer
		want bool
	}{
		{"on a link", bgp.Peer{AS: 65001}, false},
		{"on a link, whatever its AS", bgp.Peer{External: true}, false},
		{"multihop", bgp.Peer{AS: 65001, MultihopTTL: 2}, true},
		{"TTL security, one hop", bgp.Peer{AS: 65001, TTLSecurity: 1}, false},
		{"TTL security, several hops", bgp.Peer{AS: 65001, TTLSecurity: 3}, true},
		{"internal", bgp.Peer{AS: 64601}, true},
		{"internal by its own view of us", bgp.Peer{AS: 65001, LocalAS: 65001}, true},
		{"external by its own view of us", bgp.Peer{AS: 64601, LocalAS: 65001}, false},
	} {
		if got := reachesFar(c.peer, 64601); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

// TestReach: what the speaker is told of the ways: of each by itself, whatever begins at the same address.
func TestReach(t *testing.T) {
	t.Parallel()
	links := slices.Concat(resolverLinks[:2], resolverLinks[3:4], []routes.Link{
		{Index: 6, Name: "eth4", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.4.1/31"), netip.MustParsePrefix("fe80::4/64")}},
		{Index: 7, Name: "eth5", Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/31")}},
	})
	got := newWays(links, []routes.Way{
		way(t, "10.0.0.0/8"), way(t, "10.0.0.0/24 10.0.1.0@2"), way(t, "10.0.4.0/31 metric 9 10.0.1.0@2"),
		way(t, "10.255.0.0/16 10.0.1.0@2"), way(t, "10.255.1.0/24 metric 1 10.0.3.0@4"), way(t, "10.255.1.0/24 metric 2"),
		way(t, "172.16.0.0/12 10.0.1.0@2"), way(t, "172.16.0.0/24"), way(t, "192.168.0.0/16 10.0.1.0@2"),
		way(t, "fd00:255::/32 fe80::9@2"), way(t, "fe80::/64 @2"),
	}).reach()
	var text []string
	for _, w := range got {
		text = append(text, fmt.Sprintf("%v %t", w.Dst, w.Dead))
	}
	want := []string{
		"10.0.0.0/8 true", "10.0.0.0/24 false", "10.0.1.1/32 true", "10.0.3.0/31 true", "10.0.3.1/32 true", "10.0.4.0/31 false", "10.0.4.1/32 true",
		"10.255.0.0/16 false", "10.255.1.0/24 true", "10.255.2.1/32 true", "127.0.0.1/32 true", "172.16.0.0/12 false", "172.16.0.0/24 true",
		"192.168.0.0/16 false", "192.168.0.0/32 true", "fd00:1::1/128 true", "fd00:255::/32 false", "fd00:255:2::1/128 true",
	}
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestReachAndResolve: what the speaker takes for reached by what it is told is what the resolver finds, whatever links and
// ways there are: links that are down or share prefixes, ways inside one another, hosts' own addresses.
func TestReachAndResolve(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	some := func() netip.Prefix { // inside 10.0.0.0/27
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(32))}), 27+rnd.IntN(6))
	}
	for range 2000 {
		var in Inputs
		for i := range 3 {
			in.Links = append(in.Links, routes.Link{Index: i + 1, Name: fmt.Sprint("eth", i), Up: i == 0 || rnd.IntN(2) == 0, Prefixes: []netip.Prefix{some()}})
		}
		for range 4 {
			w := routes.Way{Dst: some().Masked(), Metric: rnd.Uint32N(2)}
			for range rnd.IntN(3) {
				w.NextHops = append(w.NextHops, routes.NextHop{Link: 1 + rnd.IntN(4)})
			}
			in.Ways = append(in.Ways, w)
		}
		slices.SortStableFunc(in.Ways, func(a, b routes.Way) int { return stdcmp.Or(a.Dst.Compare(b.Dst), stdcmp.Compare(a.Metric, b.Metric)) })
		d := draft{Inputs: in, uplinks: in.Links}
		told := bgp.Config{Links: d.linkPrefixes(), Ways: newWays(in.Links, in.Ways).reach()}
		r := newResolver(in, []bgp.Peer{{Name: "near"}, {Name: "far", Recursive: true}})
		for i := range 32 {
			for _, peer := range []string{"near", "far"} {
				via := bgp.Via{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Peer: peer}
				_, err := r.find(via)
				if want := reached(told, via.Addr, peer == "far"); want != (err == nil) {
					t.Fatalf("%+v\n%+v: %v of %s is reached for the speaker: %t, for the resolver: %v", in.Links, in.Ways, via.Addr, peer, want, err)
				}
			}
		}
	}
}

// reached is what a speaker has to make of what it is told.
func reached(c bgp.Config, hop netip.Addr, recursive bool) bool {
	if slices.ContainsFunc(c.Links, func(p netip.Prefix) bool { return p.Contains(hop) && p.Addr() != hop }) {
		return true
	}
	best := bgp.Way{Dead: true}
	for _, w := range c.Ways {
		if w.Dst.Contains(hop) && (!best.Dst.IsValid() || w.Dst.Bits() > best.Dst.Bits()) {
			best = w
		}
	}
	return recursive && !best.Dead
}
