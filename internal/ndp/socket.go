package ndp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket is a raw ICMPv6 socket.
type socket struct {
	*os.File
	raw syscall.RawConn
}

// message is what came.
type message struct {
	from netip.Addr
	link int
	hops int
	text []byte
}

// open opens the socket; it hears only what rank understands.
func open() (*socket, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMPV6)
	if err != nil {
		return nil, fmt.Errorf("open a raw ICMPv6 socket: %w", err)
	}
	var filter unix.ICMPv6Filter
	for i := range filter.Data {
		filter.Data[i] = ^uint32(0) // RFC 3542 section 3.2: a bit blocks a type
	}
	for _, typ := range []int{routerAdvertisement, routerSolicitation, echoReply} {
		filter.Data[typ>>5] &^= 1 << (typ & 31)
	}
	err = unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &filter)
	for opt, value := range map[int]int{
		unix.IPV6_MULTICAST_HOPS: hopLimit, unix.IPV6_UNICAST_HOPS: hopLimit, unix.IPV6_MULTICAST_LOOP: 0,
		unix.IPV6_RECVPKTINFO: 1, unix.IPV6_RECVHOPLIMIT: 1,
	} {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, opt, value)
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("set up a raw ICMPv6 socket: %w", err)
	}
	s := &socket{File: os.NewFile(uintptr(fd), "icmpv6")}
	if s.raw, err = s.SyscallConn(); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// join makes the host listen to what is sent to all routers on a link; the host leaves it with the socket, or the link.
func (s *socket) join(link int) {
	_ = s.raw.Control(func(fd uintptr) {
		m := &unix.IPv6Mreq{Multiaddr: allRouters().As16(), Interface: uint32(link)}
		_ = unix.SetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, m) // it may be a member already
	})
}

// send sends a message on a link.
func (s *socket) send(link int, to netip.Addr, text []byte) error {
	s.join(link)
	var err error
	dst := &unix.SockaddrInet6{Addr: to.As16(), ZoneId: uint32(link)}
	if e := s.raw.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), text, 0, dst)
		return err != unix.EAGAIN
	}); e != nil {
		return e
	}
	return err
}

// receive waits for a message; its text lies in buf.
func (s *socket) receive(buf []byte) (m message, err error) {
	oob := make([]byte, 128)
	var n, oobn int
	var from unix.Sockaddr
	if e := s.raw.Read(func(fd uintptr) bool {
		n, oobn, _, from, err = unix.Recvmsg(int(fd), buf, oob, 0)
		return err != unix.EAGAIN && err != unix.EINTR
	}); e != nil {
		return m, e
	}
	if err != nil {
		return m, err
	}
	if a, ok := from.(*unix.SockaddrInet6); ok {
		m.from = netip.AddrFrom16(a.Addr)
	}
	m.text = buf[:n]
	controls, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return m, err
	}
	for _, c := range controls {
		switch {
		case c.Header.Level != unix.IPPROTO_IPV6:
		case c.Header.Type == unix.IPV6_PKTINFO && len(c.Data) >= unix.SizeofInet6Pktinfo:
			m.link = int(native(c.Data[16:]))
		case c.Header.Type == unix.IPV6_HOPLIMIT && len(c.Data) >= 4:
			m.hops = int(native(c.Data))
		}
	}
	return m, nil
}

// native is a number as the host writes it.
func native(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
