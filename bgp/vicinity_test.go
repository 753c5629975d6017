package bgp

import "testing"

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
		chooses(t, tab, step, want...)
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

// Routes of the host that no next hop is looked up in change without a walk through all that is learned; those that are, not.
func TestWaysNobodyUses(t *testing.T) {
	t.Parallel()
	tab := newTable(make(chan struct{}, 1), newAgenda())
	far := addr("10.255.1.1")
	c := Config{AS: 65002, MaxPaths: 8, Import: []PrefixRange{within("10.128.0.0/9")}, Links: prefixList("10.0.1.11/24"), Peers: []Peer{
		{Name: "far", Address: far, AS: 2, Recursive: true},
	}}
	learnFrom(tab, c)
	say(tab, far, far, prefixList("10.130.1.0/24")...)
	path := &tab.routes.Get(pfx("10.130.1.0/24")).paths[0]
	for _, step := range []struct {
		ways []Way
		far  bool
		walk bool
	}{
		{[]Way{{Dst: pfx("10.7.0.0/16")}}, true, false},
		{[]Way{{Dst: pfx("10.7.0.0/16")}, {Dst: pfx("10.255.0.0/16")}}, false, true},
		{[]Way{{Dst: pfx("10.7.0.0/16"), Dead: true}, {Dst: pfx("10.255.0.0/16")}}, false, false},
		{[]Way{{Dst: pfx("10.255.0.0/16")}, {Dst: pfx("10.255.1.0/24")}}, false, false},
		{[]Way{{Dst: pfx("10.255.0.0/16")}, {Dst: pfx("10.255.1.0/24"), Dead: true}}, true, true},
		{nil, true, false},
	} {
		path.far = !step.far // a walk mends it
		c.Ways = step.ways
		learnFrom(tab, c)
		if walked := path.far == step.far; walked != step.walk {
			t.Errorf("%v: walked %t, far %t", step.ways, walked, path.far)
		}
		path.far = step.far
	}
}

// A link-local next hop is on the link to the neighbour that names it (RFC 2545 section 3), and nowhere if that is on none.
func TestLinkLocalNextHops(t *testing.T) {
	t.Parallel()
	tab := newTable(make(chan struct{}, 1), newAgenda())
	c := Config{AS: 65002, Links: prefixList("fd00::11/64", "fe80::11/64", "169.254.7.2/30"), Ways: []Way{{Dst: pfx("fe80::/64")}}}
	learnFrom(tab, c)
	n := &neighbour{recursive: true}
	for hop, want := range map[string]bool{"fe80::1%eth1": false, "fe80::1": true, "169.254.7.1": false, "169.254.8.1": true} {
		if got := tab.far(n, addr(hop)); got != want {
			t.Errorf("%s is far: %t", hop, got)
		}
	}
}
