package main

import (
	"io"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/podroute/podroute/internal/agent/agentpb"
)

// printed is what a printer makes of an answer, each line without the spaces at its end.
func printed(t *testing.T, format string, m proto.Message, table func(w io.Writer, p *printer)) string {
	t.Helper()
	var b strings.Builder
	p := newPrinter(&b, format)
	if err := p.message(m, func(w io.Writer) { table(w, p) }); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(b.String()) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return strings.Join(lines, "\n")
}

func TestRoutesTable(t *testing.T) {
	t.Parallel()
	hop := func(a string) []*agentpb.NextHop { return []*agentpb.NextHop{{Address: a}} }
	learned := []*agentpb.Route{
		{
			Prefix: "10.244.7.0/24", NextHops: hop("10.0.1.0"), Peer: "tor", State: "Best", AsPath: []uint32{65001, 64607}, LocalPref: proto.Uint32(100), BgpOrigin: "IGP",
			Communities: []string{"65010:7", "65010:1:7"},
		},
		{
			Prefix: "10.244.7.0/24", NextHops: hop("10.0.2.0"), Peer: "tor-b", State: "Beaten", AsPath: []uint32{65002, 65002, 64607}, LocalPref: proto.Uint32(100),
			Med: proto.Uint32(0), BgpOrigin: "INCOMPLETE", Why: "AS path of 3, and tor has one of 2",
		},
		{Prefix: "10.244.8.0/24", NextHops: hop("10.0.9.9"), Peer: "tor", State: "Best", Stale: true, OriginatorId: "10.255.0.9", ClusterList: []string{"10.255.0.1"}, Problem: "next hop 10.0.9.9 is on no link"},
		{Prefix: "192.0.2.0/24", NextHops: hop("10.0.1.0"), Peer: "tor", State: "Rejected", Aggregate: true, PathId: 3, Why: "it lies in no range that is accepted"},
	}
	const want = `PREFIX          NEXT HOP   PEER    STATE         ATTRIBUTES                                                            WHY
10.244.7.0/24   10.0.1.0   tor     Best          AS path 65001 64607, local-pref 100, communities 65010:7 65010:1:7    -
10.244.7.0/24   10.0.2.0   tor-b   Beaten        AS path 65002 65002 64607, origin INCOMPLETE, local-pref 100, MED 0   AS path of 3, and tor has one of 2
10.244.8.0/24   10.0.9.9   tor     Best, stale   originator 10.255.0.9, clusters 10.255.0.1                            not installed: next hop 10.0.9.9 is on no link
192.0.2.0/24    10.0.1.0   tor     Rejected      aggregate, path ID 3                                                  it lies in no range that is accepted`
	got := printed(t, "table", &agentpb.RouteList{Routes: learned}, func(w io.Writer, p *printer) { printRoutes(w, p, agentpb.RoutesRequest_LEARNED, learned) })
	if got != want {
		t.Errorf("learned:\n%s\nwant\n%s", got, want)
	}
	told := []*agentpb.Route{
		{Prefix: "10.244.1.0/24", NextHops: hop("10.0.1.1"), Peer: "tor", AsPath: []uint32{64601}, Origin: "block"},
		{Prefix: "fd00::/64", Peer: "tor", LocalPref: proto.Uint32(200), Med: proto.Uint32(5), Origin: "named"},
		{Prefix: "fd00:1::/64", Peer: "tor"},
	}
	const sent = `PREFIX          NEXT HOP   TO    ATTRIBUTES              ORIGIN
10.244.1.0/24   10.0.1.1   tor   AS path 64601           block
fd00::/64       -          tor   local-pref 200, MED 5   named
fd00:1::/64     -          tor   -                       -`
	got = printed(t, "table", &agentpb.RouteList{Routes: told}, func(w io.Writer, p *printer) { printRoutes(w, p, agentpb.RoutesRequest_ADVERTISED, told) })
	if got != sent {
		t.Errorf("advertised:\n%s\nwant\n%s", got, sent)
	}
}

func TestPeerSettings(t *testing.T) {
	t.Parallel()
	peers := []*agentpb.Peer{
		{
			Name: "tor", Address: "10.0.1.0", As: 65001, State: "Established", LocalAs: 64601, LocalAddress: "10.0.1.1", RouterId: "10.255.0.1", HoldSeconds: 90, KeepaliveSeconds: 30,
			GracefulRestart: true, RestartSeconds: 120, LongLivedSeconds: 3600, Notifications: true,
			Settings: &agentpb.PeerSettings{Password: true, TtlSecurity: 1, MaxPrefixes: 500, GracefulRestart: true, Damped: true, Families: []string{"IPv4", "IPv6"}, Port: 179},
		},
		{
			Name: "rr", Address: "10.255.0.1", As: 64601, State: "Active",
			Settings: &agentpb.PeerSettings{
				Internal: true, LocalAs: 64601, SourceAddress: "10.255.1.1", Port: 1790, Passive: true, MultihopTtl: 5, HoldSeconds: 9, KeepaliveSeconds: 3,
				MaxPrefixes: 10, MaxPrefixesWarn: true, AllowOwnAs: 1, OverrideAs: true, ReflectorClient: true, ReceivePaths: true, SendPaths: true, NextHop: "Self",
				Families: []string{"IPv4"}, External: true, Import: []string{"reject in 10.1.0.0/16", "only"}, Export: []string{"accept carrying 65010:*"},
			},
		},
	}
	const want = `NAME   ADDRESS      AS      STATE         OUR ADDRESS   OUR AS   ROUTER ID    HOLD   KEEPALIVE   KEPT                                   SETTINGS
tor    10.0.1.0     65001   Established   10.0.1.1      64601    10.255.0.1   90s    30s         120s + 3600s, over NOTIFICATIONs too   password, TTL security 1, at most 500 prefixes
rr     10.255.0.1   64601   Active        10.255.1.1    64601    -            9s     3s          -                                      iBGP, port 1790, passive, multihop 5, reflector client, own AS 1 times, AS override, next hop self, receives several paths, sends several paths, no graceful restart, not damped, any AS, import reject in 10.1.0.0/16; only, export accept carrying 65010:*, IPv4 only, warns above 10 prefixes`
	got := printed(t, "wide", &agentpb.PeersResponse{Peers: peers}, func(w io.Writer, p *printer) { printSettings(w, p, peers) })
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// What programs read are numbers and not strings; what is not set is there, too.
func TestNumbersInJSON(t *testing.T) {
	t.Parallel()
	for m, want := range map[proto.Message]string{
		&agentpb.Station{Sent: 4294967295}: `"sent":4294967295`,
		&agentpb.Route{AsPath: []uint32{4294967294}, LocalPref: proto.Uint32(0), Med: proto.Uint32(4294967295)}: `"as_path":[4294967294],"bgp_origin":"","local_pref":0,"med":4294967295`,
		&agentpb.Peer{Settings: &agentpb.PeerSettings{}}:                                                        `"password":false`,
	} {
		got := strings.Join(strings.Fields(printed(t, "json", m, nil)), "")
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}
