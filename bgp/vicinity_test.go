package bgp

import (
	"net/netip"
	"slices"
	"testing"
)

// Of two paths the one is used whose next hop other routes of the host lead to, where the neighbour is one that may be far away; those
// routes come and go, also the longest.
func TestNextHopsBeyondLinks(t *testing.T) {
	t.Parallel()
	tab := newTable(make(chan struct{}, 1), newAgenda())
	near, far := addr("10.0.1.1"), addr("10.255.1.1")
	c := Config{AS: 65002, MaxPaths: 8, Import: []PrefixRange{within("10.128.0.0/9")}, Links: prefixList("10.0.1.11/24"), Peers: []Peer{
		{Name: "near", Address: near, AS: 1}, {Name: "far", Address: far, AS: 2, Recursive: true},
	}}
	check := func(step string, want ...string) {
		t.Helper()
		learnFrom(tab, c)
		got := map[netip.Prefix][]Via{}
		for r := range tab.routes.All() {
			got[r.prefix] = r.now.vias()
		}
		if text := viaText(got); !slices.Equal(text, want) {
			t.Errorf("%s: %q, want %q", step, text, want)
		}
	}
	learnFrom(tab, c)
	say(tab, near, near, prefixList("10.130.1.0/24")...)
	say(tab, far, far, prefixList("10.130.1.0/24", "10.130.2.0/24")...)
	check("no way", "10.130.1.0/24 via 10.0.1.1", "10.130.2.0/24 via 10.255.1.1")
	c.Ways = []Way{{Dst: pfx("10.255.0.0/16")}}
	check("a way", "10.130.1.0/24 via 10.0.1.1,10.255.1.1", "10.130.2.0/24 via 10.255.1.1")
	c.Ways = []Way{{Dst: pfx("10.255.0.0/16")}, {Dst: pfx("10.255.1.0/24"), Dead: true}}
	check("a longer one that is dead", "10.130.1.0/24 via 10.0.1.1", "10.130.2.0/24 via 10.255.1.1")
	c.Ways[1].Dead = false
	check("it lives", "10.130.1.0/24 via 10.0.1.1,10.255.1.1", "10.130.2.0/24 via 10.255.1.1")
	say(tab, near, addr("10.255.1.1"), prefixList("10.130.3.0/24")...)
	say(tab, far, far, prefixList("10.130.1.0/24", "10.130.3.0/24")...)
	check("a neighbour on a link names what is on none", "10.130.1.0/24 via 10.0.1.1,10.255.1.1", "10.130.2.0/24 via 10.255.1.1", "10.130.3.0/24 via 10.255.1.1")
	c.Peers[1].Recursive = false
	check("a neighbour that may not be far", "10.130.1.0/24 via 10.0.1.1", "10.130.2.0/24 via 10.255.1.1", "10.130.3.0/24 via 10.255.1.1")
}
