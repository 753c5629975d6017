package bgp

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bmp"

	"github.com/podroute/podroute/bgp/bmp"
	"github.com/podroute/podroute/internal/bmpstation"
	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
)

// newStation listens on port 11019 of a namespace.
func newStation(t *testing.T, ns *nstest.NS) *bmpstation.Station {
	t.Helper()
	var ln net.Listener
	err := ns.Do(func() (err error) {
		ln, err = net.Listen("tcp", ":11019")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bmpstation.Serve(t, ln, monitored)
}

// monitored is a message as the tests compare it.
func monitored(raw []byte) string {
	m, err := packet.ParseBMPMessage(raw)
	if err != nil {
		return err.Error()
	}
	who := fmt.Sprintf("%v AS%d ID %v", m.PeerHeader.PeerAddress, m.PeerHeader.PeerAS, m.PeerHeader.PeerBGPID)
	switch b := m.Body.(type) {
	case *packet.BMPInitiation:
		return "initiation"
	case *packet.BMPPeerUpNotification:
		sent, received := b.SentOpenMsg.Body.(*gobgp.BGPOpen), b.ReceivedOpenMsg.Body.(*gobgp.BGPOpen)
		return fmt.Sprintf("up %s at %v %d: AS%d ID %v hold %d, AS%d ID %v hold %d caps %d", who, b.LocalAddress, b.LocalPort,
			sent.MyAS, sent.ID, sent.HoldTime, received.MyAS, received.ID, received.HoldTime, len(received.OptParams))
	case *packet.BMPPeerDownNotification:
		text := fmt.Sprintf("down %s reason %d", who, b.Reason)
		if b.BGPNotification != nil {
			n := b.BGPNotification.Body.(*gobgp.BGPNotification)
			text += fmt.Sprintf(" notification %d/%d", n.ErrorCode, n.ErrorSubcode)
		}
		return text
	case *packet.BMPRouteMonitoring:
		return "route " + who + ": " + routesText(b.BGPUpdate.Body.(*gobgp.BGPUpdate))
	}
	return fmt.Sprintf("type %d", m.Header.Type)
}

func routesText(u *gobgp.BGPUpdate) string {
	var parts []string
	list := func(what string, of []gobgp.PathNLRI) {
		for _, n := range of {
			parts = append(parts, what+n.NLRI.String())
		}
	}
	list("-", u.WithdrawnRoutes)
	for _, a := range u.PathAttributes {
		switch a := a.(type) {
		case *gobgp.PathAttributeMpUnreachNLRI:
			if len(a.Value) == 0 {
				parts = append(parts, "end of IPv6")
			}
			list("-", a.Value)
		case *gobgp.PathAttributeMpReachNLRI:
			list("+", a.Value)
			parts = append(parts, "via "+a.Nexthop.String())
		case *gobgp.PathAttributeOrigin:
		default:
			parts = append(parts, a.String())
		}
	}
	list("+", u.NLRI)
	if len(parts) == 0 {
		return "end of IPv4"
	}
	return strings.Join(parts, " ")
}

// TestStations: a station hears of sessions and of what neighbours say, whatever the filters; one that comes late hears it
// all, and a session's end.
func TestStations(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	s := newStation(t, torNS)
	p, c := speak(t, us, func(c *Config) { c.Stations = []bmp.Station{{Addr: netip.MustParseAddrPort("10.0.0.1:11019")}} }, passive())
	s.Hears(t, "initiation")
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	const who = "10.0.0.1 AS65001 ID "
	up := fmt.Sprintf("up %s%v at 10.0.0.2 179: AS%d ID %v hold 90, AS65001 ID %v hold 90 caps 1", who, tor().ID, c.AS, c.RouterID, tor().ID)
	route := "route " + who + tor().ID.String() + ": "
	s.Hears(t, "initiation", up)
	r.send(rawbgp.Announce([]uint32{65001, 4200000009}, addr("10.0.0.1"), prefixList("10.130.7.0/24", "192.0.2.0/24"),
		rawbgp.Attr{Flags: rawbgp.Optional | rawbgp.Transitive, Type: rawbgp.AttrCommunities, Value: []byte{0, 1, 0, 2}},
		rawbgp.Attr{Flags: rawbgp.Optional | rawbgp.Transitive, Type: 99, Value: []byte{7}}))
	said := route + "{AsPath: 65001 4200000009} {Communities: 1:2} {Flags: TRANSITIVE|OPTIONAL, Type: BGPAttrType(99), Value: [7]} {Nexthop: 10.0.0.1} +10.130.7.0/24 +192.0.2.0/24"
	s.Hears(t, "initiation", up, said)
	p.learns("10.130.7.0/24 via 10.0.0.1") // 192.0.2.0/24 is not accepted
	r.send(rawbgp.EndOfRIB(false), rawbgp.EndOfRIB(true), rawbgp.Withdraw(prefixList("192.0.2.0/24")))
	s.Hears(t, "initiation", up, said, route+"end of IPv4", route+"end of IPv6", route+"-192.0.2.0/24")
	s.HangUp()
	one := strings.TrimSuffix(said, " +192.0.2.0/24")
	s.Hears(t, "initiation", up, one, route+"end of IPv4", route+"end of IPv6")
	r.send(rawbgp.Notification(6, 4))
	s.Hears(t, "initiation", up, one, route+"end of IPv4", route+"end of IPv6", "down "+who+tor().ID.String()+" reason 3 notification 6/4")
	s.HangUp()
	s.Hears(t, "initiation")
}

// TestLateStation: what neighbours said before there was a station is told with the attributes that are kept.
func TestLateStation(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	p, c := speak(t, us, nil, passive())
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.7.0/24"),
		rawbgp.Attr{Flags: rawbgp.Optional | rawbgp.Transitive, Type: rawbgp.AttrCommunities, Value: []byte{0, 1, 0, 2}}))
	p.learns("10.130.7.0/24 via 10.0.0.1")
	s := newStation(t, torNS)
	c.Stations = []bmp.Station{{Addr: netip.MustParseAddrPort("10.0.0.1:11019")}}
	p.set(c)
	nstest.Within(t, 10*time.Second, func() error {
		got := s.Heard()
		if n := len(got); n != 3 || !strings.HasSuffix(got[2], ": {AsPath: 65001} {Nexthop: 10.0.0.1} {Communities: 1:2} +10.130.7.0/24") {
			return fmt.Errorf("heard %q", got)
		}
		return nil
	})
}

