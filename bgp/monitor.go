package bgp

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/podroute/podroute/bgp/bmp"
)

// This file is what monitoring stations are told (RFC 7854): Adj-RIB-In before the import policy, from what is heard.
// A neighbour is introduced once its session's OPENs are known, a moment after its first UPDATEs may have been heard;
// then all that it has said so far is told, and from then on each UPDATE as it comes.

// introduction is what a session began with.
type introduction struct {
	peer bmp.Peer
	up   []byte // the Peer Up message
	// paths: its prefixes of a family have path identifiers (RFC 7911).
	paths [2]bool
}

// opened is what gobgp tells of a session that is up.
func (s *sessions) opened(peer netip.Addr) (apiutil.Peer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byAddr[peer]
	if x == nil || x.state != gobgp.BGP_FSM_ESTABLISHED {
		return apiutil.Peer{}, false
	}
	return x.open, true
}

// introduce tells the stations of a session that is up. Of the OPENs gobgp tells everything but the neighbour's
// hold time: the negotiated one stands in for it.
func (s *Speaker) introduce(ctx context.Context, p Peer) error {
	o, ok := s.sessions.opened(p.Address)
	if !ok {
		return nil
	}
	hold, local := p.Hold, o.Transport.LocalAddress
	err := s.srv.ListPeer(ctx, &api.ListPeerRequest{Address: p.Address.String()}, func(q *api.Peer) {
		if n := q.GetTimers().GetState().GetNegotiatedHoldTime(); n > 0 {
			hold = time.Duration(n) * time.Second
		}
		if a, err := netip.ParseAddr(q.GetTransport().GetLocalAddress()); err == nil {
			local = a
		}
	})
	if err != nil {
		return fmt.Errorf("read what was negotiated: %w", err)
	}
	st := o.State
	sent, err1 := open(st.LocalASN, p.Hold, s.now.RouterID, st.LocalCap)
	received, err2 := open(st.PeerASN, hold, st.RouterID, st.RemoteCap)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("put the OPENs together: %w", err)
	}
	who := bmp.Peer{Addr: p.Address.WithZone(""), AS: st.PeerASN, ID: st.RouterID}
	s.table.introduce(p.Address, introduction{peer: who, paths: pathsIn(st.LocalCap, st.RemoteCap), up: bmp.PeerUp(who, time.Now(), bmp.Up{
		Local: local.WithZone(""), LocalPort: uint16(o.Transport.LocalPort), RemotePort: uint16(o.Transport.RemotePort),
		Sent: sent, Received: received,
	})})
	return nil
}

// pathsIn are the families in which we wanted to be sent path identifiers, and the neighbour to send them (RFC 7911
// section 4).
func pathsIn(ours, theirs []gobgp.ParameterCapabilityInterface) (paths [2]bool) {
	modes := func(caps []gobgp.ParameterCapabilityInterface, mode gobgp.BGPAddPathMode) (has [2]bool) {
		for _, c := range caps {
			a, ok := c.(*gobgp.CapAddPath)
			if !ok {
				continue
			}
			for _, t := range a.Tuples {
				if fam, ok := familyFrom(t.Family); ok {
					has[fam-IPv4] = t.Mode&mode != 0
				}
			}
		}
		return has
	}
	we, they := modes(ours, gobgp.BGP_ADD_PATH_RECEIVE), modes(theirs, gobgp.BGP_ADD_PATH_SEND)
	return [2]bool{we[0] && they[0], we[1] && they[1]}
}

// options are how the neighbour's UPDATEs are written.
func (i introduction) options() []*gobgp.MarshallingOption {
	if i.paths == [2]bool{} {
		return nil
	}
	o := &gobgp.MarshallingOption{AddPath: map[gobgp.Family]gobgp.BGPAddPathMode{}}
	for f, is := range i.paths {
		if is {
			o.AddPath[(IPv4 + Family(f)).gobgp()] = gobgp.BGP_ADD_PATH_BOTH
		}
	}
	return []*gobgp.MarshallingOption{o}
}

// open is an OPEN message.
func open(as uint32, hold time.Duration, id netip.Addr, caps []gobgp.ParameterCapabilityInterface) ([]byte, error) {
	short := uint16(gobgp.AS_TRANS)
	if as <= 0xffff {
		short = uint16(as)
	}
	var params []gobgp.OptionParameterInterface
	if len(caps) > 0 {
		params = append(params, gobgp.NewOptionParameterCapability(caps))
	}
	msg, err := gobgp.NewBGPOpenMessage(short, uint16(hold/time.Second), id, params)
	if err != nil {
		return nil, err
	}
	return msg.Serialize()
}

