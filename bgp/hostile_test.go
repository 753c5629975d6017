package bgp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
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

// crowded is one speaker with passive neighbours on one link, 10.0.0.10 and up.
type crowded struct {
	p     *process
	c     Config
	ns    *nstest.NS // theirs
	liars int        // the first of them are renewed
}

func newCrowd(t *testing.T, n int, change func(i int, q *Peer)) *crowded {
	t.Helper()
	us, torNS := pair(t)
	var peers []Peer
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)})
		torNS.Run(t, fmt.Sprintf("ip addr add %v/24 dev e0", a))
		q := Peer{Name: fmt.Sprint("p", i), Address: a, AS: 65001, Passive: true, NextHops: map[Family]netip.Addr{IPv6: addr("fd00::2")}}
		if change != nil {
			change(i, &q)
		}
		peers = append(peers, q)
	}
	p, c := speak(t, us, nil, peers...)
	return &crowded{p: p, c: c, ns: torNS, liars: n}
}

// call brings a neighbour up.
func (c *crowded) call(t *testing.T, i int) *raw {
	t.Helper()
	q := c.c.Peers[i]
	return dial(t, c.ns, q.Address.String(), "10.0.0.2", rawbgp.Open{AS: q.AS, ID: q.Address, Hold: 90, IPv4: true, IPv6: true})
}

// The process survives each message, the session's fate is known, and good routes stay or come back.
func TestMalformedMessages(t *testing.T) {
	t.Parallel()
	all := hostiles()
	c := newCrowd(t, len(all), nil)
	for i, h := range all {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			if h.got == "" {
				h.got = h.want
			} else if h.why == "" {
				t.Error("a deviation without a reason")
			}
			tryHostile(t, c.p, func() *raw { return c.call(t, i) }, i, h)
		})
	}
	t.Cleanup(func() {
		if _, err := c.p.call(request{Op: "count"}); err != nil {
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
