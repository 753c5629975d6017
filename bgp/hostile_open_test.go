package bgp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
)

// hostileOpen is what a neighbour sends in the place of a sound OPEN.
type hostileOpen struct {
	name     string
	msg      []byte
	internal bool // the neighbour is of our own AS
	// want is what the RFC asks for, by its section (of RFC 4271 where nothing else is said): up, or the code and the subcode of the
	// NOTIFICATION.
	want, rfc string
	// got is what gobgp 4.8 does where that differs, and why we live with it.
	got, why string
}

const (
	up     = "up"     // the session comes up
	closed = "closed" // the connection ends without a NOTIFICATION

	lengths    = "gobgp says Bad Message Length of all lengths in an OPEN that do not agree"
	unreadable = "gobgp says Unsupported Capability of a capability that it cannot read"
	leftOver   = "gobgp does not mind octets behind what it reads"
	skipped    = "gobgp skips parameters that it does not know; nothing depends on them"
	fourCounts = "gobgp takes the AS number of the capability, and the other one is of no use beside it"
	noExtended = "gobgp does not know RFC 9072: it takes this for a parameter of type 255. What is negotiated with us fits into 255 octets"
)

// openOf is an OPEN with these optional parameters; the length that it gives for them is true.
func openOf(as, hold uint16, id string, params []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{4}, as)
	b = binary.BigEndian.AppendUint16(b, hold)
	b = append(append(b, addr(id).AsSlice()...), byte(len(params)))
	return rawbgp.Message(rawbgp.TypeOpen, append(b, params...))
}

// lied is a message one of whose octets is another one, by its place behind the header.
func lied(m []byte, at int, octet byte) []byte {
	m = slices.Clone(m)
	m[19+at] = octet
	return m
}

// param is an optional parameter, capability a capability in a parameter of its own.
func param(typ byte, v ...byte) []byte { return append([]byte{typ, byte(len(v))}, v...) }

func capability(code byte, v ...byte) []byte {
	return param(2, append([]byte{code, byte(len(v))}, v...)...)
}

// offer is an OPEN that is sound but for what is added to it.
func offer65001(more ...[]byte) []byte {
	params := slices.Concat(capability(1, 0, 1, 0, 1), capability(65, 0, 0, 0xfd, 0xe9))
	return openOf(65001, 90, "10.9.9.9", slices.Concat(append([][]byte{params}, more...)...))
}

// extended is an OPEN with optional parameters as RFC 9072 has them, and a length that need not be theirs.
func extended(length int, params []byte) []byte {
	b := slices.Concat([]byte{4, 0xfd, 0xe9, 0, 90}, addr("10.9.9.9").AsSlice(), []byte{255, 255})
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	return rawbgp.Message(rawbgp.TypeOpen, append(b, params...))
}

// wide is an optional parameter of RFC 9072, with two octets of length.
func wide(typ byte, v []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{typ}, uint16(len(v))), v...)
}

func hostileOpens() []hostileOpen {
	return slices.Concat(openFields(), openParameters(), openCapabilities(), openFraming())
}

