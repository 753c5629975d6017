package bgp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
)

// fate is what becomes of a session and of a route that a malformed UPDATE announces again.
type fate string

const (
	keep     fate = "keep"     // the UPDATE counts, but for what is wrong in it (attribute discard)
	withdraw fate = "withdraw" // treat-as-withdraw: the route goes, the session stays
	ignore   fate = "ignore"   // the session and the route stay as they were
	reset    fate = "reset"    // the session ends
)

// hostile is one message that no neighbour should send.
type hostile struct {
	name string
	msg  func(victim netip.Prefix) []byte
	// want is the fate that the RFC asks for, by its section (RFC 7606 where nothing else is said).
	want fate
	rfc  string
	// got is what gobgp 4.8 does where that differs, and why we live with it.
	got fate
	why string
}

const (
	optional   = rawbgp.Optional
	transitive = rawbgp.Transitive
)

// with is an UPDATE for the victim with sound attributes and more of them; the next hop tells it from the first.
func with(more ...rawbgp.Attr) func(netip.Prefix) []byte {
	return func(v netip.Prefix) []byte {
		return rawbgp.Announce([]uint32{65001}, addr("10.0.0.77"), []netip.Prefix{v}, more...)
	}
}

// only is an UPDATE for the victim with just these attributes.
func only(attrs ...rawbgp.Attr) func(netip.Prefix) []byte {
	return func(v netip.Prefix) []byte { return rawbgp.Update(nil, rawbgp.Attributes(attrs...), rawbgp.NLRI(v)) }
}

// attr is an attribute as it comes.
func attr(flags, typ byte, value ...byte) rawbgp.Attr {
	return rawbgp.Attr{Flags: flags, Type: typ, Value: value}
}

// whole is a message as it comes.
func whole(m ...byte) func(netip.Prefix) []byte { return func(netip.Prefix) []byte { return m } }

func nh() rawbgp.Attr { return rawbgp.NextHop(addr("10.0.0.77")) }

func path() rawbgp.Attr { return rawbgp.ASPath(65001) }

func hostiles() []hostile {
	var out []hostile
	for _, group := range [][]hostile{hostileBasics(), hostilePaths(), hostileOptional(), hostileMP(), hostileFraming()} {
		out = append(out, group...)
	}
	return out
}

