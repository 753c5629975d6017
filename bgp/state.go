package bgp

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
)

// Peers returns the state of every peer of the last Set that was valid, sorted by name. The counts of
// advertised prefixes are up to ten seconds old where there are many.
func (s *Speaker) Peers(ctx context.Context) ([]PeerState, error) {
	srv, now, rules := s.running()
	if srv == nil {
		return nil, nil
	}
	counted, err := s.counter.count(ctx, srv, now, rules, s.table.size())
	if err != nil {
		return nil, fmt.Errorf("count BGP routes: %w", err)
	}
	states := s.sessions.states()
	byAddr := map[netip.Addr]*PeerState{}
	for i := range states {
		byAddr[states[i].Address] = &states[i]
		states[i].Settings.LocalAS = states[i].Settings.localAS(now)
	}
	err = srv.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) {
		addr, err := netip.ParseAddr(p.GetState().GetNeighborAddress())
		if err != nil {
			return
		}
		if st := byAddr[addr]; st != nil {
			st.count(p, s.table, counted[addr])
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list BGP neighbours: %w", err)
	}
	slices.SortFunc(states, func(a, b PeerState) int { return cmp.Compare(a.Name, b.Name) })
	return states, nil
}

// running is the gobgp that runs, and what it runs.
func (s *Speaker) running() (*server.BgpServer, Config, policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, Config{}, policy{}
	}
	return s.srv, s.now, s.rules
}

// states is what events have told of the sessions.
func (s *sessions) states() []PeerState {
	seen := s.drops.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]PeerState, 0, len(s.byAddr))
	for _, x := range s.byAddr {
		st := PeerState{
			Name: x.peer.Name, Address: x.peer.Address, AS: max(x.peer.AS, x.as), State: stateName(x.state), Since: x.since,
			Reason: x.reason, LastError: x.text, Flaps: x.flaps, LastDown: x.lost.text, LastDownAt: x.lost.at, Stale: x.stale, LastChoice: x.stale && x.lastChoice,
			Received: map[Family]int{}, Accepted: map[Family]int{}, Advertised: map[Family]int{},
			Settings: x.peer, Signed: x.peer.Password != "",
		}
		st.Settings.Password = ""
		if x.state == gobgp.BGP_FSM_ESTABLISHED {
			st.Families = slices.Clone(x.families)
			st.HoldTime = x.hold
			st.RouterID, st.Local = x.open.State.RouterID, x.open.Transport.LocalAddress
			if st.GracefulRestart = len(x.graceful) > 0; st.GracefulRestart {
				st.Restart = x.restart
			}
			st.Notifications, st.ReceivesPaths, st.SendsPaths = x.notifies, x.receives, x.sends
			for _, d := range x.longer {
				st.LongLived = max(st.LongLived, d)
			}
			received, _ := s.table.counts(x.peer.Address)
			st.Warnings = x.peer.warnings(received)
			if n, text := s.table.missed(x.peer.Address); n > 0 {
				st.Looping, st.Warnings = n, append(st.Warnings, text)
			}
			if text := x.damping.warning(time.Now()); text != "" {
				st.Warnings, st.HeldUntil = append(st.Warnings, text), x.damping.until
			}
		}
		if why, text := x.awaits(time.Now(), seen); why != ReasonNone {
			st.Reason, st.LastError = why, text
		}
		out = append(out, st)
	}
	return out
}

// stateName is a state by its name in RFC 4271 section 8.2.2.
func stateName(s gobgp.FSMState) string {
	switch s {
	case gobgp.BGP_FSM_CONNECT:
		return "Connect"
	case gobgp.BGP_FSM_ACTIVE:
		return "Active"
	case gobgp.BGP_FSM_OPENSENT:
		return "OpenSent"
	case gobgp.BGP_FSM_OPENCONFIRM:
		return "OpenConfirm"
	case gobgp.BGP_FSM_ESTABLISHED:
		return "Established"
	}
	return "Idle"
}

// count adds what was counted and negotiated.
func (st *PeerState) count(p *api.Peer, t *table, advertised map[Family]int) {
	if st.State != "Established" {
		return
	}
	timers := p.GetTimers().GetState()
	st.HoldTime = time.Duration(timers.GetNegotiatedHoldTime()) * time.Second
	st.Keepalive = time.Duration(timers.GetKeepaliveInterval()) * time.Second
	if a, err := netip.ParseAddr(p.GetTransport().GetLocalAddress()); err == nil {
		st.Local = a
	}
	received, accepted := t.counts(st.Address)
	for _, fam := range st.Families {
		st.Received[fam], st.Accepted[fam], st.Advertised[fam] = received[fam], accepted[fam], advertised[fam]
	}
}

// Advertised returns what the neighbours of established sessions are told, sorted by peer and prefix.
func (s *Speaker) Advertised(ctx context.Context) ([]AdvertisedRoute, error) {
	srv, now, _ := s.running()
	if srv == nil {
		return nil, nil
	}
	var out []AdvertisedRoute
	for _, p := range now.Peers {
		if p.Down {
			continue
		}
		for _, fam := range p.Families {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			req := apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_ADJ_OUT, Name: p.Address.String(), Family: fam.gobgp()}
			err := srv.ListPath(req, func(nlri gobgp.NLRI, paths []*apiutil.Path) {
				for _, path := range paths {
					if r, ok := advertised(p.Name, nlri, path); ok {
						out = append(out, r)
					}
				}
			})
			if err != nil {
				return nil, fmt.Errorf("list what BGP peer %s is told: %w", p.Name, err)
			}
		}
	}
	slices.SortFunc(out, func(a, b AdvertisedRoute) int {
		return cmp.Or(cmp.Compare(a.Peer, b.Peer), a.Prefix.Addr().Compare(b.Prefix.Addr()), a.Prefix.Bits()-b.Prefix.Bits())
	})
	return out, nil
}

func advertised(peer string, nlri gobgp.NLRI, p *apiutil.Path) (AdvertisedRoute, bool) {
	n, ok := nlri.(*gobgp.IPAddrPrefix)
	if !ok {
		return AdvertisedRoute{}, false
	}
	us := neighbour{addr: p.PeerAddress, internal: true} // what we say ourselves is taken as it stands
	r := AdvertisedRoute{Peer: peer, Prefix: n.Prefix, Attributes: *us.read(p.Attrs).attributes()}
	sent := func(a gobgp.PathAttributeInterface) bool { return a.GetType() == gobgp.BGP_ATTR_TYPE_LOCAL_PREF }
	if !slices.ContainsFunc(p.Attrs, sent) {
		r.LocalPref = nil
	}
	return r, true
}