func openFields() []hostileOpen {
	four := capability(65, 0, 0, 0xfd, 0xe9)
	sound := openOf(65001, 90, "10.9.9.9", four)
	return []hostileOpen{
		{name: "sound", msg: sound, want: up},
		{name: "version 3", msg: lied(sound, 0, 3), want: "2/1", rfc: "6.2"},
		{name: "version 5", msg: lied(sound, 0, 5), want: "2/1", rfc: "6.2"},
		{name: "version 0", msg: lied(sound, 0, 0), want: "2/1", rfc: "6.2"},
		{name: "hold time 1", msg: openOf(65001, 1, "10.9.9.9", four), want: "2/6", rfc: "6.2"},
		{name: "hold time 2", msg: openOf(65001, 2, "10.9.9.9", four), want: "2/6", rfc: "6.2"},
		{name: "hold time 0", msg: openOf(65001, 0, "10.9.9.9", four), want: up, rfc: "4.2"},
		{name: "hold time 65535", msg: openOf(65001, 65535, "10.9.9.9", four), want: up, rfc: "4.2"},
		{name: "another AS", msg: openOf(65007, 90, "10.9.9.9", capability(65, 0, 0, 0xfd, 0xef)), want: "2/2", rfc: "6.2"},
		{name: "AS 0", msg: openOf(0, 90, "10.9.9.9", capability(65, 0, 0, 0, 0)), want: "2/2", rfc: "RFC 7607 2"},
		{name: "AS 0 without the capability", msg: openOf(0, 90, "10.9.9.9", nil), want: "2/2", rfc: "RFC 7607 2"},
		{name: "AS 0 beside the capability", msg: openOf(0, 90, "10.9.9.9", four), want: "2/2", rfc: "RFC 7607 2", got: up, why: fourCounts},
		{name: "another AS beside the capability", msg: openOf(7, 90, "10.9.9.9", four), want: "2/2", rfc: "RFC 6793 4.2.1", got: up, why: fourCounts},
		{name: "AS_TRANS beside the capability", msg: openOf(23456, 90, "10.9.9.9", four), want: up, rfc: "RFC 6793 4.2.1"},
		{name: "AS_TRANS without the capability", msg: openOf(23456, 90, "10.9.9.9", nil), want: "2/2", rfc: "6.2"},
		{name: "no capabilities", msg: openOf(65001, 90, "10.9.9.9", nil), want: up, rfc: "4.2"},
		{name: "router ID 0", msg: openOf(65001, 90, "0.0.0.0", four), want: "2/3", rfc: "RFC 6286 2.2"},
		{name: "router ID multicast", msg: openOf(65001, 90, "224.0.0.1", four), want: up, rfc: "RFC 6286 2.1"},
		{name: "our router ID from outside", msg: openOf(65001, 90, "10.0.0.2", four), want: up, rfc: "RFC 6286 2.2"},
		{name: "our router ID from inside", msg: openOf(65002, 90, "10.0.0.2", capability(65, 0, 0, 0xfd, 0xea)), internal: true, want: "2/3", rfc: "RFC 6286 2.2"},
	}
}

func openParameters() []hostileOpen {
	sound := offer65001()
	length := len(sound) - 19 - 10
	many := []byte{65, 4, 0, 0, 0xfd, 0xe9}
	for i := range 254 {
		many = append(many, byte(128+i%100), 0)
	}
	with := func(more ...byte) []byte { // one parameter is unsound
		return openOf(65001, 90, "10.9.9.9", append(capability(65, 0, 0, 0xfd, 0xe9), more...))
	}
	return []hostileOpen{
		{name: "parameters longer than the message", msg: lied(sound, 9, byte(length+10)), want: "2/0", rfc: "6.2", got: "1/2", why: lengths},
		{name: "parameters shorter than the message", msg: lied(sound, 9, byte(length-6)), want: "2/0", rfc: "6.2", got: "1/2", why: lengths},
		{name: "parameters cut off in the middle", msg: lied(sound, 9, byte(length-3)), want: "2/0", rfc: "6.2", got: "1/2", why: lengths},
		{name: "one octet of a parameter", msg: with(2), want: "2/0", rfc: "6.2", got: "1/2", why: lengths},
		{name: "parameter that overruns", msg: with(2, 10, 2, 0), want: "2/0", rfc: "6.2", got: "1/2", why: lengths},
		{name: "parameter of 255 octets that are not there", msg: with(2, 255, 2, 0), want: "2/0", rfc: "6.2", got: "1/2", why: lengths},
		{name: "parameter of no capabilities", msg: with(2, 0), want: up, rfc: "RFC 5492 4"},
		{name: "parameter of an unknown type", msg: with(77, 2, 1, 2), want: "2/4", rfc: "6.2", got: up, why: skipped},
		{name: "parameter of type 0", msg: with(0, 0), want: "2/4", rfc: "6.2", got: up, why: skipped},
		{name: "authentication", msg: with(1, 1, 0), want: "2/4", rfc: "6.2", got: up, why: skipped},
		{name: "extended parameters", msg: extended(9, wide(2, []byte{65, 4, 0, 0, 0xfd, 0xe9})), want: up, rfc: "RFC 9072 2", got: "1/2", why: noExtended},
		{name: "extended parameters longer than the message", msg: extended(99, wide(2, []byte{65, 4, 0, 0, 0xfd, 0xe9})), want: "2/0", rfc: "RFC 9072 2", got: "1/2", why: noExtended},
		{name: "255 octets of parameters, and none there", msg: lied(openOf(65001, 90, "10.9.9.9", nil), 9, 255), want: "2/0", rfc: "6.2", got: "1/2", why: lengths},
		{name: "255 capabilities in extended parameters", msg: extended(len(many)+3, wide(2, many)), want: up, rfc: "RFC 9072 2", got: "2/7", why: noExtended},
	}
}

