package rawbgp

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Types of messages (RFC 4271 section 4.1).
const (
	TypeOpen         = 1
	TypeUpdate       = 2
	TypeNotification = 3
	TypeKeepalive    = 4
	TypeRouteRefresh = 5
)

// Types of path attributes.
const (
	AttrOrigin          = 1
	AttrASPath          = 2
	AttrNextHop         = 3
	AttrMED             = 4
	AttrLocalPref       = 5
	AttrAtomicAggregate = 6
	AttrAggregator      = 7
	AttrCommunities     = 8
	AttrOriginatorID    = 9
	AttrClusterList     = 10
	AttrMPReach         = 14
	AttrMPUnreach       = 15
	AttrLarge           = 32
)

// Flags of path attributes (RFC 4271 section 4.3).
const (
	Optional   = 0x80
	Transitive = 0x40
	Partial    = 0x20
	Extended   = 0x10 // the length has two octets
)

// Message is a message with its header (marker, length, type).
func Message(typ byte, body []byte) []byte {
	m := slices.Repeat([]byte{0xff}, 16)
	m = binary.BigEndian.AppendUint16(m, uint16(19+len(body)))
	return append(append(m, typ), body...)
}

// Keepalive is a KEEPALIVE.
func Keepalive() []byte { return Message(TypeKeepalive, nil) }

// Notification is a NOTIFICATION.
func Notification(code, subcode byte, data ...byte) []byte {
	return Message(TypeNotification, append([]byte{code, subcode}, data...))
}

// GracefulRestart is the capability of RFC 4724.
type GracefulRestart struct {
	Restarting bool   // the R bit
	Time       uint16 // seconds, below 4096
	Forwarding bool   // the F bit of every family of Open
	Lost       byte   // the AFI whose F bit is clear all the same; 0: none
	Notifies   bool   // the N bit (RFC 8538)
}

// Open is what an OPEN says (RFC 4271 section 4.2); the address families are those of unicast.
type Open struct {
	AS              uint32
	ID              netip.Addr
	Hold            uint16 // seconds
	IPv4, IPv6      bool   // multiprotocol capabilities (RFC 4760)
	GracefulRestart *GracefulRestart
	ExtendedNextHop bool // IPv4 with an IPv6 next hop (RFC 8950)
	ReceivePaths    bool // several paths to a prefix (RFC 7911); the neighbour must send them
	Capabilities    []byte
}

// Message is the OPEN.
func (o Open) Message() []byte {
	caps := slices.Clone(o.Capabilities)
	var afis []byte
	if o.IPv4 {
		afis = append(afis, 1)
	}
	if o.IPv6 {
		afis = append(afis, 2)
	}
	for _, afi := range afis {
		caps = append(caps, 1, 4, 0, afi, 0, 1)
	}
	caps = append(caps, 2, 0) // route refresh (RFC 2918)
	if o.ExtendedNextHop {
		caps = append(caps, 5, 6, 0, 1, 0, 1, 0, 2)
	}
	if o.ReceivePaths {
		caps = append(caps, 69, byte(4*len(afis)))
		for _, afi := range afis {
			caps = append(caps, 0, afi, 1, 1)
		}
	}
	caps = append(caps, 65, 4)
	caps = binary.BigEndian.AppendUint32(caps, o.AS)
	if gr := o.GracefulRestart; gr != nil {
		head, forwarding := gr.Time, byte(0)
		if gr.Restarting {
			head |= 0x8000
		}
		if gr.Notifies {
			head |= 0x4000
		}
		if gr.Forwarding {
			forwarding = 0x80
		}
		caps = append(caps, 64, byte(2+4*len(afis)))
		caps = binary.BigEndian.AppendUint16(caps, head)
		for _, afi := range afis {
			if afi == gr.Lost {
				caps = append(caps, 0, afi, 1, 0)
				continue
			}
			caps = append(caps, 0, afi, 1, forwarding)
		}
	}
	as := uint16(23456) // AS_TRANS, RFC 6793
	if o.AS < 65536 {
		as = uint16(o.AS)
	}
	b := []byte{4}
	b = binary.BigEndian.AppendUint16(b, as)
	b = binary.BigEndian.AppendUint16(b, o.Hold)
	b = append(b, o.ID.AsSlice()...)
	b = append(b, byte(len(caps)+2), 2, byte(len(caps)))
	return Message(TypeOpen, append(b, caps...))
}

// Attr is a path attribute; nothing about it need be right.
type Attr struct {
	Flags, Type byte
	Value       []byte
}

func (a Attr) append(b []byte) []byte {
	b = append(b, a.Flags, a.Type)
	if a.Flags&Extended != 0 {
		b = binary.BigEndian.AppendUint16(b, uint16(len(a.Value)))
	} else {
		b = append(b, byte(len(a.Value)))
	}
	return append(b, a.Value...)
}

