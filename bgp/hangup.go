package bgp

import (
	"net/netip"
	"os"
	"slices"
	"strconv"

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

// connections finds the sockets of the sessions; nil where /proc is missing.
func connections(c Config) []connection {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	var out []connection
	for _, e := range fds {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// A duplicate stays the same socket even if the original is closed and its number given out again.
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if peer, ok := sessionOf(dup, c); ok {
			out = append(out, connection{fd: dup, peer: peer})
		} else {
			_ = unix.Close(dup)
		}
	}
	return out
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
