package bgp

import (
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// hangUp shuts down every TCP connection with a neighbour at once. gobgp does not hand out its sockets, so
// they are found among the file descriptors of the process by their ends: a peer's address, and the BGP
// port of either side.
func hangUp(c Config) {
	peers := map[netip.Addr]int{}
	for _, p := range c.Peers {
		peers[p.Address.WithZone("")] = p.Port
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return // the sessions end one after the other
	}
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
		if isSession(dup, c.ListenPort, peers) {
			_ = unix.Shutdown(dup, unix.SHUT_RDWR)
		}
		_ = unix.Close(dup)
	}
}

func isSession(fd, listenPort int, peers map[netip.Addr]int) bool {
	remote, rport, ok := endpoint(unix.Getpeername(fd))
	if !ok {
		return false
	}
	port, ok := peers[remote]
	if !ok {
		return false
	}
	_, lport, ok := endpoint(unix.Getsockname(fd))
	return ok && (rport == port || lport == listenPort)
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
