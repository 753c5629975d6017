package bgp

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// announce has a neighbour announce a prefix with an AS path, or without one withdraw it.
func announce(t *testing.T, tab *table, peer netip.Addr, prefix string, path ...uint32) {
	t.Helper()
	nlri, err := gobgp.NewIPAddrPrefix(pfx(prefix))
	if err != nil {
		t.Fatal(err)
	}
	list := []gobgp.PathNLRI{{NLRI: nlri}}
	if path == nil {
		hears(tab, peer, saysUpdate, slog.Any("withdrawals", list))
		return
	}
	hop, err := gobgp.NewPathAttributeNextHop(peer)
	if err != nil {
		t.Fatal(err)
	}
	hears(tab, peer, saysUpdate, slog.Any("nlri", list), slog.Any("attributes", []gobgp.PathAttributeInterface{
		hop, gobgp.NewPathAttributeAsPath([]gobgp.AsPathParamInterface{gobgp.NewAs4PathParam(gobgp.BGP_ASPATH_ATTR_TYPE_SEQ, path)}),
	}))
}

// TestLoopsAreTold: of what is dropped as a loop, only what nobody else has told and would be accepted else is missed; whatever
// else is accepted.
func TestLoopsAreTold(t *testing.T) {
	t.Parallel()
	tab := newTable(make(chan struct{}, 1), newAgenda())
	a, b := addr("10.0.0.1"), addr("10.0.0.2")
	c := Config{
		AS: 64601, MaxPaths: 8, Import: []PrefixRange{within("10.128.0.0/9")}, NeverEver: []netip.Prefix{pfx("10.129.0.0/16")},
		Peers: []Peer{{Name: "a", Address: a, AS: 1}, {Name: "b", Address: b, AS: 2, LocalAS: 64700}},
		Paths: []Path{{Prefix: pfx("10.140.0.0/24")}},
	}
	learnFrom(tab, c)
	want := func(when string, peer netip.Addr, n int) {
		t.Helper()
		got, text := tab.missed(peer)
		if got != n || (text != "") != (n > 0) {
			t.Errorf("%s: %d of %v, %q, want %d", when, got, peer, text, n)
		}
		if n > 0 && (!strings.Contains(text, "64601") || !strings.Contains(text, "allowOwnAS")) {
			t.Errorf("%s: %q", when, text)
		}
	}
	announce(t, tab, a, "10.130.1.0/24", 1, 3)
	want("a route without us", a, 0)
	announce(t, tab, a, "10.130.2.0/24", 1, 64601)
	announce(t, tab, a, "10.130.3.0/24", 1, 64601)
	want("two of other nodes of our AS", a, 2)
	announce(t, tab, a, "10.129.1.0/24", 1, 64601)
	announce(t, tab, a, "10.140.0.0/24", 1, 64601)
	announce(t, tab, a, "192.0.2.0/24", 1, 64601)
	want("our own, and what is not accepted anyhow", a, 2)
	announce(t, tab, b, "10.130.2.0/24", 2, 5)
	want("one is told by another", a, 1)
	announce(t, tab, b, "10.130.2.0/24")
	want("and no more", a, 2)
	announce(t, tab, b, "10.131.0.0/24", 2, 64700)
	want("the number that only the other knows", b, 1)
	announce(t, tab, a, "10.130.3.0/24")
	announce(t, tab, a, "10.130.2.0/24", 1, 7)
	want("one withdrawn, one by another way", a, 0)
	announce(t, tab, a, "10.130.2.0/24", 1, 64601)
	c.Peers[0].AllowOwnAS = 1
	learnFrom(tab, c)
	want("allowed", a, 0)
	c.Peers[0].AllowOwnAS = 0
	learnFrom(tab, c)
	want("not any more", a, 1)
	tab.silence(a)
	want("gone", a, 0)
	if n := tab.peers[b].missed; n != 1 {
		t.Errorf("b: %d", n)
	}
}
