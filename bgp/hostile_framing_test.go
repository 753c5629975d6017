package bgp

import (
	"encoding/binary"
	"net/netip"

	"github.com/podroute/podroute/internal/rawbgp"
)

func hostileMP() []hostile {
	o := rawbgp.Origin
	mp := func(v ...byte) func(netip.Prefix) []byte {
		return func(netip.Prefix) []byte {
			return rawbgp.Update(nil, rawbgp.Attributes(o(), path(), attr(optional, 14, v...)), nil)
		}
	}
	un := func(v ...byte) func(netip.Prefix) []byte {
		return func(netip.Prefix) []byte { return rawbgp.Update(nil, rawbgp.Attributes(attr(optional, 15, v...)), nil) }
	}
	six := func(nextHopLen int, nlri ...byte) []byte {
		v := append([]byte{0, 2, 1, byte(nextHopLen)}, make([]byte, nextHopLen)...)
		if nextHopLen >= 16 {
			copy(v[4:], addr("fd00::1").AsSlice())
		}
		return append(append(v, 0), nlri...)
	}
	prefix := []byte{64, 0xfd, 0x10, 0, 9, 0, 0, 0, 9}
	return []hostile{
		{name: "MP_REACH of no octets", msg: mp(), want: reset, rfc: "7.11"},
		{name: "MP_REACH of three octets", msg: mp(0, 2, 1), want: reset, rfc: "7.11"},
		{name: "MP_REACH next hop of no octets", msg: mp(six(0, prefix...)...), want: reset, rfc: "7.11"},
		{name: "MP_REACH next hop of three octets", msg: mp(six(3, prefix...)...), want: reset, rfc: "7.11"},
		{
			name: "MP_REACH next hop of 48 octets", msg: mp(six(48, prefix...)...), want: reset, rfc: "7.11",
			got: ignore, why: "gobgp knows next hops of 48 octets, of VPNs, and drops this one",
		},
		{name: "MP_REACH next hop overrun", msg: mp(0, 2, 1, 200, 1, 2, 3), want: reset, rfc: "7.11"},
		{name: "MP_REACH prefix of 129 bits", msg: mp(six(16, append([]byte{129}, make([]byte, 17)...)...)...), want: reset, rfc: "5.3"},
		{name: "MP_REACH prefix cut short", msg: mp(six(16, 64, 0xfd)...), want: reset, rfc: "5.3"},
		{name: "MP_REACH twice", msg: func(netip.Prefix) []byte {
			a := attr(optional, 14, six(16, prefix...)...)
			return rawbgp.Update(nil, rawbgp.Attributes(o(), path(), a, a), nil)
		}, want: reset, rfc: "3.g"},
		{name: "MP_REACH next hop multicast", msg: func(netip.Prefix) []byte {
			return rawbgp.Announce([]uint32{65001}, addr("ff02::1"), prefixList("fd10:9:0:9::/64"))
		}, want: ignore, rfc: "RFC 4271 6.3"},
		{name: "MP_REACH without ORIGIN", msg: func(netip.Prefix) []byte {
			return rawbgp.Update(nil, rawbgp.Attributes(path(), attr(optional, 14, six(16, prefix...)...)), nil)
		}, want: ignore, rfc: "3.d"},
		{name: "MP_REACH without prefixes", msg: mp(six(16)...), want: ignore, rfc: "5.2"},
		{
			name: "MP_REACH of flow specifications", msg: mp(0, 1, 133, 0, 0, 5, 1, 24, 10), want: ignore, rfc: "RFC 4760 7",
			got: reset, why: "gobgp ends the session over a family that was not negotiated, which RFC 4760 section 7 allows too",
		},
		{
			name: "MP_REACH of EVPN", msg: mp(0, 25, 70, 4, 1, 1, 1, 1, 0, 2, 5, 1, 2, 3, 4, 5), want: ignore, rfc: "RFC 4760 7",
			got: reset, why: "gobgp ends the session over a family that was not negotiated, which RFC 4760 section 7 allows too",
		},
		{
			name: "MP_REACH of BGP-LS", msg: mp(0x40, 4, 71, 4, 1, 1, 1, 1, 0, 0, 1, 0, 5, 1, 2, 3, 4, 5), want: ignore, rfc: "RFC 4760 7",
			got: reset, why: "gobgp ends the session over a family that was not negotiated, which RFC 4760 section 7 allows too",
		},
		{
			name: "MP_REACH of VPN", msg: mp(append([]byte{0, 1, 128, 12, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1, 0}, 88, 0, 0, 1)...), want: ignore, rfc: "RFC 4760 7",
			got: reset, why: "gobgp ends the session over a family that was not negotiated, which RFC 4760 section 7 allows too",
		},
		{
			name: "MP_REACH of an unknown family", msg: mp(0x12, 0x34, 200, 4, 1, 1, 1, 1, 0, 1, 2, 3), want: ignore, rfc: "RFC 4760 7",
			got: reset, why: "gobgp ends the session over a family that was not negotiated, which RFC 4760 section 7 allows too",
		},
		{name: "MP_UNREACH of two octets", msg: un(0, 2), want: reset, rfc: "7.12"},
		{name: "MP_UNREACH of no octets", msg: un(), want: reset, rfc: "7.12"},
		{name: "MP_UNREACH prefix of 200 bits", msg: un(append([]byte{0, 2, 1, 200}, make([]byte, 25)...)...), want: reset, rfc: "5.3"},
		{name: "MP_UNREACH of what never was", msg: un(append([]byte{0, 2, 1}, prefix...)...), want: ignore},
		{name: "MP_UNREACH twice", msg: func(netip.Prefix) []byte {
			a := attr(optional, 15, append([]byte{0, 2, 1}, prefix...)...)
			return rawbgp.Update(nil, rawbgp.Attributes(a, a), nil)
		}, want: reset, rfc: "3.g"},
	}
}

