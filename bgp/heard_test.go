package bgp

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// says has a neighbour announce a prefix with these attributes besides origin and next hop, which is itself.
func says(tab *table, peer netip.Addr, prefix netip.Prefix, attrs ...gobgp.PathAttributeInterface) {
	nlri, err := gobgp.NewIPAddrPrefix(prefix)
	if err != nil {
		panic(err)
	}
	attrs = append(attrs, gobgp.NewPathAttributeOrigin(0), &gobgp.PathAttributeNextHop{Value: peer})
	hears(tab, peer, saysUpdate, slog.Any("nlri", []gobgp.PathNLRI{{NLRI: nlri}}), slog.Any("path_attributes", attrs))
}

func through(as ...uint32) gobgp.PathAttributeInterface {
	return gobgp.NewPathAttributeAsPath([]gobgp.AsPathParamInterface{gobgp.NewAs4PathParam(gobgp.BGP_ASPATH_ATTR_TYPE_SEQ, as)})
}

// heardText is each path as "prefix peer state: why".
func heardText(s *Speaker) []string {
	var out []string
	for _, r := range s.Heard() {
		for _, p := range r.Paths {
			text := fmt.Sprintf("%v %s %s", r.Prefix, p.Peer, p.State)
			if p.Stale {
				text += " stale"
			}
			if p.Why != "" {
				text += ": " + p.Why
			}
			out = append(out, text)
		}
	}
	return out
}

// TestHeard: each path that neighbours tell is shown, with what became of it and why.
func TestHeard(t *testing.T) {
	t.Parallel()
	s := New(Options{Log: slog.New(slog.DiscardHandler)})
	tab := s.table
	a, b, i := addr("10.0.0.1"), addr("10.0.0.2"), addr("10.0.0.3")
	c := Config{
		AS: 65000, RouterID: addr("10.255.0.1"), MaxPaths: 2, Import: []PrefixRange{{Prefix: pfx("10.128.0.0/9"), Min: 16, Max: 24}},
		NeverEver: prefixList("10.200.0.0/16"), Never: []PrefixRange{{Prefix: pfx("0.0.0.0/0")}}, Paths: []Path{{Prefix: pfx("10.180.0.0/24")}},
		Links: prefixList("10.0.0.9/24"),
		Peers: []Peer{
			{Name: "a", Address: a, AS: 1, Import: Filter{Reject: []Match{{Communities: []string{"65010:*"}}, {Prefixes: within("10.190.0.0/16")}}}},
			{Name: "b", Address: b, AS: 2},
			{Name: "i", Address: i, AS: 65000},
		},
	}
	learnFrom(tab, c)
	check := func(step string, want ...string) {
		t.Helper()
		if got := heardText(s); !slices.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", step, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		for _, n := range tab.peers {
			for r := range tab.routes.All() {
				tab.update(n, r.prefix, 0, nil)
			}
		}
	}

	says(tab, a, pfx("0.0.0.0/0"))
	says(tab, a, pfx("10.190.1.0/24"))
	says(tab, a, pfx("10.191.0.0/24"), gobgp.NewPathAttributeCommunities([]uint32{65010<<16 | 7}))
	says(tab, a, pfx("10.200.1.0/24"))
	says(tab, a, pfx("10.192.0.0/28"))
	says(tab, a, pfx("10.193.0.0/24"), through(1, 65000, 3))
	says(tab, i, pfx("10.194.0.0/24"), &gobgp.PathAttributeOriginatorId{Value: addr("10.255.0.1")})
	check("rejected",
		"0.0.0.0/0 a Rejected: "+whyNever+": in 0.0.0.0/0",
		"10.190.1.0/24 a Rejected: "+whyReject+": in 10.190.0.0/16{16,32}",
		"10.191.0.0/24 a Rejected: "+whyReject+": carrying 65010:*",
		"10.192.0.0/28 a Rejected: "+whyNot,
		"10.193.0.0/24 a Rejected: AS loop: our AS 65000 stands in its path 1 times, and allowOwnAS allows 0",
		"10.194.0.0/24 i Rejected: "+whyOurs,
		"10.200.1.0/24 a Rejected: "+whyNeverEver+": in 10.200.0.0/16{16,32}",
	)

	says(tab, a, pfx("10.130.1.0/24"), through(1))
	says(tab, b, pfx("10.130.1.0/24"), through(2, 2))
	says(tab, i, pfx("10.130.1.0/24"), gobgp.NewPathAttributeLocalPref(90))
	says(tab, a, pfx("10.130.2.0/24"), through(1), gobgp.NewPathAttributeMultiExitDisc(9))
	says(tab, i, pfx("10.130.2.0/24"), through(1), gobgp.NewPathAttributeMultiExitDisc(10))
	says(tab, a, pfx("10.130.3.0/24"), through(1))
	says(tab, i, pfx("10.130.3.0/24"), through(2))
	says(tab, b, pfx("10.180.0.0/24"), through(2))
	check("beaten",
		"10.130.1.0/24 a Best",
		"10.130.1.0/24 b Beaten: AS path of 2, and a has one of 1",
		"10.130.1.0/24 i Beaten: local preference 90, and a has 100",
		"10.130.2.0/24 a Best",
		"10.130.2.0/24 i Beaten: MED 10, and a has 9",
		"10.130.3.0/24 a Best",
		"10.130.3.0/24 i Beaten: told over iBGP, and by a over eBGP",
		"10.180.0.0/24 b Beaten: this node announces the prefix itself",
	)

	says(tab, a, pfx("10.130.1.0/24"), through(1), gobgp.NewPathAttributeCommunities([]uint32{shutdown}))
	says(tab, b, pfx("10.130.1.0/24"), through(2))
	says(tab, b, pfx("10.130.2.0/24"), through(2))
	tab.hold(a, lastResort)
	says(tab, a, pfx("10.130.2.0/24"), through(1))
	check("held back and leaving",
		"10.130.1.0/24 a Held: its peer comes and goes, and is used only where there are no others",
		"10.130.1.0/24 b Best",
		"10.130.2.0/24 a Held: its peer comes and goes, and is used only where there are no others",
		"10.130.2.0/24 b Best",
	)
	tab.hold(a, shelved)
	says(tab, a, pfx("10.130.2.0/24"), through(1))
	check("shelved", "10.130.2.0/24 a Held: its peer comes and goes, and has to prove itself")
	tab.hold(a, free)

	c.MaxPaths = 1
	learnFrom(tab, c)
	says(tab, a, pfx("10.130.1.0/24"), through(1), gobgp.NewPathAttributeCommunities([]uint32{shutdown}))
	says(tab, b, pfx("10.130.1.0/24"), through(2))
	says(tab, a, pfx("10.130.2.0/24"), through(1))
	says(tab, b, pfx("10.130.2.0/24"), through(2))
	hears(tab, b, saysDown)
	check("leaving, more than maxPaths, and of a session that is over",
		"10.130.1.0/24 a Lingering: its peer asks for other ways (GRACEFUL_SHUTDOWN): only flows that are under way stay",
		"10.130.1.0/24 b Best stale",
		"10.130.2.0/24 a Best",
		"10.130.2.0/24 b Beaten stale: more paths are as good than the 1 of maxPaths",
	)
	check("nothing")
}

