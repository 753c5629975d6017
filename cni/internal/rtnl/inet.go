package rtnl

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// AddAddress gives a link an address. There is no duplicate address detection (RFC 4862 section 5.4 is
// for shared links; IFA_F_NODAD) and no route for a prefix longer than the address itself.
func (c *Conn) AddAddress(link int, p netip.Prefix) error {
	r := newRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, family(p.Addr()), unix.SizeofIfAddrmsg)
	r.fixed()[1] = uint8(p.Bits())
	if p.Addr().IsLinkLocalUnicast() {
		r.fixed()[3] = unix.RT_SCOPE_LINK
	}
	binary.NativeEndian.PutUint32(r.fixed()[4:], uint32(link))
	r.addr(unix.IFA_LOCAL, p.Addr())
	r.addr(unix.IFA_ADDRESS, p.Addr())
	if p.Addr().Is6() {
		r.uint32(unix.IFA_FLAGS, unix.IFA_F_NODAD)
	}
	_, err := c.do(r)
	return err
}

// SetNeighbour makes a permanent neighbour entry, or alters the one there is.
func (c *Conn) SetNeighbour(link int, a netip.Addr, mac net.HardwareAddr) error {
	r := newRequest(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, family(a), unix.SizeofNdMsg)
	binary.NativeEndian.PutUint32(r.fixed()[4:], uint32(link))
	binary.NativeEndian.PutUint16(r.fixed()[8:], unix.NUD_PERMANENT)
	r.addr(unix.NDA_DST, a)
	r.attr(unix.NDA_LLADDR, mac)
	_, err := c.do(r)
	return err
}

// Local tells whether the namespace takes packets to an address as its own.
func (c *Conn) Local(a netip.Addr) (bool, error) {
	r := newRequest(unix.RTM_GETROUTE, 0, family(a), unix.SizeofRtMsg)
	r.fixed()[1] = uint8(a.BitLen())
	r.addr(unix.RTA_DST, a)
	answers, err := c.do(r)
	if err != nil {
		return false, err
	}
	for _, m := range answers {
		if len(m.data) >= unix.SizeofRtMsg && m.data[7] == unix.RTN_LOCAL {
			return true, nil
		}
	}
	return false, nil
}

// Route is a unicast route of the main table.
type Route struct {
	Dst      netip.Prefix
	Gateway  netip.Addr // zero: directly on the link (scope link)
	Link     int
	Metric   int // 0: the kernel's default
	Protocol uint8
}

// AddRoute adds a route; EEXIST where one of the same destination and metric exists. A gateway counts
// as on the link, whatever addresses the link has.
func (c *Conn) AddRoute(rt Route) error {
	r := newRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, family(rt.Dst.Addr()), unix.SizeofRtMsg)
	f := r.fixed()
	f[1] = uint8(rt.Dst.Bits())
	f[4] = unix.RT_TABLE_MAIN
	f[5] = rt.Protocol
	f[6] = unix.RT_SCOPE_LINK
	f[7] = unix.RTN_UNICAST
	if rt.Gateway.IsValid() {
		f[6] = unix.RT_SCOPE_UNIVERSE
		binary.NativeEndian.PutUint32(f[8:], unix.RTNH_F_ONLINK)
	}
	if rt.Dst.Bits() > 0 {
		r.addr(unix.RTA_DST, rt.Dst.Addr())
	}
	if rt.Gateway.IsValid() {
		r.addr(unix.RTA_GATEWAY, rt.Gateway)
	}
	if rt.Metric > 0 {
		r.uint32(unix.RTA_PRIORITY, uint32(rt.Metric))
	}
	r.uint32(unix.RTA_OIF, uint32(rt.Link))
	_, err := c.do(r)
	return err
}