func hostileBasics() []hostile {
	o := rawbgp.Origin
	return []hostile{
		{name: "sound", msg: with(), want: keep},
		{name: "ORIGIN of two octets", msg: only(attr(transitive, 1, 0, 0), path(), nh()), want: withdraw, rfc: "7.1"},
		{name: "ORIGIN of no octets", msg: only(attr(transitive, 1), path(), nh()), want: withdraw, rfc: "7.1"},
		{name: "ORIGIN undefined", msg: only(attr(transitive, 1, 3), path(), nh()), want: withdraw, rfc: "7.1"},
		{name: "ORIGIN optional", msg: only(attr(optional|transitive, 1, 0), path(), nh()), want: withdraw, rfc: "3.c"},
		{name: "ORIGIN not transitive", msg: only(attr(0, 1, 0), path(), nh()), want: withdraw, rfc: "3.c"},
		{name: "no ORIGIN", msg: only(path(), nh()), want: withdraw, rfc: "3.d"},
		{name: "no AS_PATH", msg: only(o(), nh()), want: withdraw, rfc: "3.d"},
		{name: "no NEXT_HOP", msg: only(o(), path()), want: withdraw, rfc: "3.d"},
		{name: "no attributes at all", msg: only(), want: withdraw, rfc: "3.d"},
		{name: "ORIGIN twice", msg: with(attr(transitive, 1, 1)), want: keep, rfc: "3.g"},
		{name: "AS_PATH twice", msg: with(rawbgp.ASPath(65001, 7)), want: keep, rfc: "3.g"},
		{name: "NEXT_HOP of no octets", msg: only(o(), path(), attr(transitive, 3)), want: withdraw, rfc: "7.3"},
		{name: "NEXT_HOP of five octets", msg: only(o(), path(), attr(transitive, 3, 10, 0, 0, 1, 1)), want: withdraw, rfc: "7.3"},
		{name: "NEXT_HOP of sixteen octets", msg: only(o(), path(), attr(transitive, 3, make([]byte, 16)...)), want: withdraw, rfc: "7.3"},
		{name: "NEXT_HOP 0.0.0.0", msg: only(o(), path(), attr(transitive, 3, 0, 0, 0, 0)), want: withdraw, rfc: "7.3"},
		{name: "NEXT_HOP multicast", msg: only(o(), path(), attr(transitive, 3, 224, 0, 0, 1)), want: withdraw, rfc: "7.3"},
		{name: "NEXT_HOP loopback", msg: only(o(), path(), attr(transitive, 3, 127, 0, 0, 1)), want: withdraw, rfc: "7.3"},
		{name: "MED of three octets", msg: with(attr(optional, 4, 0, 0, 1)), want: withdraw, rfc: "7.4"},
		{name: "MED of no octets", msg: with(attr(optional, 4)), want: withdraw, rfc: "7.4"},
		{name: "LOCAL_PREF from outside", msg: with(rawbgp.LocalPref(500)), want: keep, rfc: "7.5"},
		{
			name: "LOCAL_PREF from outside, short", msg: with(attr(transitive, 5, 1)), want: keep, rfc: "7.5",
			got: withdraw, why: "as CLUSTER_LIST: stricter",
		},
		{name: "ATOMIC_AGGREGATE with a value", msg: with(attr(transitive, 6, 1)), want: keep, rfc: "7.6"},
		{name: "AGGREGATOR of three octets", msg: with(attr(optional|transitive, 7, 0, 1, 2)), want: keep, rfc: "7.7"},
		{name: "AGGREGATOR of six octets", msg: with(attr(optional|transitive, 7, 0, 1, 2, 3, 4, 5)), want: keep, rfc: "7.7"},
		{
			name: "ORIGINATOR_ID from outside", msg: with(attr(optional, 9, 1, 2, 3)), want: keep, rfc: "7.9",
			got: withdraw, why: "as CLUSTER_LIST: stricter",
		},
		{
			name: "CLUSTER_LIST from outside", msg: with(attr(optional, 10, 1, 2, 3)), want: keep, rfc: "7.10",
			got: withdraw, why: "gobgp reads it before it asks where it came from: stricter",
		},
		{name: "unknown well-known", msg: with(attr(transitive, 99, 1, 2)), want: reset, rfc: "RFC 4271 6.3"},
		{name: "unknown optional transitive", msg: with(attr(optional|transitive, 99, 1, 2)), want: keep, rfc: "RFC 4271 5"},
		{name: "unknown optional", msg: with(attr(optional, 99, 1, 2)), want: keep, rfc: "RFC 4271 5"},
		{name: "reserved type 0", msg: with(attr(optional|transitive, 0, 1)), want: keep, rfc: "RFC 4271 5"},
		{name: "type 255 of 255 octets", msg: with(attr(optional|transitive, 255, make([]byte, 255)...)), want: keep, rfc: "RFC 4271 5"},
	}
}

