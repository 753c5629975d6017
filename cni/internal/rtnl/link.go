package rtnl

import (
	"encoding/binary"
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// Attributes that golang.org/x/sys/unix does not name.
const (
	vethInfoPeer       = 1 // VETH_INFO_PEER
	inetConf           = 1 // IFLA_INET_CONF
	inet6AddrGenMode   = 8 // IFLA_INET6_ADDR_GEN_MODE
	addrGenModeNone    = 1 // IN6_ADDR_GEN_MODE_NONE
	devconfForwarding  = 1 // IPV4_DEVCONF_FORWARDING
	devconfSendRedir   = 6 // IPV4_DEVCONF_SEND_REDIRECTS
	devconfRPFilter    = 8 // IPV4_DEVCONF_RP_FILTER
	operUp             = 6 // IF_OPER_UP (RFC 2863)
	extFilterSkipStats = 8 // RTEXT_FILTER_SKIP_STATS
)

// Link is a network interface as the kernel describes it.
type Link struct {
	Index   int
	Name    string
	Kind    string // "veth"
	Up      bool   // administratively
	Running bool   // operationally: carrier seen, and acted upon by the kernel
	MTU     int
	MAC     net.HardwareAddr
	Alias   string
	Peer    int // ifindex of a veth's other end, in that end's namespace
	PeerNS  int // number of that namespace as seen from this one; -1: the same, or unknown
}

// Veth is a pair of links to be made.
type Veth struct {
	Name, Peer   string
	MAC, PeerMAC net.HardwareAddr
	PeerNS       int // file descriptor of the peer's namespace
	MTU          int // bytes, of both ends; 0: the kernel's default
}

// AddVeth makes a pair of links, both down. It fails with EEXIST where either name is taken.
func (c *Conn) AddVeth(v Veth) error {
	r := newRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, unix.AF_UNSPEC, unix.SizeofIfInfomsg)
	end := func(name string, mac net.HardwareAddr) {
		r.name(name)
		r.attr(unix.IFLA_ADDRESS, mac)
		if v.MTU > 0 {
			r.uint32(unix.IFLA_MTU, uint32(v.MTU))
		}
	}
	end(v.Name, v.MAC)
	r.nest(unix.IFLA_LINKINFO, func() {
		r.attr(unix.IFLA_INFO_KIND, []byte("veth"))
		r.nest(unix.IFLA_INFO_DATA, func() {
			r.nest(vethInfoPeer, func() {
				r.b = append(r.b, make([]byte, unix.SizeofIfInfomsg)...)
				end(v.Peer, v.PeerMAC)
				r.uint32(unix.IFLA_NET_NS_FD, uint32(v.PeerNS))
			})
		})
	})
	_, err := c.do(r)
	return err
}

// Change is what SetLink alters; zero fields stay as they are.
type Change struct {
	Alias       string
	NoLinkLocal bool // no IPv6 link-local address by itself (IN6_ADDR_GEN_MODE_NONE)
	Router      bool // IPv4: forward, leave the reverse path to the packet filter, send no redirects
	Up, Down    bool
}