func hostileFraming() []hostile {
	o := rawbgp.Origin
	good := rawbgp.Attributes(o(), path(), nh())
	raw := func(parts ...any) func(netip.Prefix) []byte {
		return func(v netip.Prefix) []byte {
			var b []byte
			for _, p := range parts {
				switch p := p.(type) {
				case int:
					b = binary.BigEndian.AppendUint16(b, uint16(p))
				case []byte:
					b = append(b, p...)
				case nil:
					b = append(b, rawbgp.NLRI(v)...)
				}
			}
			return rawbgp.Message(rawbgp.TypeUpdate, b)
		}
	}
	header := func(length uint16, typ byte, body ...byte) []byte {
		m := rawbgp.Message(typ, body)
		binary.BigEndian.PutUint16(m[16:], length)
		return m
	}
	badMarker := rawbgp.Keepalive()
	badMarker[3] = 0
	return []hostile{
		{name: "attributes longer than the message", msg: raw(0, 200, good, nil), want: reset, rfc: "3.b"},
		{
			name: "attributes cut off", msg: raw(0, len(good)-2, good[:len(good)-2], nil), want: withdraw, rfc: "4",
			got: ignore, why: "as an attribute that overruns",
		},
		{name: "one octet of an attribute", msg: raw(0, len(good)+1, good, []byte{0xc0}, nil), want: withdraw, rfc: "4"},
		{
			name: "attribute that overruns", msg: raw(0, len(good)+3, good, []byte{0xc0, 8, 100}, nil), want: withdraw, rfc: "4",
			got: ignore, why: "gobgp stops reading and does not get to the prefixes: the route stays as it was",
		},
		{name: "prefix of 33 bits", msg: raw(0, len(good), good, []byte{33, 10, 1, 1, 1, 1}), want: reset, rfc: "5.3"},
		{name: "prefix of 255 bits", msg: raw(0, len(good), good, []byte{255, 10}), want: reset, rfc: "5.3"},
		{name: "prefix cut short", msg: raw(0, len(good), good, []byte{24, 10, 1}), want: reset, rfc: "5.3"},
		{name: "withdrawn longer than the message", msg: raw(500, []byte{24, 10, 1, 1}), want: reset, rfc: "3.b"},
		{name: "withdrawn prefix of 77 bits", msg: raw(11, append([]byte{77}, make([]byte, 10)...), 0), want: reset, rfc: "5.3"},
		{name: "withdrawn prefix cut short", msg: raw(2, []byte{24, 10}, 0), want: reset, rfc: "5.3"},
		{name: "UPDATE of three octets", msg: whole(rawbgp.Message(rawbgp.TypeUpdate, []byte{0, 0, 0})...), want: reset, rfc: "RFC 4271 6.1"},
		{name: "UPDATE of no octets", msg: whole(rawbgp.Message(rawbgp.TypeUpdate, nil)...), want: reset, rfc: "RFC 4271 6.1"},
		{name: "prefix with host bits", msg: func(v netip.Prefix) []byte {
			n := rawbgp.NLRI(netip.PrefixFrom(v.Addr(), 22))
			n[3] |= 3 // the last bits of the third octet do not count
			return rawbgp.Update(nil, good, append(n, rawbgp.NLRI(v)...))
		}, want: keep, rfc: "RFC 4271 4.3"},
		{name: "marker not all ones", msg: whole(badMarker...), want: reset, rfc: "RFC 4271 6.1"},
		{name: "length 18", msg: whole(header(18, rawbgp.TypeKeepalive)...), want: reset, rfc: "RFC 4271 6.1"},
		{name: "length 0", msg: whole(header(0, rawbgp.TypeUpdate)...), want: reset, rfc: "RFC 4271 6.1"},
		{name: "length 65535", msg: whole(header(65535, rawbgp.TypeUpdate)...), want: reset, rfc: "RFC 4271 6.1"},
		{name: "length 4097", msg: whole(header(4097, rawbgp.TypeUpdate, make([]byte, 4078)...)...), want: reset, rfc: "RFC 4271 6.1"},
		{name: "type 0", msg: whole(rawbgp.Message(0, nil)...), want: reset, rfc: "RFC 4271 6.1"},
		{name: "type 77", msg: whole(rawbgp.Message(77, []byte{1, 2, 3})...), want: reset, rfc: "RFC 4271 6.1"},
		{
			name: "KEEPALIVE with a body", msg: whole(rawbgp.Message(rawbgp.TypeKeepalive, []byte{1})...), want: reset, rfc: "RFC 4271 6.1",
			got: ignore, why: "gobgp does not look at the body of a KEEPALIVE, and skips it",
		},
		{
			name: "OPEN in an established session", msg: func(netip.Prefix) []byte { return tor().Message() }, want: reset, rfc: "RFC 4271 8.2.2",
			got: ignore, why: "gobgp ignores it; nothing is negotiated anew",
		},
		{name: "NOTIFICATION of one octet", msg: whole(rawbgp.Message(rawbgp.TypeNotification, []byte{6})...), want: reset, rfc: "RFC 4271 6.1"},
		{name: "ROUTE-REFRESH of two octets", msg: whole(rawbgp.Message(rawbgp.TypeRouteRefresh, []byte{0, 1})...), want: reset, rfc: "RFC 7313 5"},
		{name: "ROUTE-REFRESH of an unknown family", msg: whole(rawbgp.Message(rawbgp.TypeRouteRefresh, []byte{9, 9, 0, 9})...), want: ignore, rfc: "RFC 2918 4"},
	}
}
