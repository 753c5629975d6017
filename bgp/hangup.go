package bgp

import (
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"golang.org/x/sys/unix"
)

// connection is a TCP connection of a BGP session, by a file descriptor of our own.
type connection struct {
	fd   int
	peer netip.Addr
}

// hangUp shuts down the TCP connections with all neighbours. gobgp does not hand out its sockets, so they
// are found among the file descriptors of the process by their ends: a peer's address, and the BGP port of
// either side.
//
// gobgp notices each loss within microseconds and tells the neighbours that are left. The loss of a graceful
// neighbour withdraws nothing, that of another does; so the graceful ones are hung up on first, and nobody
// who would keep our routes is left to hear of withdrawals.
func hangUp(c Config, graceful map[netip.Addr]bool) {
	conns := connections(c)
	for _, first := range []bool{true, false} {
		for _, x := range conns {
			if graceful[x.peer] == first {
				_ = unix.Shutdown(x.fd, unix.SHUT_RDWR)
			}
		}
	}
	for _, x := range conns {
		_ = unix.Close(x.fd)
	}
}

// tidyUp closes all connections with a neighbour that has no session and is getting none. When the two ends call one
// another at once and the answer to our call comes before the OPEN of theirs, gobgp takes the one and waits for the other to
// end, without a word. The neighbour may have chosen just that one (RFC 4271 section 6.8), and refuses others until its
// hold timer runs out. So a handshake that takes longer than stuck is ended, and after one that has failed nothing is left open.
func (s *Speaker) tidyUp(p Peer) {
	if s.sessions.isShaking(p.Address) {
		c := s.now
		c.Peers = []Peer{p}
		hangUp(c, nil)
	}
}

// misdialled is for a neighbour with which gobgp goes wrong when both call at once. It may keep its own call, of which the other has long been
// closed by the neighbour; find that out only after its rest of five seconds; and then call with two dialers, one of which it does not stop
// when a session is up. A router that takes a second call for a restart ends the session then (RFC 4724 section 4.2, as FRR does).
func (s *sessions) misdialled(x *session) {
	if x.state < gobgp.BGP_FSM_OPENSENT && !x.stale && !x.handed && !x.barred && !x.peer.Down {
		s.agenda.set(x.peer.Address, renew, time.Now())
	}
}

// isShaking says whether a session is between a call and its end, or gobgp rests after one.
func (s *sessions) isShaking(peer netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byAddr[peer]
	return x != nil && (x.state == gobgp.BGP_FSM_IDLE || x.state == gobgp.BGP_FSM_OPENSENT || x.state == gobgp.BGP_FSM_OPENCONFIRM)
}

// connections finds the sockets of the sessions; none where /proc is missing.
func connections(c Config) []connection {
	var out []connection
	eachDescriptor(func(fd int) (keep bool) {
		peer, ok := sessionOf(fd, c)
		if ok {
			out = append(out, connection{fd: fd, peer: peer})
		}
		return ok
	})
	return out
}

// eachDescriptor shows a duplicate of each file descriptor of this process, and closes those that are not kept: a
// duplicate stays the same socket even if the original is closed and its number given out again.
func eachDescriptor(show func(fd int) (keep bool)) {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range fds {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if !show(dup) {
			_ = unix.Close(dup)
		}
	}
}

// sessionOf is the neighbour at the other end of a socket, if it is a session's.
func sessionOf(fd int, c Config) (netip.Addr, bool) {
	remote, rport, ok := endpoint(unix.Getpeername(fd))
	if !ok {
		return netip.Addr{}, false
	}
	i := slices.IndexFunc(c.Peers, func(p Peer) bool { return p.Address.WithZone("") == remote })
	if i < 0 {
		return netip.Addr{}, false
	}
	_, lport, ok := endpoint(unix.Getsockname(fd))
	return c.Peers[i].Address, ok && (rport == c.Peers[i].Port || lport == c.ListenPort)
}

func endpoint(sa unix.Sockaddr, err error) (netip.Addr, int, bool) {
	if err != nil {
		return netip.Addr{}, 0, false
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr), sa.Port, true
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(sa.Addr).Unmap(), sa.Port, true
	}
	return netip.Addr{}, 0, false
}