func hostilePaths() []hostile {
	o := rawbgp.Origin
	as := func(v ...byte) func(netip.Prefix) []byte { return only(o(), attr(transitive, 2, v...), nh()) }
	long := []byte{2, 255}
	for range 255 {
		long = binary.BigEndian.AppendUint32(long, 65001)
	}
	return []hostile{
		{name: "AS_PATH segment of no ASes", msg: as(2, 0), want: withdraw, rfc: "7.2"},
		{name: "AS_PATH overrun", msg: as(2, 5, 0, 0, 0, 1), want: withdraw, rfc: "7.2"},
		{name: "AS_PATH underrun", msg: as(2, 1, 0, 0, 0xfd, 0xe9, 7), want: withdraw, rfc: "7.2"},
		{name: "AS_PATH unknown segment", msg: as(9, 1, 0, 0, 0xfd, 0xe9), want: withdraw, rfc: "7.2"},
		{name: "AS_PATH with confederation", msg: as(3, 1, 0, 0, 0xfd, 0xe9), want: withdraw, rfc: "RFC 5065 5"},
		{name: "AS_PATH of two-octet numbers", msg: as(2, 1, 0xfd, 0xe9), want: withdraw, rfc: "7.2"},
		{
			name: "AS_PATH empty from outside", msg: as(), want: withdraw, rfc: "RFC 4271 6.3",
			got: keep, why: "gobgp does not enforce that the first AS is the neighbour's; the path does no harm, as the import filter is by prefix",
		},
		{
			name: "AS_PATH starts with another AS", msg: as(2, 1, 0, 0, 0, 7), want: withdraw, rfc: "RFC 4271 6.3",
			got: keep, why: "as above: the check is a MAY in RFC 4271",
		},
		{name: "AS_PATH with AS 0", msg: as(2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0, 0), want: withdraw, rfc: "RFC 7607 2"},
		{name: "AS_PATH of 255 ASes", msg: only(o(), attr(transitive|rawbgp.Extended, 2, long...), nh()), want: keep, rfc: "RFC 4271 5.1.2"},
		{name: "AS_PATH with our AS", msg: only(o(), rawbgp.ASPath(65001, 65002), nh()), want: withdraw, rfc: "RFC 4271 9.1.2"},
		{name: "AS_PATH optional", msg: only(o(), attr(optional|transitive, 2, path().Value...), nh()), want: withdraw, rfc: "3.c"},
		{name: "AS4_PATH longer than AS_PATH", msg: with(attr(optional|transitive, 17, 2, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3)), want: keep, rfc: "RFC 6793 4.1"},
		{
			name: "AS4_PATH short", msg: with(attr(optional|transitive, 17, 2, 3, 0)), want: keep, rfc: "RFC 6793 6",
			got: withdraw, why: "gobgp treats every attribute that it cannot read alike; nobody sends AS4_PATH between speakers of four-octet ASes",
		},
		{
			name: "AS4_AGGREGATOR short", msg: with(attr(optional|transitive, 18, 1, 2, 3)), want: keep, rfc: "RFC 6793 6",
			got: reset, why: "gobgp ends the session; nobody sends AS4_AGGREGATOR between speakers of four-octet ASes",
		},
	}
}