// introduce tells the stations of a neighbour, and all that it has said in this session.
func (t *table) introduce(addr netip.Addr, i introduction) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.peers[addr]
	if n == nil || !n.live {
		return
	}
	n.introduced, n.told = i, n.session
	if !t.stations.Heeded() {
		return
	}
	for msg := range t.story([]*neighbour{n}) {
		t.stations.Send(msg)
	}
}

// dismiss tells the stations that a neighbour's session has ended, if they knew of it.
func (t *table) dismiss(addr netip.Addr, why bmp.Reason, data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.peers[addr]; n != nil {
		t.takeLeave(n, why, data)
	}
}

func (t *table) takeLeave(n *neighbour, why bmp.Reason, data []byte) {
	if n.told == 0 {
		return
	}
	n.told = 0
	t.stations.Send(bmp.PeerDown(n.introduced.peer, time.Now(), why, data))
}

// retell tells the stations what a neighbour has just said.
func (t *table) retell(n *neighbour, u received) {
	if fam, ok := u.endOfRIB(); ok {
		n.ended[fam-IPv4] = n.session
	}
	if !t.stations.Heeded() || n.told == 0 || n.told != n.session {
		return
	}
	if b, err := u.serialize(n.introduced.options()...); err == nil { // it was read from bytes
		t.stations.Send(bmp.RouteMonitoring(n.introduced.peer, time.Now(), b))
	}
}

// endOfRIB tells whether an UPDATE is the End-of-RIB of a family (RFC 4724 section 2).
func (u received) endOfRIB() (Family, bool) {
	if len(u.withdrawn)+len(u.unreached)+len(u.announced)+len(u.reached) > 0 || len(u.attrs) > 1 {
		return 0, false
	}
	if len(u.attrs) == 0 {
		return IPv4, true
	}
	m, ok := u.attrs[0].(*gobgp.PathAttributeMpUnreachNLRI)
	if !ok {
		return 0, false
	}
	return familyFrom(gobgp.NewFamily(m.AFI, m.SAFI))
}

func (u received) serialize(o ...*gobgp.MarshallingOption) ([]byte, error) {
	attrs := u.attrs
	if attrs == nil && len(u.unreached) > 0 { // it is malformed, and taken as a withdrawal
		m, err := gobgp.NewPathAttributeMpUnreachNLRI(gobgp.RF_IPv6_UC, u.unreached)
		if err != nil {
			return nil, err
		}
		attrs = []gobgp.PathAttributeInterface{m}
	}
	return gobgp.NewBGPUpdateMessage(u.withdrawn, attrs, u.announced).Serialize(o...)
}

// Dump is for the stations: see bmp.Source.
func (t *table) Dump(follow func()) iter.Seq[[]byte] {
	t.mu.Lock()
	defer t.mu.Unlock()
	var up []*neighbour
	for _, n := range t.peers {
		if n.live && n.told == n.session && n.told != 0 {
			up = append(up, n)
		}
	}
	slices.SortFunc(up, func(a, b *neighbour) int { return a.addr.Compare(b.addr) })
	follow()
	return t.story(up)
}

// Numbers is for the stations: see bmp.Source.
func (t *table) Numbers() [][]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out [][]byte
	for _, n := range t.peers {
		if n.told == 0 {
			continue
		}
		out = append(out, bmp.Statistics(n.introduced.peer, time.Now(), []bmp.Stat{
			{Type: bmp.StatRoutesIn, Value: uint64(n.received[0] + n.received[1])},
			{Type: bmp.StatFamilyRoutesIn, AFI: 1, SAFI: 1, Value: uint64(n.received[0])},
			{Type: bmp.StatFamilyRoutesIn, AFI: 2, SAFI: 1, Value: uint64(n.received[1])},
			{Type: bmp.StatTreatedAsWithdraw, Value: uint64(n.malformed)},
		}))
	}
	return out
}

// parted is how a session that was up has ended, as stations are told it.
func (x *session) parted() (bmp.Reason, []byte) {
	switch {
	case x.silent:
		return bmp.ReasonNotificationSent, notification(gobgp.BGP_ERROR_HOLD_TIMER_EXPIRED, 0, nil)
	case x.ending.why == ReasonNotificationReceived:
		return bmp.ReasonNotificationReceived, x.parting
	case x.ending.why == ReasonNotificationSent:
		return bmp.ReasonNotificationSent, x.parting
	case x.reason == ReasonClosed || x.reason == ReasonRestarting:
		return bmp.ReasonClosedThere, nil
	}
	return closedHere()
}

// closedHere is that of a session that we have ended: event 2 of RFC 4271 section 8.1.2, ManualStop.
func closedHere() (bmp.Reason, []byte) { return bmp.ReasonClosedHere, []byte{0, 2} }

// notification is a NOTIFICATION message.
func notification(code, subcode uint8, data []byte) []byte {
	b, err := gobgp.NewBGPNotificationMessage(code, subcode, data).Serialize()
	if err != nil {
		return nil
	}
	return b
}