// Addresses returns the addresses of a link, with the length of their prefixes.
func (c *Conn) Addresses(link int) ([]netip.Prefix, error) {
	r := newRequest(unix.RTM_GETADDR, 0, unix.AF_UNSPEC, unix.SizeofIfAddrmsg)
	binary.NativeEndian.PutUint32(r.fixed()[4:], uint32(link))
	var found []netip.Prefix
	err := c.dump(r, func() { found = found[:0] }, func(m message) {
		if m.typ != unix.RTM_NEWADDR || len(m.data) < unix.SizeofIfAddrmsg {
			return
		}
		if int(binary.NativeEndian.Uint32(m.data[4:])) != link {
			return
		}
		var local, addr netip.Addr
		for typ, v := range attributes(m.data[unix.SizeofIfAddrmsg:]) {
			switch typ {
			case unix.IFA_LOCAL:
				local = addrOf(v)
			case unix.IFA_ADDRESS:
				addr = addrOf(v)
			}
		}
		if !local.IsValid() {
			local = addr
		}
		found = append(found, netip.PrefixFrom(local, int(m.data[1])))
	})
	return found, err
}

// Neighbour is a permanent neighbour entry.
type Neighbour struct {
	Addr netip.Addr
	MAC  net.HardwareAddr
}

// Neighbours returns the permanent neighbour entries of a link.
func (c *Conn) Neighbours(link int) ([]Neighbour, error) {
	r := newRequest(unix.RTM_GETNEIGH, 0, unix.AF_UNSPEC, unix.SizeofNdMsg)
	r.uint32(unix.NDA_IFINDEX, uint32(link))
	var found []Neighbour
	err := c.dump(r, func() { found = found[:0] }, func(m message) {
		if m.typ != unix.RTM_NEWNEIGH || len(m.data) < unix.SizeofNdMsg {
			return
		}
		state := binary.NativeEndian.Uint16(m.data[8:])
		if int(binary.NativeEndian.Uint32(m.data[4:])) != link || state&unix.NUD_PERMANENT == 0 {
			return
		}
		var n Neighbour
		for typ, v := range attributes(m.data[unix.SizeofNdMsg:]) {
			switch typ {
			case unix.NDA_DST:
				n.Addr = addrOf(v)
			case unix.NDA_LLADDR:
				n.MAC = append(net.HardwareAddr(nil), v...)
			}
		}
		found = append(found, n)
	})
	return found, err
}

// Routes returns the main table's unicast routes over a link.
func (c *Conn) Routes(link int) ([]Route, error) {
	r := newRequest(unix.RTM_GETROUTE, 0, unix.AF_UNSPEC, unix.SizeofRtMsg)
	r.uint32(unix.RTA_OIF, uint32(link))
	var found []Route
	err := c.dump(r, func() { found = found[:0] }, func(m message) {
		if rt, ok := parseRoute(m); ok && rt.Link == link {
			found = append(found, rt)
		}
	})
	return found, err
}

func parseRoute(m message) (Route, bool) {
	if m.typ != unix.RTM_NEWROUTE && m.typ != unix.RTM_DELROUTE || len(m.data) < unix.SizeofRtMsg {
		return Route{}, false
	}
	if m.data[4] != unix.RT_TABLE_MAIN || m.data[7] != unix.RTN_UNICAST {
		return Route{}, false
	}
	rt := Route{Protocol: m.data[5]}
	dst := netip.IPv6Unspecified()
	if m.data[0] == unix.AF_INET {
		dst = netip.IPv4Unspecified()
	}
	for typ, v := range attributes(m.data[unix.SizeofRtMsg:]) {
		switch typ {
		case unix.RTA_DST:
			dst = addrOf(v)
		case unix.RTA_GATEWAY:
			rt.Gateway = addrOf(v)
		case unix.RTA_OIF:
			rt.Link = int(uint32Of(v))
		case unix.RTA_PRIORITY:
			rt.Metric = int(uint32Of(v))
		}
	}
	rt.Dst = netip.PrefixFrom(dst, int(m.data[1]))
	return rt, true
}