// TestIdentifiedPaths: where a neighbour's prefixes have path identifiers, stations are told them (RFC 7911), as its OPEN says.
func TestIdentifiedPaths(t *testing.T) {
	t.Parallel()
	can := func(mode gobgp.BGPAddPathMode) []gobgp.ParameterCapabilityInterface {
		return []gobgp.ParameterCapabilityInterface{gobgp.NewCapAddPath([]*gobgp.CapAddPathTuple{gobgp.NewCapAddPathTuple(gobgp.RF_IPv4_UC, mode)})}
	}
	for _, c := range []struct{ ours, theirs gobgp.BGPAddPathMode }{{gobgp.BGP_ADD_PATH_SEND, gobgp.BGP_ADD_PATH_SEND}, {gobgp.BGP_ADD_PATH_RECEIVE, gobgp.BGP_ADD_PATH_RECEIVE}} {
		if got := pathsIn(can(c.ours), can(c.theirs)); got != [2]bool{} {
			t.Errorf("%v: %v", c, got)
		}
	}
	i := introduction{paths: pathsIn(can(gobgp.BGP_ADD_PATH_BOTH), can(gobgp.BGP_ADD_PATH_SEND))}
	said := saidOf(received{attrs: []gobgp.PathAttributeInterface{gobgp.NewPathAttributeOrigin(0)}}, time.Now())
	told := part{who: i, chapters: map[saying]*chapter{}}
	told.add(said, identifiedPrefix{pfx("10.130.7.0/24"), 7})
	told.add(said, identifiedPrefix{pfx("10.130.7.0/24"), 1 << 20})
	nlri, err := gobgp.NewIPAddrPrefix(pfx("10.130.7.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	live, err := received{announced: []gobgp.PathNLRI{{NLRI: nlri, ID: 7}, {NLRI: nlri, ID: 1 << 20}}, attrs: []gobgp.PathAttributeInterface{gobgp.NewPathAttributeOrigin(0)}}.serialize(i.options()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range append(told.order[0].updates(), live) {
		m, err := gobgp.ParseBGPMessage(raw, i.options()...)
		if err != nil {
			t.Fatal(err)
		}
		u := m.Body.(*gobgp.BGPUpdate)
		if len(u.NLRI) != 2 || u.NLRI[0].ID != 7 || u.NLRI[1].ID != 1<<20 || u.NLRI[1].NLRI.String() != "10.130.7.0/24" {
			t.Errorf("told %v", u.NLRI)
		}
	}
}