// SetLink alters a link, in the order: alias, up or down, then the rest.
func (c *Conn) SetLink(index int, ch Change) error {
	r := newRequest(unix.RTM_SETLINK, 0, unix.AF_UNSPEC, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(r.fixed()[4:], uint32(index))
	if ch.Up || ch.Down {
		binary.NativeEndian.PutUint32(r.fixed()[12:], unix.IFF_UP) // ifi_change
	}
	if ch.Up {
		binary.NativeEndian.PutUint32(r.fixed()[8:], unix.IFF_UP) // ifi_flags
	}
	if ch.Alias != "" {
		r.attr(unix.IFLA_IFALIAS, []byte(ch.Alias)) // not zero-terminated: 255 bytes are for the text
	}
	if ch.NoLinkLocal || ch.Router {
		r.nest(unix.IFLA_AF_SPEC, func() {
			if ch.Router {
				r.nest(unix.AF_INET, func() {
					r.nest(inetConf, func() {
						r.uint32(devconfForwarding, 1)
						r.uint32(devconfRPFilter, 0)
						r.uint32(devconfSendRedir, 0)
					})
				})
			}
			if ch.NoLinkLocal {
				r.nest(unix.AF_INET6, func() { r.uint8(inet6AddrGenMode, addrGenModeNone) })
			}
		})
	}
	_, err := c.do(r)
	return err
}

// LinkByName finds a link; the error is ENODEV where there is none.
func (c *Conn) LinkByName(name string) (Link, error) {
	r := newRequest(unix.RTM_GETLINK, 0, unix.AF_UNSPEC, unix.SizeofIfInfomsg)
	r.uint32(unix.IFLA_EXT_MASK, extFilterSkipStats)
	r.name(name)
	return c.link(r)
}

// LinkByIndex finds a link; the error is ENODEV where there is none.
func (c *Conn) LinkByIndex(index int) (Link, error) {
	r := newRequest(unix.RTM_GETLINK, 0, unix.AF_UNSPEC, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(r.fixed()[4:], uint32(index))
	r.uint32(unix.IFLA_EXT_MASK, extFilterSkipStats)
	return c.link(r)
}

func (c *Conn) link(r *request) (Link, error) {
	answers, err := c.do(r)
	if err != nil {
		return Link{}, err
	}
	for _, m := range answers {
		if l, ok := parseLink(m); ok {
			return l, nil
		}
	}
	return Link{}, errors.New("the kernel answered without a link")
}

// Links returns all links of the namespace.
func (c *Conn) Links() ([]Link, error) {
	r := newRequest(unix.RTM_GETLINK, 0, unix.AF_UNSPEC, unix.SizeofIfInfomsg)
	r.uint32(unix.IFLA_EXT_MASK, extFilterSkipStats)
	var links []Link
	err := c.dump(r, func() { links = links[:0] }, func(m message) {
		if l, ok := parseLink(m); ok {
			links = append(links, l)
		}
	})
	return links, err
}

// DeleteLink deletes a link, and a veth's other end with it. The kernel holds the caller for some 20 ms,
// long after both ends are out of sight.
func (c *Conn) DeleteLink(index int) error {
	r := newRequest(unix.RTM_DELLINK, 0, unix.AF_UNSPEC, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(r.fixed()[4:], uint32(index))
	_, err := c.do(r)
	return err
}

// DeleteLinkByName is DeleteLink for who knows only the name.
func (c *Conn) DeleteLinkByName(name string) error {
	r := newRequest(unix.RTM_DELLINK, 0, unix.AF_UNSPEC, unix.SizeofIfInfomsg)
	r.name(name)
	_, err := c.do(r)
	return err
}

// NSID returns the number that the socket's namespace has for the one that the file descriptor ns
// refers to; -1 where it has none.
func (c *Conn) NSID(ns int) (int, error) {
	r := newRequest(unix.RTM_GETNSID, 0, unix.AF_UNSPEC, 4)
	r.uint32(unix.NETNSA_FD, uint32(ns))
	answers, err := c.do(r)
	if err != nil {
		return -1, err
	}
	for _, m := range answers {
		if len(m.data) < 4 {
			continue
		}
		for typ, v := range attributes(m.data[4:]) {
			if typ == unix.NETNSA_NSID {
				return int(int32(uint32Of(v))), nil
			}
		}
	}
	return -1, nil
}

func parseLink(m message) (Link, bool) {
	if m.typ != unix.RTM_NEWLINK && m.typ != unix.RTM_DELLINK || len(m.data) < unix.SizeofIfInfomsg {
		return Link{}, false
	}
	l := Link{
		Index:  int(int32(binary.NativeEndian.Uint32(m.data[4:]))),
		Up:     binary.NativeEndian.Uint32(m.data[8:])&unix.IFF_UP != 0,
		PeerNS: -1,
	}
	for typ, v := range attributes(m.data[unix.SizeofIfInfomsg:]) {
		switch typ {
		case unix.IFLA_IFNAME:
			l.Name = cstring(v)
		case unix.IFLA_IFALIAS:
			l.Alias = cstring(v)
		case unix.IFLA_MTU:
			l.MTU = int(uint32Of(v))
		case unix.IFLA_ADDRESS:
			l.MAC = append(net.HardwareAddr(nil), v...)
		case unix.IFLA_OPERSTATE:
			l.Running = len(v) > 0 && v[0] == operUp
		case unix.IFLA_LINK:
			l.Peer = int(int32(uint32Of(v)))
		case unix.IFLA_LINK_NETNSID:
			l.PeerNS = int(int32(uint32Of(v)))
		case unix.IFLA_LINKINFO:
			for typ, v := range attributes(v) {
				if typ == unix.IFLA_INFO_KIND {
					l.Kind = cstring(v)
				}
			}
		}
	}
	return l, true
}