func hostileOptional() []hostile {
	ot := byte(optional | transitive)
	return []hostile{
		{name: "COMMUNITIES of three octets", msg: with(attr(ot, 8, 1, 2, 3)), want: withdraw, rfc: "7.8"},
		{
			name: "COMMUNITIES of no octets", msg: with(attr(ot, 8)), want: withdraw, rfc: "7.8",
			got: keep, why: "gobgp reads it as no communities, which is what it says",
		},
		{name: "COMMUNITIES well-known flags", msg: with(attr(transitive, 8, 0, 1, 0, 1)), want: withdraw, rfc: "3.c"},
		{name: "EXTENDED COMMUNITIES of seven octets", msg: with(attr(ot, 16, 0, 2, 1, 2, 3, 4, 5)), want: withdraw, rfc: "7.14"},
		{
			name: "EXTENDED COMMUNITIES of no octets", msg: with(attr(ot, 16)), want: withdraw, rfc: "7.14",
			got: keep, why: "gobgp reads it as no communities, which is what it says",
		},
		{name: "IPv6 EXTENDED COMMUNITIES of three octets", msg: with(attr(ot, 25, 0, 2, 1)), want: withdraw, rfc: "7.15"},
		{name: "LARGE COMMUNITIES of five octets", msg: with(attr(ot, 32, 0, 1, 2, 3, 4)), want: withdraw, rfc: "RFC 8092 6"},
		{
			name: "LARGE COMMUNITIES of no octets", msg: with(attr(ot, 32)), want: withdraw, rfc: "RFC 8092 6",
			got: keep, why: "gobgp reads it as no communities, which is what it says",
		},
		{name: "PMSI_TUNNEL short", msg: with(attr(ot, 22, 0, 6, 0)), want: withdraw, rfc: "RFC 6514 5"},
		{
			name: "TUNNEL_ENCAP short", msg: with(attr(ot, 23, 0, 8, 0, 3, 1, 1)), want: withdraw, rfc: "RFC 9012 13",
			got: keep, why: "gobgp does not look inside, and we make no use of it",
		},
		{
			name: "TUNNEL_ENCAP of two octets", msg: with(attr(ot, 23, 0, 8)), want: withdraw, rfc: "RFC 9012 13",
			got: keep, why: "gobgp does not look inside, and we make no use of it",
		},
		{name: "AIGP with a bad TLV length", msg: with(attr(optional, 26, 1, 0, 2)), want: keep, rfc: "RFC 7311 3.2"},
		{name: "AIGP overrun", msg: with(attr(optional, 26, 1, 0, 11, 1)), want: keep, rfc: "RFC 7311 3.2"},
		{name: "BGP-LS attribute short", msg: with(attr(optional, 29, 4, 0)), want: keep, rfc: "RFC 9552 8.2.2"},
		{name: "PREFIX_SID short", msg: with(attr(ot, 40, 5, 0, 3, 0, 1, 0)), want: keep, rfc: "RFC 8669 6"},
		{name: "PREFIX_SID that ended gobgp 3", msg: with(attr(ot, 40, 5, 0, 8, 0, 1, 0, 4, 0, 0, 0, 0)), want: keep, rfc: "RFC 8669 6"},
		{name: "PREFIX_SID of one octet", msg: with(attr(ot, 40, 1)), want: keep, rfc: "RFC 8669 6"},
		{name: "PREFIX_SID nested overrun", msg: with(attr(ot, 40, 5, 0, 12, 0, 1, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0)), want: keep, rfc: "RFC 8669 6"},
		{
			name: "ATTR_SET with an attribute cut short", msg: with(attr(ot, 128, 0, 0, 0, 1, 0x40)), want: withdraw, rfc: "7.16",
			got: keep, why: "gobgp does not look inside, and we make no use of it",
		},
		{
			name: "ATTR_SET of two octets", msg: with(attr(ot, 128, 0, 0)), want: withdraw, rfc: "7.16",
			got: keep, why: "gobgp does not look inside, and we make no use of it",
		},
		{
			name: "ONLY_TO_CUSTOMER short", msg: with(attr(ot, 35, 0, 1)), want: withdraw, rfc: "RFC 9234 5",
			got: keep, why: "gobgp does not look inside, and we make no use of it",
		},
		{name: "IPv6 EXTENDED COMMUNITIES sound", msg: with(attr(ot, 25, make([]byte, 20)...)), want: keep},
	}
}

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

// crowd is one speaker with n passive neighbours on one link, 10.0.0.10 and up; call brings one up.
func crowd(t *testing.T, n int) (p *process, call func(t *testing.T, i int) *raw) {
	t.Helper()
	us, torNS := pair(t)
	var peers []Peer
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)})
		torNS.Run(t, fmt.Sprintf("ip addr add %v/24 dev e0", a))
		peers = append(peers, Peer{Name: fmt.Sprint("p", i), Address: a, AS: 65001, Passive: true, NextHops: map[Family]netip.Addr{IPv6: addr("fd00::2")}})
	}
	p, _ = speak(t, us, nil, peers...)
	return p, func(t *testing.T, i int) *raw {
		t.Helper()
		a := peers[i].Address.String()
		open := rawbgp.Open{AS: 65001, ID: addr(a), Hold: 90, IPv4: true, IPv6: true}
		return dial(t, torNS, a, "10.0.0.2", open)
	}
}

