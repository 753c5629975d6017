package bfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	portSingle = 3784 // RFC 5881 section 4
	portMulti  = 4784 // RFC 5883 section 5

	// Source ports are 49152 to 65535 (RFC 5881 section 4).
	sourceLowest, sourceCount = 49152, 1 << 14
	sourceTries               = 64

	maxTTL = 255
	// control is the class of routing protocols' packets: DSCP CS6, and the matching priority in our own queues.
	control, priority = 0xc0, 6
)

// datagram is what was received.
type datagram struct {
	from netip.Addr // without a zone
	to   netip.Addr
	link int // index of the link that it came over
	ttl  int
	at   time.Time // when the kernel received it
	body []byte
}

// option is a socket option with a value of 1 or more.
type option struct{ level, name, value int }

func open(is4 bool, options ...option) (int, error) {
	family := unix.AF_INET6
	if is4 {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open a UDP socket: %w", err)
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("set option %d/%d of a UDP socket: %w", o.level, o.name, err)
		}
	}
	return fd, nil
}

// listen opens the socket that receives one family's packets to a port.
func listen(is4 bool, port int) (int, error) {
	options := []option{{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1}}
	if is4 {
		options = append(options, option{unix.IPPROTO_IP, unix.IP_RECVTTL, 1}, option{unix.IPPROTO_IP, unix.IP_PKTINFO, 1})
	} else {
		options = append(options, option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1},
			option{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1}, option{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1})
	}
	fd, err := open(is4, options...)
	if err != nil {
		return -1, err
	}
	var everybody unix.Sockaddr = &unix.SockaddrInet6{Port: port}
	if is4 {
		everybody = &unix.SockaddrInet4{Port: port}
	}
	if err := unix.Bind(fd, everybody); err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			err = fmt.Errorf("%w: stop the other BFD daemon of this node", err)
		}
		return -1, fmt.Errorf("receive on UDP port %d: %w", port, err)
	}
	return fd, nil
}

// dial opens the socket that sends to a neighbour, from a port of its own.
func dial(p Peer) (int, error) {
	options := []option{{unix.SOL_SOCKET, unix.SO_PRIORITY, priority}}
	if p.Address.Is4() {
		options = append(options, option{unix.IPPROTO_IP, unix.IP_TTL, maxTTL}, option{unix.IPPROTO_IP, unix.IP_TOS, control})
	} else {
		options = append(options, option{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, maxTTL}, option{unix.IPPROTO_IPV6, unix.IPV6_TCLASS, control})
	}
	port := portMulti
	if !p.Multihop {
		port = portSingle
		options = append(options, option{unix.SOL_SOCKET, unix.SO_DONTROUTE, 1}) // not by way of a gateway, should the link be gone
	}
	zone, err := zoneOf(p.Address)
	if err != nil {
		return -1, err
	}
	fd, err := open(p.Address.Is4(), options...)
	if err != nil {
		return -1, err
	}
	local := p.Local
	if !local.IsValid() {
		local = netip.IPv6Unspecified()
		if p.Address.Is4() {
			local = netip.IPv4Unspecified()
		}
	}
	for range sourceTries {
		if err = unix.Bind(fd, sockaddr(local, sourceLowest+rand.IntN(sourceCount), zone)); !errors.Is(err, unix.EADDRINUSE) { //nolint:gosec // no secret
			break
		}
	}
	if err == nil {
		err = unix.Connect(fd, sockaddr(p.Address, port, zone))
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("send to %v: %w", p.Address, err)
	}
	return fd, nil
}

// zoneOf is the index of the link that an address is of; 0 without a zone.
func zoneOf(a netip.Addr) (int, error) {
	if a.Zone() == "" {
		return 0, nil
	}
	l, err := net.InterfaceByName(a.Zone())
	if err != nil {
		return 0, fmt.Errorf("find the link of %v: %w", a, err)
	}
	return l.Index, nil
}

func sockaddr(a netip.Addr, port, zone int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	if !a.IsLinkLocalUnicast() {
		zone = 0
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: port, ZoneId: uint32(zone)}
}

// receive reads one datagram into b; false: there is none.
func receive(fd int, b, oob []byte, now time.Time) (d datagram, ok bool, err error) {
	n, oobn, _, from, err := unix.Recvmsg(fd, b, oob, unix.MSG_DONTWAIT)
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return d, false, nil
	case err != nil:
		return d, false, fmt.Errorf("receive: %w", err)
	}
	d.body, d.at = b[:n], now
	switch from := from.(type) {
	case *unix.SockaddrInet4:
		d.from = netip.AddrFrom4(from.Addr)
	case *unix.SockaddrInet6:
		d.from = netip.AddrFrom16(from.Addr)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return d, true, fmt.Errorf("read a datagram's control messages: %w", err)
	}
	for _, m := range messages {
		d.control(m, now)
	}
	return d, true, nil
}

// control takes in a control message: TTL, link and addressee, time of receipt.
func (d *datagram) control(m unix.SocketControlMessage, now time.Time) {
	key := [2]int32{m.Header.Level, m.Header.Type}
	switch {
	case (key == [2]int32{unix.IPPROTO_IP, unix.IP_TTL} || key == [2]int32{unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT}) && len(m.Data) >= 4:
		d.ttl = int(binary.NativeEndian.Uint32(m.Data))
	case key == [2]int32{unix.IPPROTO_IP, unix.IP_PKTINFO} && len(m.Data) >= unix.SizeofInet4Pktinfo:
		d.link = int(binary.NativeEndian.Uint32(m.Data))
		d.to = netip.AddrFrom4([4]byte(m.Data[8:12]))
	case key == [2]int32{unix.IPPROTO_IPV6, unix.IPV6_PKTINFO} && len(m.Data) >= unix.SizeofInet6Pktinfo:
		d.to = netip.AddrFrom16([16]byte(m.Data[:16]))
		d.link = int(binary.NativeEndian.Uint32(m.Data[16:]))
	case key == [2]int32{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS} && len(m.Data) >= 16:
		stamp := time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		// The stamp is of the wall clock. Only its age is of use, and only while nobody has set the clock.
		if age := now.Round(0).Sub(stamp); age > 0 {
			d.at = now.Add(-age)
		}
	}
}