// TestHeardAttributes: what a path carries is shown as it came.
func TestHeardAttributes(t *testing.T) {
	t.Parallel()
	s := New(Options{Log: slog.New(slog.DiscardHandler)})
	i := addr("10.0.0.3")
	learnFrom(s.table, Config{AS: 65000, MaxPaths: 1, Import: []PrefixRange{within("10.0.0.0/8")}, Peers: []Peer{{Name: "i", Address: i, AS: 65000}}})
	says(s.table, i, pfx("10.1.0.0/16"), through(1, 2), gobgp.NewPathAttributeLocalPref(300), gobgp.NewPathAttributeMultiExitDisc(0),
		gobgp.NewPathAttributeCommunities([]uint32{65010<<16 | 7}),
		gobgp.NewPathAttributeLargeCommunities([]*gobgp.LargeCommunity{{ASN: 4200000000, LocalData1: 1, LocalData2: 2}}),
		&gobgp.PathAttributeOriginatorId{Value: addr("10.255.0.9")}, &gobgp.PathAttributeClusterList{Value: []netip.Addr{addr("10.255.0.8")}},
		gobgp.NewPathAttributeAtomicAggregate())
	says(s.table, i, pfx("10.2.0.0/16"))
	all := s.Heard()
	if len(all) != 2 {
		t.Fatalf("%+v", all)
	}
	full, bare := all[0].Paths[0], all[1].Paths[0]
	if full.LocalPref == nil || full.MED == nil || bare.LocalPref == nil || *bare.LocalPref != 100 || bare.MED != nil {
		t.Fatalf("%+v, %+v", full.Attributes, bare.Attributes)
	}
	got := fmt.Sprintln(full.ASPath, *full.LocalPref, *full.MED, full.Communities, full.Originator, full.Clusters, full.Aggregate, full.Origin, full.NextHop)
	if want := "[1 2] 300 0 [65010:7 4200000000:1:2] 10.255.0.9 [10.255.0.8] true IGP 10.0.0.3\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestFilterTexts: a filter is shown as it is configured.
func TestFilterTexts(t *testing.T) {
	t.Parallel()
	f := Filter{
		Accept: []Match{{Prefixes: PrefixRange{pfx("10.0.0.0/8"), 16, 24}, Communities: []string{"65001:*", "no-export"}}, {Path: PathMatch{Origin: 7, MaxLength: 3}}},
		Reject: []Match{{Family: IPv6}, {}}, Only: true,
	}
	want := []string{"reject IPv6", "reject", "accept in 10.0.0.0/8{16,24} carrying 65001:* and 65535:65281", "accept path origin 7 length 3", "only"}
	if got := f.Texts(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestHeardMany: a full table of two neighbours, half of it beaten, is shown in no time.
func TestHeardMany(t *testing.T) {
	t.Parallel()
	s := New(Options{Log: slog.New(slog.DiscardHandler)})
	a, b := addr("10.0.0.1"), addr("10.0.0.2")
	learnFrom(s.table, Config{AS: 65000, MaxPaths: 1, Import: []PrefixRange{within("0.0.0.0/0")}, Peers: []Peer{{Name: "a", Address: a, AS: 1}, {Name: "b", Address: b, AS: 2}}})
	all := manyPrefixes(100_000)
	say(s.table, a, a, all...)
	for _, p := range all {
		says(s.table, b, p, through(2, 2))
	}
	start := time.Now()
	got := s.Heard()
	took := time.Since(start)
	t.Logf("%d routes with 2 paths each: %v", len(got), took)
	if len(got) != len(all) || got[0].Paths[1].State != PathBeaten {
		t.Errorf("%d routes, first %+v", len(got), got[0])
	}
	if took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}