// The process survives each message, the session's fate is known, and good routes stay or come back.
func TestMalformedMessages(t *testing.T) {
	t.Parallel()
	all := hostiles()
	p, call := crowd(t, len(all))
	for i, h := range all {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			if h.got == "" {
				h.got = h.want
			} else if h.why == "" {
				t.Error("a deviation without a reason")
			}
			tryHostile(t, p, func() *raw { return call(t, i) }, i, h)
		})
	}
	t.Cleanup(func() {
		if _, err := p.call(request{Op: "count"}); err != nil {
			t.Error(err)
		}
	})
}

func tryHostile(t *testing.T, p *process, call func() *raw, i int, h hostile) {
	t.Helper()
	good, victim, after := pfx(fmt.Sprintf("10.140.%d.0/24", i)), pfx(fmt.Sprintf("10.141.%d.0/24", i)), pfx(fmt.Sprintf("10.142.%d.0/24", i))
	r := call()
	r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), []netip.Prefix{good, victim}))
	has := func(want map[netip.Prefix]string) error {
		a, err := p.call(request{Op: "routes"})
		if err != nil {
			return err
		}
		for prefix, hop := range want {
			via := a.Routes[prefix]
			if hop == "" && len(via) > 0 || hop != "" && (len(via) != 1 || via[0].Addr != addr(hop)) {
				return fmt.Errorf("%v is via %v, want %q", prefix, via, hop)
			}
		}
		return nil
	}
	nstest.Within(t, 10*time.Second, func() error { return has(map[netip.Prefix]string{good: "10.0.0.1", victim: "10.0.0.1"}) })

	_ = r.Send(h.msg(victim))
	_ = r.Send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), []netip.Prefix{after}))
	got := fate("")
	nstest.Within(t, 10*time.Second, func() error {
		select {
		case err := <-r.failed:
			var closed *rawbgp.Closed
			if !errors.As(err, &closed) {
				t.Errorf("the session ended without NOTIFICATION: %v", err)
			}
			got = reset
			return nil
		default:
		}
		if err := has(map[netip.Prefix]string{after: "10.0.0.1"}); err != nil {
			return err
		}
		for f, hop := range map[fate]string{withdraw: "", ignore: "10.0.0.1", keep: "10.0.0.77"} {
			if has(map[netip.Prefix]string{victim: hop}) == nil {
				got = f
			}
		}
		return nil
	})
	if got != h.got {
		t.Errorf("fate is %q, want %q (%s)", got, h.got, h.rfc)
	}
	if got == reset {
		nstest.Within(t, 10*time.Second, func() error { return has(map[netip.Prefix]string{good: "", victim: ""}) })
		call().send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), []netip.Prefix{good}))
	}
	nstest.Within(t, 10*time.Second, func() error { return has(map[netip.Prefix]string{good: "10.0.0.1"}) })
}

// Messages with octets changed at random: whatever happens to the sessions, the process lives, and a sound
// neighbour does not notice.
func TestRandomlyDamagedMessages(t *testing.T) {
	t.Parallel()
	const liars = 40
	p, call := crowd(t, liars+1)
	sound := call(t, liars)
	sound.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.143.0.0/24")))
	seeds := hostiles()
	for i := range liars {
		t.Run(fmt.Sprint("seed ", i), func(t *testing.T) {
			t.Parallel()
			r := call(t, i)
			rnd := rand.New(rand.NewPCG(7606, uint64(i)))
			for range 400 {
				msg := slices.Clone(seeds[rnd.IntN(len(seeds))].msg(pfx("10.141.0.0/24")))
				for range 1 + rnd.IntN(3) {
					if len(msg) > 19 { // the header stays sound, or nothing behind it is read
						msg[19+rnd.IntN(len(msg)-19)] = byte(rnd.UintN(256))
					}
				}
				if r.Send(msg) != nil {
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		a, err := p.call(request{Op: "routes"})
		if err != nil {
			t.Error(err)
		} else if len(a.Routes[pfx("10.143.0.0/24")]) != 1 {
			t.Error("the sound neighbour's route is gone")
		}
		select {
		case err := <-sound.failed:
			t.Errorf("the sound neighbour's session ended: %v", err)
		default:
		}
	})
}
