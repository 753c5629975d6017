package bgp

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/podroute/podroute/bgp/bmp"
	"github.com/podroute/podroute/internal/rawbgp"
)

// parsed is a message as gobgp reads it; nil: it ends the session. malformed: its routes are taken as withdrawn.
func parsed(typ byte, body []byte, o *gobgp.MarshallingOption) (m *gobgp.BGPMessage, malformed bool) {
	m, err := gobgp.ParseBGPBody(&gobgp.BGPHeader{Type: typ, Len: uint16(19 + len(body))}, body, o)
	if err == nil {
		return m, false
	}
	var how *gobgp.MessageError
	if errors.As(err, &how) && typ == gobgp.BGP_MSG_UPDATE {
		switch how.ErrorHandling {
		case gobgp.ERROR_HANDLING_TREAT_AS_WITHDRAW:
			return m, true
		case gobgp.ERROR_HANDLING_ATTRIBUTE_DISCARD:
			return m, false
		}
	}
	return nil, false
}

// FuzzUpdate: no UPDATE puts the table at odds with itself, and none leaves anything behind when its neighbour has gone.
func FuzzUpdate(f *testing.F) {
	for i, h := range hostiles() {
		if m := h.msg(pfx("10.130.1.0/24")); len(m) > 19 && m[18] == rawbgp.TypeUpdate {
			f.Add(m[19:], byte(i))
		}
	}
	six := rawbgp.Announce([]uint32{65001}, addr("fe80::1"), prefixList("fd10:9::/64", "::/0"))
	f.Add(six[19:], byte(0))
	f.Add(rawbgp.Update(nil, rawbgp.Attributes(rawbgp.Origin(), path(), nh()), []byte{0, 0, 0, 7, 24, 10, 130, 1})[19:], byte(1))
	f.Fuzz(func(t *testing.T, body []byte, how byte) {
		o := &gobgp.MarshallingOption{AddPath: map[gobgp.Family]gobgp.BGPAddPathMode{}}
		paths := how&1 != 0
		if paths {
			o.AddPath[gobgp.RF_IPv4_UC], o.AddPath[gobgp.RF_IPv6_UC] = gobgp.BGP_ADD_PATH_BOTH, gobgp.BGP_ADD_PATH_BOTH
		}
		m, malformed := parsed(gobgp.BGP_MSG_UPDATE, body, o)
		if m == nil {
			return
		}
		tab, from := newTable(make(chan struct{}, 1), newAgenda()), addr("fe80::9%e0")
		as := uint32(65001)
		if how&2 != 0 {
			as = 65002 // internal
		}
		learnFrom(tab, Config{
			AS: 65002, RouterID: addr("10.0.0.2"), MaxPaths: 8, Import: []PrefixRange{within("10.128.0.0/9"), within("fd10::/16")},
			Peers: []Peer{{Name: "a", Address: from, AS: as, MaxPrefixes: 3}, {Name: "b", Address: addr("10.0.0.1"), AS: 65001}},
		})
		say(tab, addr("10.0.0.1"), addr("10.0.0.1"), prefixList("10.130.1.0/24")...)
		u := m.Body.(*gobgp.BGPUpdate)
		attrs := []slog.Attr{slog.Any("nlri", u.NLRI), slog.Any("withdrawals", u.WithdrawnRoutes), slog.Any("path_attributes", u.PathAttributes)}
		for range 2 {
			if malformed || how&4 != 0 {
				hears(tab, from, saysMalformed)
			}
			hears(tab, from, saysUpdate, attrs...)
			consistent(t, tab)
		}
		tab.drain()
		tab.age(from, how&8 != 0)
		consistent(t, tab)
		retold(t, m, malformed, paths)
		hears(tab, from, saysDown)
		tab.ended(from, nil)
		consistent(t, tab)
		if n := tab.peers[from]; !n.empty() {
			t.Errorf("%v is left of who has gone", n.received)
		}
		if r := tab.routes.Get(pfx("10.130.1.0/24")); r == nil || len(r.paths) != 1 || len(r.now.members) != 1 {
			t.Errorf("the other neighbour's route: %+v", r)
		}
	})
}

// consistent: what is counted is what is there, and only what was accepted is chosen.
func consistent(t *testing.T, tab *table) {
	t.Helper()
	received, accepted := map[*neighbour][2]int{}, map[*neighbour][2]int{}
	sets := map[*pathSet]int{}
	for r := range tab.routes.All() {
		if r.prefix != r.prefix.Masked() || !r.prefix.IsValid() {
			t.Errorf("prefix %v", r.prefix)
		}
		usable := map[member]bool{}
		for _, c := range r.paths {
			fam := familyOf(r.prefix.Addr()) - IPv4
			x := received[c.from]
			x[fam]++
			received[c.from] = x
			if c.accepted {
				x = accepted[c.from]
				x[fam]++
				accepted[c.from] = x
				usable[member{peer: c.from.addr, hop: c.with.hop}] = true
			}
		}
		for s := range map[*pathSet]bool{r.now: true, r.told: true} {
			if s != nil {
				sets[s]++
			}
		}
		if r.now == nil {
			continue
		}
		for _, x := range r.now.members {
			if x.lingers = false; !usable[x] {
				t.Errorf("%v is chosen for %v, and is not usable", x, r.prefix)
			}
		}
	}
	for _, n := range tab.peers {
		if n.received != received[n] || n.accepted != accepted[n] {
			t.Errorf("of %s %v and %v are counted, %v and %v are there", n.name, n.received, n.accepted, received[n], accepted[n])
		}
	}
	for key, s := range tab.sets {
		if sets[s] == 0 || s.routes <= 0 || key != s.key {
			t.Errorf("a set of %v is kept for %d routes and held by %d", s.members, s.routes, sets[s])
		}
	}
}

