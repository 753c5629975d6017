package main

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// bgpMessage is a message of RFC 4271 section 4.1.
func bgpMessage(kind byte, body ...byte) []byte {
	b := make([]byte, 16, bgpHeader+len(body))
	for i := range b {
		b[i] = 0xff
	}
	b = binary.BigEndian.AppendUint16(b, uint16(bgpHeader+len(body)))
	return append(append(b, kind), body...)
}

// packetFrom is an IPv4 packet of a session, with 12 bytes of TCP options.
func packetFrom(src string, seq uint32, flags byte, data []byte) []byte {
	ip := make([]byte, 20)
	ip[0], ip[9] = 0x45, ipTCP
	copy(ip[12:], netip.MustParseAddr(src).AsSlice())
	tcp := make([]byte, 32)
	binary.BigEndian.PutUint16(tcp, 40000)
	binary.BigEndian.PutUint16(tcp[2:], bgpPort)
	binary.BigEndian.PutUint32(tcp[4:], seq)
	tcp[12], tcp[13] = 8<<4, flags
	b := append(append(ip, tcp...), data...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return append(b, 0, 0) // what pads a short frame
}

// threeAnnounced is three prefixes of different lengths, after one withdrawn route and one attribute.
func threeAnnounced() []byte {
	return bgpMessage(update, 0, 2, 8, 11, 0, 4, 0x40, 1, 1, 0, 0, 26, 10, 0, 0, 64, 16, 10, 1)
}

func TestSeen(t *testing.T) {
	t.Parallel()
	feeder := netip.MustParseAddr(feederAddr)
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	endOfRIB := bgpMessage(update, 0, 0, 0, 0)
	alive := bgpMessage(keepalive)
	stream := append(append(append(append([]byte{}, alive...), endOfRIB...), threeAnnounced()...), threeAnnounced()...)
	cut := len(alive) + len(endOfRIB) + 10 // inside the first announcement
	var s seen
	for i, p := range [][]byte{
		packetFrom(feederAddr, 99, tcpSyn, nil),
		packetFrom(deviceAddr, 7, tcpSyn, nil),
		packetFrom(deviceAddr, 8, 0, alive),
		packetFrom(feederAddr, 100, 0, stream[:cut]),
		packetFrom(feederAddr, 100, 0, stream[:cut]), // sent again
		packetFrom(feederAddr, 100+uint32(cut)-5, 0, stream[cut-5:]),
		packetFrom(feederAddr, 100+uint32(len(stream)), tcpFin, nil),
		packetFrom(feederAddr, 100+uint32(len(stream)), tcpRst, nil),
	} {
		if err := s.packet(p, feeder, at(i)); err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
	}
	want := seen{Established: at(3), First: at(5), Last: at(5), Closed: at(6), Updates: 2, Prefixes: 6, Fullest: 3}
	got := s
	got.fromFeeder, got.fromDevice, got.opens = bgpStream{}, bgpStream{}, [2]bool{}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(seen{}, bgpStream{})); d != "" {
		t.Error(d)
	}
}

func TestMissedPacket(t *testing.T) {
	t.Parallel()
	var s seen
	for i, p := range [][]byte{
		packetFrom(feederAddr, 99, tcpSyn, nil),
		packetFrom(feederAddr, 101, 0, bgpMessage(keepalive)),
	} {
		err := s.packet(p, netip.MustParseAddr(feederAddr), time.Now())
		if missed := i == 1; missed != (err != nil) {
			t.Errorf("packet %d: %v", i, err)
		}
	}
}

func TestNoSegment(t *testing.T) {
	t.Parallel()
	good := packetFrom(feederAddr, 1, 0, nil)
	for name, change := range map[string]func(b []byte) []byte{
		"short":      func(b []byte) []byte { return b[:30] },
		"IPv6":       func(b []byte) []byte { b[0] = 0x65; return b },
		"UDP":        func(b []byte) []byte { b[9] = 17; return b },
		"other port": func(b []byte) []byte { b[22], b[23] = 0, 80; return b },
		"TCP offset": func(b []byte) []byte { b[32] = 0xf0; return b },
		"IP header":  func(b []byte) []byte { b[0] = 0x4f; return b },
	} {
		if _, ok := parseSegment(change(append([]byte{}, good...))); ok {
			t.Errorf("%s: taken for a segment", name)
		}
	}
	if _, ok := parseSegment(good); !ok {
		t.Error("a segment is not recognised")
	}
}