func openCapabilities() []hostileOpen {
	many := []byte{65, 4, 0, 0, 0xfd, 0xe9}
	for i := range 120 {
		many = append(many, byte(200+i%40), 0)
	}
	return []hostileOpen{
		{name: "as many capabilities as fit", msg: openOf(65001, 90, "10.9.9.9", param(2, many...)), want: up, rfc: "RFC 5492 4"},
		{name: "unknown capabilities", msg: offer65001(capability(99, 1, 2, 3), capability(0), capability(255, make([]byte, 100)...)), want: up, rfc: "RFC 5492 3"},
		{name: "capability that overruns", msg: offer65001(param(2, 2, 200)), want: "2/0", rfc: "6.2", got: "2/7", why: unreadable},
		{name: "unknown capability that overruns", msg: offer65001(param(2, 99, 10, 1)), want: "2/0", rfc: "6.2", got: "2/7", why: unreadable},
		{name: "one octet of a capability", msg: offer65001(param(2, 2)), want: "2/0", rfc: "6.2", got: up, why: leftOver},
		{name: "multiprotocol of no octets", msg: offer65001(capability(1)), want: "2/0", rfc: "RFC 4760 8", got: "2/7", why: unreadable},
		{name: "multiprotocol of three octets", msg: offer65001(capability(1, 0, 2, 0)), want: "2/0", rfc: "RFC 4760 8", got: "2/7", why: unreadable},
		{name: "multiprotocol of five octets", msg: offer65001(capability(1, 0, 2, 0, 1, 0)), want: "2/0", rfc: "RFC 4760 8", got: "2/7", why: unreadable},
		{name: "multiprotocol of an unknown family", msg: offer65001(capability(1, 0x12, 0x34, 0, 200)), want: up, rfc: "RFC 4760 8"},
		{name: "no family that we speak", msg: openOf(65001, 90, "10.9.9.9", slices.Concat(capability(1, 0, 25, 0, 70), capability(65, 0, 0, 0xfd, 0xe9))), want: up, rfc: "RFC 5492 3"},
		{name: "the same family twenty times", msg: offer65001(slices.Repeat(capability(1, 0, 1, 0, 1), 20)), want: up, rfc: "RFC 5492 4"},
		{name: "route refresh of one octet", msg: offer65001(capability(2, 1)), want: "2/0", rfc: "RFC 2918 2", got: up, why: leftOver},
		{name: "four-octet AS of two octets", msg: openOf(65001, 90, "10.9.9.9", capability(65, 0xfd, 0xe9)), want: "2/0", rfc: "RFC 6793 3", got: "2/7", why: unreadable},
		{name: "four-octet AS of no octets", msg: openOf(65001, 90, "10.9.9.9", capability(65)), want: "2/0", rfc: "RFC 6793 3", got: "2/7", why: unreadable},
		{name: "four-octet AS twice, the second another one", msg: offer65001(capability(65, 0, 0, 0, 7)), want: "2/2", rfc: "6.2"},
		{name: "graceful restart of no octets", msg: offer65001(capability(64)), want: "2/0", rfc: "RFC 4724 3", got: "2/7", why: unreadable},
		{name: "graceful restart of one octet", msg: offer65001(capability(64, 0x80)), want: "2/0", rfc: "RFC 4724 3", got: "2/7", why: unreadable},
		{name: "graceful restart with a family cut short", msg: offer65001(capability(64, 0x80, 120, 0, 1, 1)), want: "2/0", rfc: "RFC 4724 3", got: up, why: leftOver},
		{name: "graceful restart overrun", msg: offer65001(param(2, 64, 10, 0x80, 120, 0, 1, 1, 0x80)), want: "2/0", rfc: "6.2", got: "2/7", why: unreadable},
		{name: "graceful restart of unknown families", msg: offer65001(capability(64, 0x40, 120, 0x12, 0x34, 9, 0x80, 0, 0, 0, 0)), want: up, rfc: "RFC 4724 3"},
		{name: "graceful restart twice", msg: offer65001(capability(64, 0, 10, 0, 1, 1, 0), capability(64, 0, 20, 0, 1, 1, 0x80)), want: up, rfc: "RFC 4724 3"},
		{name: "long-lived graceful restart cut short", msg: offer65001(capability(64, 0, 10), capability(71, 0, 1, 1, 0, 0)), want: "2/0", rfc: "RFC 9494 3.1", got: "2/7", why: unreadable},
		{name: "add-path of five octets", msg: offer65001(capability(69, 0, 1, 1, 3, 0)), want: "2/0", rfc: "RFC 7911 4", got: "2/7", why: unreadable},
		{name: "add-path of three octets", msg: offer65001(capability(69, 0, 1, 1)), want: "2/0", rfc: "RFC 7911 4", got: "2/7", why: unreadable},
		{name: "add-path in direction 9", msg: offer65001(capability(69, 0, 1, 1, 9)), want: up, rfc: "RFC 7911 4"},
		{name: "extended next hop of five octets", msg: offer65001(capability(5, 0, 1, 0, 1, 0)), want: "2/0", rfc: "RFC 8950 4", got: "2/7", why: unreadable},
		{name: "extended message of three octets", msg: offer65001(capability(6, 1, 2, 3)), want: "2/0", rfc: "RFC 8654 3", got: up, why: leftOver},
		{name: "host name that overruns", msg: offer65001(capability(73, 200, 'x')), want: "2/0", rfc: "6.2", got: "2/7", why: unreadable},
		{name: "software version that overruns", msg: offer65001(capability(75, 200, 'x')), want: "2/0", rfc: "6.2", got: "2/7", why: unreadable},
	}
}

