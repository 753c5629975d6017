package bgp

import (
	"net/netip"
	"slices"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"golang.org/x/sys/unix"
)

// hardReset tells neighbours that keep routes over a NOTIFICATION to drop ours: Cease, Hard Reset, with the subcode of the Cease that
// it stands for (RFC 8538 section 3). It is written to their connections from here, since gobgp sends a plain Administrative Shutdown and leaves
// out what the Hard Reset is for. What gobgp sends after that, they do not read any more.
func (s *Speaker) hardReset(subcode byte, peers ...netip.Addr) {
	c := s.now
	c.Peers = nil
	for _, p := range s.now.Peers {
		for _, a := range peers {
			if p.Address == a && s.sessions.notified(a) {
				c.Peers = append(c.Peers, p)
			}
		}
	}
	if c.Peers == nil {
		return
	}
	text, err := gobgp.NewBGPNotificationMessage(gobgp.BGP_ERROR_CEASE, gobgp.BGP_ERROR_SUB_HARD_RESET, []byte{gobgp.BGP_ERROR_CEASE, subcode}).Serialize()
	if err != nil {
		s.log.Error("a Hard Reset cannot be written", "error", err)
		return
	}
	for _, x := range connections(c) {
		if n, err := unix.Write(x.fd, text); err != nil || n < len(text) {
			s.log.Warn("a neighbour was not told to drop our routes", "address", x.peer, "error", err)
		}
		_ = unix.Close(x.fd)
	}
}

// dismiss tells those that are no neighbours any more to drop our routes, while it is known what was agreed with them.
func (s *Speaker) dismiss(c Config) {
	for _, p := range s.now.Peers {
		if !slices.ContainsFunc(c.Peers, func(q Peer) bool { return q.Address == p.Address }) {
			s.hardReset(gobgp.BGP_ERROR_SUB_PEER_DECONFIGURED, p.Address)
		}
	}
}

// notified says whether a session is up whose ends keep routes over a NOTIFICATION.
func (s *sessions) notified(peer netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byAddr[peer]
	return x != nil && x.state == gobgp.BGP_FSM_ESTABLISHED && x.notifies
}
