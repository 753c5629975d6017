package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/osrg/gobgp/v4/api"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
)

// tellTime bounds how long other events wait for a neighbour to be told.
const tellTime = 200 * time.Millisecond

// This file is about gobgp's silence after a restart. It holds back all that it would send until every neighbour has
// sent End-of-RIB (RFC 4724 section 4.1), for a Config.Deferral at most. Neighbours hold our routes as stale for as long, and drop
// them if the session is lost once more (section 4.2). See docs/adr/0022.

// outlasted are the families of a neighbour in which this is a restart whose forwarding state is still there.
func (s *Speaker) outlasted(c Config, p Peer) []Family {
	if !p.GracefulRestart || !c.Restarting || time.Since(time.Unix(0, s.began.Load())) >= c.Deferral {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(p.families()), func(f Family) bool { return slices.Contains(c.Flushed, f) })
}

// enter notes how a neighbour is made known to gobgp. After a restart it may hold our routes back for a time when the session is up.
func (s *sessions) enter(p Peer, kept []Family, deferral time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byAddr[p.Address]
	if x == nil {
		return
	}
	if len(kept) > 0 {
		x.deferral = deferral
	}
	x.partial = len(kept) > 0 && len(kept) < len(p.families())
}

// renew has gobgp forget what it knows of a neighbour that is away; what is kept of it stays. It is for one that was not offered graceful
// restart for all families, as the forwarding state of some had been lost, and for calls that went wrong: see misdialled.
func (s *Speaker) renew(ctx context.Context, p Peer) error {
	if s.sessions.isUp(p.Address) {
		return nil
	}
	s.tidyUp(p)
	if err := s.srv.DeletePeer(ctx, &api.DeletePeerRequest{Address: p.Address.String()}); err != nil {
		return fmt.Errorf("replace neighbour %v: %w", p.Address, err)
	}
	return s.enter(ctx, s.now, p, s.outlasted(s.now, p))
}

// heldBack is until when what gobgp holds back from a neighbour may not be sent; zero: it may. Who passes on what others
// say must have heard them first. Who does not has nothing to wait for: its own paths do not depend on what it hears.
func (s *sessions) heldBack(peer netip.Addr) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byAddr[peer]
	if x == nil || !s.resend || x.deferral == 0 || x.state != gobgp.BGP_FSM_ESTABLISHED {
		return time.Time{}
	}
	if until := x.since.Add(x.deferral); time.Now().Before(until) {
		return until
	}
	x.deferral = 0
	return time.Time{}
}

// silentTo are the established neighbours from which gobgp holds back what changes, although they have been told our paths.
func (s *sessions) silentTo() []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []netip.Addr
	for addr, x := range s.byAddr {
		if !s.resend && x.state == gobgp.BGP_FSM_ESTABLISHED && x.deferral > 0 && time.Since(x.since) < x.deferral {
			out = append(out, addr)
		}
	}
	return out
}

// tellFirst tells a neighbour our own paths as soon as its session is up, before anything else is made of that. gobgp says that a
// session is up a moment before it takes it for established, so this is repeated until all has been sent.
func (s *Speaker) tellFirst(ctx context.Context, srv *server.BgpServer, peer netip.Addr) {
	told := s.sessions.untold(peer)
	if told == nil {
		return
	}
	for patience := time.Millisecond; patience < tellTime; patience *= 2 {
		if err := srv.ResetPeer(ctx, &api.ResetPeerRequest{Address: peer.String(), Soft: true, Direction: api.ResetPeerRequest_DIRECTION_OUT}); err != nil {
			break
		}
		select {
		case <-told:
			return
		case <-time.After(patience):
		case <-ctx.Done():
			return
		}
	}
	s.agenda.set(peer, tell, time.Now())
}

// untold is the channel that says that a neighbour has been told something; nil: gobgp tells it without being asked.
func (s *sessions) untold(peer netip.Addr) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byAddr[peer]
	if x == nil || s.resend || x.deferral == 0 || x.barred {
		return nil
	}
	x.told, x.untold = make(chan struct{}), slices.Clone(x.peer.families())
	return x.told
}

// said notes that an UPDATE was sent to a neighbour: End-of-RIB follows the last path of its family.
func (s *sessions) said(peer netip.Addr, r slog.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byAddr[peer]
	if x == nil || x.told == nil {
		return
	}
	fam, ok := updateOf(r).endOfRIB()
	if !ok {
		return
	}
	x.untold = slices.DeleteFunc(x.untold, func(f Family) bool { return f == fam })
	if len(x.untold) == 0 {
		close(x.told)
		x.told = nil
	}
}

// withdrawFirst takes back the paths that are about to go from neighbours to which gobgp is silent: it would not tell them
// later, either, because a path that is gone is nowhere to be found. The policy rejects them by now.
func (s *Speaker) withdrawFirst(ctx context.Context, c Config) []error {
	wanted := prefixes(c.Paths)
	stays := func(p Path) bool { _, ok := wanted[p.Prefix]; return ok }
	if !slices.ContainsFunc(s.now.Paths, func(p Path) bool { return !stays(p) }) {
		return nil
	}
	var errs []error
	silent := s.sessions.silentTo()
	for _, p := range s.now.Peers {
		if slices.Contains(silent, p.Address) {
			if err := s.soft(ctx, p.Address, api.ResetPeerRequest_DIRECTION_OUT); err != nil {
				errs = append(errs, &PeerError{Peer: p.Name, Err: err})
			}
		}
	}
	return errs
}