func openFraming() []hostileOpen {
	sound := offer65001()
	header := func(length uint16, typ byte, body []byte) []byte {
		m := rawbgp.Message(typ, body)
		binary.BigEndian.PutUint16(m[16:], length)
		return m
	}
	marker := slices.Clone(sound)
	marker[7] = 0
	full := func(n int) []byte { return append(sound[19:len(sound):len(sound)], make([]byte, n-len(sound))...) }
	return []hostileOpen{
		{name: "marker not all ones", msg: marker, want: "1/1", rfc: "6.1"},
		{name: "length 0", msg: header(0, rawbgp.TypeOpen, sound[19:]), want: "1/2", rfc: "6.1"},
		{name: "length 18", msg: header(18, rawbgp.TypeOpen, sound[19:]), want: "1/2", rfc: "6.1"},
		{name: "OPEN of 28 octets", msg: rawbgp.Message(rawbgp.TypeOpen, sound[19:28]), want: "1/2", rfc: "6.1"},
		{name: "OPEN of 19 octets", msg: rawbgp.Message(rawbgp.TypeOpen, nil), want: "1/2", rfc: "6.1"},
		{name: "OPEN of 4096 octets, most of them behind the parameters", msg: rawbgp.Message(rawbgp.TypeOpen, full(4096)), want: "2/0", rfc: "6.2", got: up, why: leftOver},
		{name: "OPEN of 4097 octets", msg: rawbgp.Message(rawbgp.TypeOpen, full(4097)), want: "1/2", rfc: "RFC 8654 4"},
		{name: "OPEN of 65535 octets", msg: rawbgp.Message(rawbgp.TypeOpen, full(65535)), want: "1/2", rfc: "RFC 8654 4"},
		{name: "type 0", msg: header(uint16(len(sound)), 0, sound[19:]), want: "1/3", rfc: "6.1"},
		{name: "type 77", msg: header(uint16(len(sound)), 77, sound[19:]), want: "1/3", rfc: "6.1"},
		{name: "KEEPALIVE before OPEN", msg: rawbgp.Keepalive(), want: "5/1", rfc: "RFC 6608 3"},
		{name: "UPDATE before OPEN", msg: rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.141.0.0/24")), want: "5/1", rfc: "RFC 6608 3"},
		{name: "ROUTE-REFRESH before OPEN", msg: rawbgp.Message(rawbgp.TypeRouteRefresh, []byte{0, 1, 0, 1}), want: "5/1", rfc: "RFC 6608 3"},
		{name: "NOTIFICATION before OPEN", msg: rawbgp.Notification(6, 2), want: closed, rfc: "8.2.2", got: "5/1", why: "gobgp answers a NOTIFICATION with another one, which section 6.4 forbids; the connection ends all the same"},
		{name: "OPEN twice", msg: slices.Concat(sound, sound), want: "5/2", rfc: "RFC 6608 3", got: closed, why: "gobgp closes the connection without a word in OpenConfirm"},
		{name: "OPEN, then an UPDATE before KEEPALIVE", msg: slices.Concat(sound, rawbgp.EndOfRIB(false)), want: "5/2", rfc: "RFC 6608 3", got: closed, why: "gobgp closes the connection without a word in OpenConfirm"},
	}
}

// Whatever comes in the place of an OPEN, the process lives, says what is wrong, and takes a sound OPEN afterwards.
func TestMalformedOpens(t *testing.T) {
	t.Parallel()
	all := hostileOpens()
	c := newCrowd(t, len(all), func(i int, q *Peer) {
		if all[i].internal {
			q.AS = 65002
		}
	})
	t.Run("fates", func(t *testing.T) {
		for i, h := range all {
			t.Run(h.name, func(t *testing.T) {
				t.Parallel()
				if h.got == "" {
					h.got = h.want
				} else if h.why == "" {
					t.Error("a deviation without a reason")
				}
				if got := c.open(t, i, h.msg); got != h.got {
					t.Errorf("fate is %s, want %s (%s)", got, h.got, h.rfc)
				}
			})
		}
	})
	c.renew()
	t.Run("afterwards", func(t *testing.T) {
		for i, h := range all {
			t.Run(h.name, func(t *testing.T) {
				t.Parallel()
				prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 144, byte(i), 0}), 24)
				as := []uint32{65001}
				if h.internal {
					as = nil
				}
				c.call(t, i).send(rawbgp.Announce(as, addr("10.0.0.1"), []netip.Prefix{prefix}, rawbgp.LocalPref(100)))
				nstest.Within(t, 10*time.Second, func() error {
					a, err := c.p.call(request{Op: "routes"})
					if err == nil && len(a.Routes[prefix]) != 1 {
						err = fmt.Errorf("%v is not learned", prefix)
					}
					return err
				})
			})
		}
	})
}