// retold: what stations are told of an UPDATE has the length that it says.
func retold(t *testing.T, m *gobgp.BGPMessage, malformed, paths bool) {
	t.Helper()
	u := m.Body.(*gobgp.BGPUpdate)
	r := slog.NewRecord(time.Time{}, slog.LevelDebug, saysUpdate, 0)
	r.AddAttrs(slog.Any("nlri", u.NLRI), slog.Any("withdrawals", u.WithdrawnRoutes), slog.Any("path_attributes", u.PathAttributes))
	x := updateOf(r)
	if malformed {
		x = x.withdrawal()
	}
	b, err := x.serialize(introduction{paths: [2]bool{paths, paths}}.options()...)
	if err != nil {
		return
	}
	if n := int(b[16])<<8 | int(b[17]); n != len(b) {
		t.Errorf("an UPDATE of %d octets says that it has %d", len(b), n)
	}
	if told := bmp.RouteMonitoring(bmp.Peer{Addr: addr("10.0.0.1"), AS: 1, ID: addr("10.0.0.1")}, time.Now(), b); !bytes.HasSuffix(told, b) {
		t.Error("stations are told something else")
	}
}

// FuzzOpen: whatever a neighbour offers, what is noted of it is within what we have offered, and its session ends in order.
func FuzzOpen(f *testing.F) {
	for i, h := range hostileOpens() {
		if len(h.msg) > 19 && h.msg[18] == rawbgp.TypeOpen {
			f.Add(h.msg[19:], byte(i))
		}
	}
	f.Add(tor().Message()[19:], byte(3))
	f.Fuzz(func(t *testing.T, body []byte, how byte) {
		m, _ := parsed(gobgp.BGP_MSG_OPEN, body, &gobgp.MarshallingOption{})
		if m == nil {
			return
		}
		said := m.Body.(*gobgp.BGPOpen)
		var caps []gobgp.ParameterCapabilityInterface
		for _, p := range said.OptParams {
			if c, ok := p.(*gobgp.OptionParameterCapability); ok {
				caps = append(caps, c.Capability...)
			}
		}
		peer := Peer{Name: "a", Address: addr("10.0.0.1"), AS: 65001, Families: []Family{IPv4, IPv6}[how&1:], GracefulRestart: how&2 != 0, ReceivePaths: true}
		if how&4 != 0 {
			peer.LongLived = time.Hour
		}
		tab := newTable(make(chan struct{}, 1), newAgenda())
		s := newSessions(slog.New(slog.NewTextHandler(io.Discard, nil)), make(chan struct{}, 1), tab)
		s.set([]Peer{peer}, how&8 != 0)
		tell := func(state gobgp.FSMState) {
			s.event(0, &apiutil.WatchEventMessage_PeerEvent{Type: apiutil.PEER_EVENT_STATE, Peer: apiutil.Peer{State: apiutil.PeerState{
				NeighborAddress: peer.Address, SessionState: state, RemoteCap: caps, PeerASN: 65001, LocalASN: 65002,
			}}}, time.Now())
		}
		for range 2 {
			tell(gobgp.BGP_FSM_ESTABLISHED)
			x := s.byAddr[peer.Address]
			if x.restart < 0 || x.restart >= 4096*time.Second {
				t.Errorf("restart time %v", x.restart)
			}
			if !peer.GracefulRestart && (x.notifies || len(x.graceful)+len(x.longer) > 0) {
				t.Errorf("graceful restart, which we do not offer: %v, %v", x.graceful, x.longer)
			}
			for fam, d := range x.longer {
				if d > peer.LongLived {
					t.Errorf("%v is kept for %v", fam, d)
				}
			}
			for _, fam := range x.families {
				if !slices.Contains(peer.Families, fam) {
					t.Errorf("%v, which we do not offer", fam)
				}
			}
			if b, err := open(65001, 90*time.Second, netip.IPv4Unspecified(), caps); err == nil && len(b) < 29 {
				t.Errorf("stations are told of an OPEN of %d octets", len(b))
			}
			pathsIn(caps, caps)
			tell(gobgp.BGP_FSM_IDLE)
			if x.stale && !peer.GracefulRestart {
				t.Error("routes are kept, which was not agreed on")
			}
		}
	})
}
