package routes

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	rtaNHID     = 30 // RTA_NH_ID of linux/rtnetlink.h
	sizeofNhmsg = 8  // struct nhmsg of linux/nexthop.h
	sizeofGrp   = 8  // struct nexthop_grp
)

// familyOf is the address family of an address or of what it is the prefix of.
func familyOf(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// routeHead starts a message about a route of ours.
func routeHead(w *writer, typ, flags uint16, dst netip.Prefix, kind, scope byte) {
	w.begin(typ, flags)
	w.raw(familyOf(dst.Addr()), byte(dst.Bits()), 0, 0, unix.RT_TABLE_MAIN, protocol, scope, kind, 0, 0, 0, 0)
	w.addr(unix.RTA_DST, dst.Addr())
	w.u32(unix.RTA_PRIORITY, metric)
}

// addRoute asks for a route that leads to a group, or whose next hops are written out.
func addRoute(w *writer, flags uint16, dst netip.Prefix, g *group) {
	kind, scope := routeKind(g)
	routeHead(w, unix.RTM_NEWROUTE, flags|unix.NLM_F_CREATE, dst, kind, scope)
	if g.set.src.IsValid() {
		w.addr(unix.RTA_PREFSRC, g.set.src)
	}
	routeTarget(w, dst, g)
	w.end()
}

// deleteRoute takes away this route of ours. Next hops that are written out are named to IPv6 only,
// where foreign ones may have joined them; IPv4 compares them in order, which we do not know of
// routes that we have adopted, and takes the first with our marks.
func deleteRoute(w *writer, dst netip.Prefix, g *group) {
	kind, _ := routeKind(g)
	routeHead(w, unix.RTM_DELROUTE, 0, dst, kind, unix.RT_SCOPE_NOWHERE)
	if g.id != 0 || dst.Addr().Is6() {
		routeTarget(w, dst, g)
	}
	w.end()
}

// routeKind is the type and the scope of a route to a group. A next hop without a router wants scope
// link where it is written out (IPv4); a nexthop object brings its own.
func routeKind(g *group) (kind, scope byte) {
	if g.id != 0 {
		return unix.RTN_UNICAST, unix.RT_SCOPE_UNIVERSE
	}
	if g.set.unreachable {
		return unix.RTN_UNREACHABLE, unix.RT_SCOPE_UNIVERSE
	}
	for _, m := range g.set.members {
		if m.addr.IsValid() {
			return unix.RTN_UNICAST, unix.RT_SCOPE_UNIVERSE
		}
	}
	return unix.RTN_UNICAST, unix.RT_SCOPE_LINK
}

func routeTarget(w *writer, dst netip.Prefix, g *group) {
	switch {
	case g.id != 0:
		w.u32(rtaNHID, g.id)
	case g.set.unreachable:
	case len(g.set.members) == 1:
		m := g.set.members[0]
		head := w.buf[w.at+unix.SizeofNlMsghdr:]
		native.PutUint32(head[unix.SizeofRtMsg-4:], uint32(m.flags()))
		writeHop(w, dst, m)
		w.u32(unix.RTA_OIF, uint32(m.link))
	default:
		all := w.nest(unix.RTA_MULTIPATH)
		for _, m := range g.set.members {
			at := len(w.buf)
			w.raw(0, 0, m.flags(), byte(m.weight-1)) // struct rtnexthop: length, flags, weight less one, link
			w.buf = native.AppendUint32(w.buf, uint32(m.link))
			writeHop(w, dst, m)
			native.PutUint16(w.buf[at:], uint16(len(w.buf)-at))
		}
		w.unnest(all)
	}
}

func writeHop(w *writer, dst netip.Prefix, m member) {
	switch {
	case !m.addr.IsValid():
	case m.addr.Is4() == dst.Addr().Is4():
		w.addr(unix.RTA_GATEWAY, m.addr)
	default:
		b := m.addr.As16()
		w.attr(unix.RTA_VIA, 2+len(b))
		w.buf = native.AppendUint16(w.buf, unix.AF_INET6)
		w.buf = append(w.buf, b[:]...)
		w.raw(0, 0) // to the next multiple of four
	}
}

// addHop asks for a nexthop object.
func addHop(w *writer, h *hop) {
	w.begin(unix.RTM_NEWNEXTHOP, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	w.raw(h.key.family, 0, protocol, 0)
	w.buf = native.AppendUint32(w.buf, uint32(h.key.flags()))
	w.u32(unix.NHA_ID, h.id)
	w.u32(unix.NHA_OIF, uint32(h.key.link))
	if h.key.addr.IsValid() {
		w.addr(unix.NHA_GATEWAY, h.key.addr)
	}
	w.end()
}

// putGroup asks for a group of c.live: NLM_F_CREATE|NLM_F_EXCL makes it, NLM_F_REPLACE changes it.
func putGroup(w *writer, c *change) {
	w.begin(unix.RTM_NEWNEXTHOP, c.flags)
	w.raw(unix.AF_UNSPEC, 0, protocol, 0, 0, 0, 0, 0)
	w.u32(unix.NHA_ID, c.group.id)
	w.attr(unix.NHA_GROUP, len(c.live)*sizeofGrp)
	for _, m := range c.live {
		w.buf = native.AppendUint32(w.buf, m.hop.id)
		w.raw(byte(m.weight-1), 0, 0, 0)
	}
	c.set.hashing.write(w)
	w.end()
}

// deleteObject takes away a nexthop object or a group.
func deleteObject(w *writer, id uint32) {
	w.begin(unix.RTM_DELNEXTHOP, 0)
	w.raw(make([]byte, sizeofNhmsg)...)
	w.u32(unix.NHA_ID, id)
	w.end()
}

// getRoutes asks for the main table of a family: one protocol's routes, or all where it is 0.
func getRoutes(w *writer, family, proto byte) {
	w.begin(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
	w.raw(family, 0, 0, 0, unix.RT_TABLE_MAIN, proto, 0, 0, 0, 0, 0, 0)
	w.u32(unix.RTA_TABLE, unix.RT_TABLE_MAIN)
	w.end()
}

func getObjects(w *writer) {
	w.begin(unix.RTM_GETNEXTHOP, unix.NLM_F_DUMP)
	w.raw(make([]byte, sizeofNhmsg)...)
	w.end()
}

// routeMessage is what a message about a route says.
type routeMessage struct {
	dst      netip.Prefix
	protocol byte
	kind     byte
	metric   uint32
	id       uint32 // of its nexthop object or group
	link     int    // where the message names one; 0 where it names several
	src      netip.Addr
	hops     []NextHop // written out, or as the kernel resolved the object; without those that wrap packets in others
	odd      bool      // has what we never ask for
	partial  bool      // for some packets only, by their type of service or source
}

// ours reports whether the route is one that Set may change.
func (r *routeMessage) ours() bool { return r.protocol == protocol && r.metric == metric }

// parseRoute reads a message about a route; false where it is not about the main table.
func parseRoute(body []byte, withHops bool) (routeMessage, bool) {
	var r routeMessage
	if len(body) < unix.SizeofRtMsg {
		return r, false
	}
	family, bits, table := body[0], int(body[1]), uint32(body[4])
	flags := u32(body[8:])
	r.protocol, r.kind, r.partial = body[5], body[7], body[2] != 0 || body[3] != 0 // the length of a source, a type of service
	addr := netip.IPv4Unspecified()
	if family == unix.AF_INET6 {
		addr = netip.IPv6Unspecified()
	}
	var router netip.Addr
	wrapped := false
	for typ, val := range attrs(body[unix.SizeofRtMsg:]) {
		switch typ {
		case unix.RTA_DST:
			addr = address(val)
		case unix.RTA_PRIORITY:
			r.metric = u32(val)
		case unix.RTA_TABLE:
			table = u32(val)
		case rtaNHID:
			r.id = u32(val)
		case unix.RTA_PREFSRC:
			r.src = address(val)
		case unix.RTA_OIF:
			r.link = int(u32(val))
		case unix.RTA_GATEWAY, unix.RTA_VIA:
			router = gateway(typ, val)
		case unix.RTA_MULTIPATH:
			if withHops {
				r.hops = multipath(val)
			}
		case unix.RTA_ENCAP:
			r.odd, wrapped = true, true
		case unix.RTA_METRICS, unix.RTA_SRC:
			r.odd = true
		}
	}
	r.odd = r.odd || r.partial
	if withHops && r.hops == nil && r.link != 0 && r.kind == unix.RTN_UNICAST && !wrapped {
		r.hops = []NextHop{{Addr: router, Link: r.link, Weight: 1, OnLink: flags&unix.RTNH_F_ONLINK != 0}}
	}
	r.dst = netip.PrefixFrom(addr, bits)
	known := family == unix.AF_INET || family == unix.AF_INET6
	return r, known && r.dst.IsValid() && table == unix.RT_TABLE_MAIN && flags&unix.RTM_F_CLONED == 0
}

// gateway reads RTA_GATEWAY, an address, or RTA_VIA, a family in front of one.
func gateway(typ uint16, val []byte) netip.Addr {
	if typ == unix.RTA_VIA && len(val) >= 2 {
		val = val[2:]
		if len(val) > 16 {
			val = val[:16]
		}
	}
	return address(val)
}

func multipath(b []byte) []NextHop {
	var hops []NextHop
	for len(b) >= unix.SizeofRtNexthop {
		size := int(native.Uint16(b))
		if size < unix.SizeofRtNexthop || size > len(b) {
			break
		}
		h := NextHop{Weight: int(b[3]) + 1, Link: int(u32(b[4:])), OnLink: b[2]&unix.RTNH_F_ONLINK != 0}
		wrapped := false
		for typ, val := range attrs(b[unix.SizeofRtNexthop:size]) {
			switch typ {
			case unix.RTA_GATEWAY, unix.RTA_VIA:
				h.Addr = gateway(typ, val)
			case unix.RTA_ENCAP:
				wrapped = true
			}
		}
		if !wrapped {
			hops = append(hops, h)
		}
		b = b[min(align(size), len(b)):]
	}
	return hops
}

// objectMessage is what a message about a nexthop object or a group says.
type objectMessage struct {
	id       uint32
	protocol byte
	key      hopKey
	group    []grouped // not nil: a group
	hashing  Hashing   // of a resilient group
	odd      bool      // of a kind that we never ask for
}

type grouped struct {
	id     uint32
	weight int
}

// inRange reports whether the id is one of those that we choose from.
func inRange(id uint32) bool { return idBase <= id && id < idEnd }

func (o *objectMessage) ours() bool { return o.protocol == protocol && inRange(o.id) }

func parseObject(body []byte) (objectMessage, bool) {
	var o objectMessage
	kind := uint16(0)
	if len(body) < sizeofNhmsg {
		return o, false
	}
	o.key.family, o.protocol = body[0], body[2]
	o.key.onlink = u32(body[4:])&unix.RTNH_F_ONLINK != 0
	for typ, val := range attrs(body[sizeofNhmsg:]) {
		switch typ {
		case unix.NHA_ID:
			o.id = u32(val)
		case unix.NHA_OIF:
			o.key.link = int(u32(val))
		case unix.NHA_GATEWAY:
			o.key.addr = address(val)
		case unix.NHA_GROUP:
			o.group = make([]grouped, 0, len(val)/sizeofGrp)
			for ; len(val) >= sizeofGrp; val = val[sizeofGrp:] {
				// The weight less one, its high byte after the low one since Linux 6.12.
				o.group = append(o.group, grouped{u32(val), int(binary.LittleEndian.Uint16(val[4:])) + 1})
			}
		case unix.NHA_GROUP_TYPE:
			kind = native.Uint16(append(val, 0, 0))
		case nhaResGroup:
			o.hashing = parseHashing(val)
		case unix.NHA_BLACKHOLE, unix.NHA_ENCAP, unix.NHA_MASTER:
			o.odd = true
		}
	}
	o.odd = o.odd || kind > groupResilient || (kind == groupResilient) != (o.hashing.Buckets > 0)
	return o, o.id != 0
}

// deleteFound takes away a route that a dump has told of, by what the dump says about it.
func deleteFound(w *writer, body []byte) {
	w.begin(unix.RTM_DELROUTE, 0)
	w.raw(body[:unix.SizeofRtMsg]...)
	native.PutUint32(w.buf[len(w.buf)-4:], 0) // flags are the kernel's
	object := false
	for typ := range attrs(body[unix.SizeofRtMsg:]) {
		object = object || typ == rtaNHID
	}
	for typ, val := range attrs(body[unix.SizeofRtMsg:]) {
		switch typ {
		case unix.RTA_DST, unix.RTA_PRIORITY, unix.RTA_PREFSRC, rtaNHID:
			w.bytes(typ, val)
		case unix.RTA_OIF, unix.RTA_GATEWAY, unix.RTA_VIA, unix.RTA_MULTIPATH:
			if !object { // else they repeat what the object says
				w.bytes(typ, val)
			}
		}
	}
	w.end()
}