// renew has the speaker forget what was with its neighbours; after an error it does not hear one for five seconds.
func (c *crowded) renew() {
	c.p.t.Helper()
	for _, down := range []bool{true, false} {
		for i := range c.c.Peers {
			c.c.Peers[i].Down = down && i < c.liars
		}
		c.p.set(c.c)
	}
}

// open calls as a neighbour, says msg in the place of OPEN, and returns what became of it.
func (c *crowded) open(t *testing.T, i int, msg []byte) string {
	t.Helper()
	conn, err := c.connect(i)
	if err != nil {
		t.Fatal(err)
	}
	s, err := rawbgp.Offer(conn, msg, 3*time.Second)
	if err != nil {
		return fateOf(err)
	}
	r, fate := follow(t, s), "" // it is up here; what is left of the message comes to the other end yet
	nstest.Within(t, 10*time.Second, func() error {
		select {
		case err := <-r.failed:
			fate = fateOf(err)
			return nil
		default:
		}
		st := c.p.peer(c.c.Peers[i].Name)
		if st.State != "Established" {
			return fmt.Errorf("session is %s", st.State)
		}
		fate = up
		return nil
	})
	return fate
}

// fateOf is that of a connection that ended.
func fateOf(err error) string {
	var refused *rawbgp.Closed
	var late net.Error
	switch {
	case errors.As(err, &refused):
		return fmt.Sprintf("%d/%d", refused.Code, refused.Subcode)
	case errors.As(err, &late) && late.Timeout():
		return "silence"
	}
	return closed
}
