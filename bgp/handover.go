package bgp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/osrg/gobgp/v4/api"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// handOverTime bounds the wait for gobgp to notice that a connection was closed.
const handOverTime = 2 * time.Second

// mayHandOver says whether a neighbour's new session may take over the routes of the one before: both keep them, and
// it is the same neighbour that it was. The neighbour may have come first, and ended the session for a change of its own.
func (s *Speaker) mayHandOver(c Config, old, p Peer) bool {
	return old.GracefulRestart && p.GracefulRestart && old.AS == p.AS && old.External == p.External &&
		old.localAS(s.now) == p.localAS(c) && s.sessions.graceful()[p.Address] && (s.sessions.isUp(p.Address) || s.sessions.isStale(p.Address))
}

// handOver takes a new session for settings that have changed, as after a restart (RFC 4724): the connection closes
// without a NOTIFICATION, the neighbour keeps our routes and we keep its own until the new session's End-of-RIB. The
// new OPEN says that we have restarted and kept forwarding, or the neighbour would drop what it has kept.
func (s *Speaker) handOver(ctx context.Context, c Config, old, p Peer) error {
	before, wasUp := s.now, s.sessions.isUp(p.Address)
	before.Peers = []Peer{old}
	hangUp(before, nil)
	s.awaitDown(ctx, p.Address)
	err := s.drop(ctx, old, old.Password != p.Password)
	s.awaitDown(ctx, p.Address)
	if wasUp {
		s.sessions.hand(p.Address)
	}
	s.agenda.set(p.Address, endStale, time.Now().Add(p.RestartTime))
	return errors.Join(err, s.enter(ctx, c, p, p.families()))
}

// awaitDown waits until gobgp has told that a session is down.
func (s *Speaker) awaitDown(ctx context.Context, peer netip.Addr) {
	patience := time.After(handOverTime)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.sessions.isUp(peer) {
		select {
		case <-tick.C:
		case <-patience:
			return
		case <-ctx.Done():
			return
		}
	}
}

// hand notes that a session was ended to be taken anew.
func (s *sessions) hand(peer netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.byAddr[peer]; x != nil {
		x.handed = true
		x.reason, x.text = ReasonReconfigured, "its settings have changed"
	}
}

// isStale says whether routes of a neighbour are kept that is away.
func (s *sessions) isStale(peer netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byAddr[peer]
	return x != nil && x.stale
}

// isUp says whether a session is established.
func (s *sessions) isUp(peer netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byAddr[peer]
	return x != nil && x.state == gobgp.BGP_FSM_ESTABLISHED
}

// giveUp ends the wait for a neighbour that was handed over and did not come back.
func (s *Speaker) giveUp(peer netip.Addr) {
	s.table.silence(peer)
	s.sessions.reset(peer, ReasonRestartExpired, "the neighbour did not take the new session within our restart time")
}

// heed is called where a neighbour is added to gobgp or removed: what gobgp has still to tell of it as it was is late.
func (s *Speaker) heed(peer netip.Addr) {
	now := time.Now()
	s.table.heed(peer, now)
	s.sessions.heed(peer, now)
}

// enter makes a neighbour known to gobgp, which dials it in 1.5 to 2 s unless it calls before. kept are the families in which
// forwarding has outlived a restart; none: there was no restart.
func (s *Speaker) enter(ctx context.Context, c Config, p Peer, kept []Family) error {
	s.sessions.enter(p, kept, c.Deferral+time.Second)
	s.heed(p.Address)
	if err := s.srv.AddPeer(ctx, &api.AddPeerRequest{Peer: peerOf(c, p, kept)}); err != nil {
		return fmt.Errorf("add neighbour %v: %w", p.Address, err)
	}
	s.inside[p.Address] = sessionKey(c, p)
	return nil
}
