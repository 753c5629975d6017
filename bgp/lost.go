package bgp

import (
	"context"
	"errors"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// lost says whether the session with a neighbour is one that BFD has since found dead. A session that is not
// established is none: a neighbour whose routes are kept while it restarts closed its connection first, and the
// loss of its BFD after that is part of the restart (RFC 5882 section 4.3.2).
func (s *sessions) lost(p Peer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byAddr[p.Address]
	return x != nil && x.state == gobgp.BGP_FSM_ESTABLISHED && x.since.Before(p.Lost)
}

// forsake ends the session with a neighbour that is dead: its routes leave first, and it is dialled anew.
func (s *Speaker) forsake(ctx context.Context, c Config, p Peer) error {
	s.sessions.flap(p.Address)
	s.table.silence(p.Address)
	err := s.remove(ctx, p, false)
	s.log.Warn("BGP session is down", "peer", p.Name, "address", p.Address, "reason", lostText, "routes kept", false)
	s.sessions.reset(p.Address, ReasonLost, lostText)
	return errors.Join(err, s.add(ctx, c, p))
}

const lostText = "BFD Down: the neighbour has fallen silent"