// Attributes is the encoding of attributes, one after the other.
func Attributes(attrs ...Attr) []byte {
	var b []byte
	for _, a := range attrs {
		b = a.append(b)
	}
	return b
}

// Origin is the attribute ORIGIN, IGP.
func Origin() Attr { return Attr{Transitive, AttrOrigin, []byte{0}} }

// ASPath is the attribute AS_PATH with one sequence of four-octet numbers, or empty.
func ASPath(as ...uint32) Attr {
	if len(as) == 0 {
		return Attr{Transitive, AttrASPath, nil}
	}
	v := []byte{2, byte(len(as))}
	for _, x := range as {
		v = binary.BigEndian.AppendUint32(v, x)
	}
	return Attr{Transitive, AttrASPath, v}
}

// NextHop is the attribute NEXT_HOP.
func NextHop(a netip.Addr) Attr { return Attr{Transitive, AttrNextHop, a.AsSlice()} }

// LocalPref is the attribute LOCAL_PREF.
func LocalPref(v uint32) Attr {
	return Attr{Transitive, AttrLocalPref, binary.BigEndian.AppendUint32(nil, v)}
}

// MED is the attribute MULTI_EXIT_DISC.
func MED(v uint32) Attr {
	return Attr{Optional, AttrMED, binary.BigEndian.AppendUint32(nil, v)}
}

// Communities is the attribute COMMUNITIES (RFC 1997).
func Communities(c ...uint32) Attr {
	var v []byte
	for _, x := range c {
		v = binary.BigEndian.AppendUint32(v, x)
	}
	return Attr{Optional | Transitive, AttrCommunities, v}
}

// LargeCommunity is the attribute LARGE_COMMUNITY (RFC 8092) with one community.
func LargeCommunity(global, first, second uint32) Attr {
	var v []byte
	for _, x := range []uint32{global, first, second} {
		v = binary.BigEndian.AppendUint32(v, x)
	}
	return Attr{Optional | Transitive, AttrLarge, v}
}

// NLRI is the encoding of prefixes (RFC 4271 section 4.3).
func NLRI(prefixes ...netip.Prefix) []byte {
	var b []byte
	for _, p := range prefixes {
		b = append(b, byte(p.Bits()))
		b = append(b, p.Masked().Addr().AsSlice()[:(p.Bits()+7)/8]...)
	}
	return b
}

// MPReach is the attribute MP_REACH_NLRI (RFC 4760) of unicast routes. Several next hops are a global and a
// link-local one (RFC 2545).
func MPReach(prefixes []netip.Prefix, nextHops ...netip.Addr) Attr {
	v := []byte{0, afi(prefixes), 1, 0}
	for _, a := range nextHops {
		v = append(v, a.WithZone("").AsSlice()...)
	}
	v[3] = byte(len(v) - 4)
	v = append(append(v, 0), NLRI(prefixes...)...)
	return Attr{Optional | Extended, AttrMPReach, v}
}

// MPUnreach is the attribute MP_UNREACH_NLRI (RFC 4760) of unicast routes.
func MPUnreach(prefixes []netip.Prefix) Attr {
	return Attr{Optional | Extended, AttrMPUnreach, append([]byte{0, afi(prefixes), 1}, NLRI(prefixes...)...)}
}

func afi(prefixes []netip.Prefix) byte {
	if len(prefixes) > 0 && prefixes[0].Addr().Is4() {
		return 1
	}
	return 2
}

// Update is an UPDATE of raw parts.
func Update(withdrawn, attrs, nlri []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(withdrawn)))
	b = append(b, withdrawn...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(attrs)))
	b = append(b, attrs...)
	return Message(TypeUpdate, append(b, nlri...))
}

// Announce is a well-formed UPDATE for prefixes of one family, with the next hop in the place where that
// family has it.
func Announce(as []uint32, nextHop netip.Addr, prefixes []netip.Prefix, more ...Attr) []byte {
	attrs := append([]Attr{Origin(), ASPath(as...)}, more...)
	if len(prefixes) > 0 && prefixes[0].Addr().Is4() && nextHop.Is4() {
		return Update(nil, Attributes(append(attrs, NextHop(nextHop))...), NLRI(prefixes...))
	}
	return Update(nil, Attributes(append(attrs, MPReach(prefixes, nextHop))...), nil)
}

// Withdraw is a well-formed UPDATE that takes prefixes of one family back.
func Withdraw(prefixes []netip.Prefix) []byte {
	if len(prefixes) > 0 && prefixes[0].Addr().Is4() {
		return Update(NLRI(prefixes...), nil, nil)
	}
	return Update(nil, Attributes(MPUnreach(prefixes)), nil)
}

// EndOfRIB is the marker of RFC 4724 section 2, of IPv4 or of IPv6.
func EndOfRIB(v6 bool) []byte {
	if !v6 {
		return Update(nil, nil, nil)
	}
	return Update(nil, Attributes(Attr{Optional, AttrMPUnreach, []byte{0, 2, 1}}), nil)
}
