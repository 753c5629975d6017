package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Message types of RFC 4271 section 4.1.
const (
	update    = 2
	keepalive = 4
)

const (
	bgpPort   = 179
	bgpHeader = 19
	ipTCP     = 6
	tcpFin    = 0x01
	tcpSyn    = 0x02
	tcpRst    = 0x04
)

// segment is a TCP segment of a BGP session.
type segment struct {
	src  netip.Addr
	seq  uint32
	syn  bool
	end  bool // FIN or RST
	data []byte
}

// parseSegment takes an IPv4 packet apart; false when it is none of a BGP session.
func parseSegment(b []byte) (segment, bool) {
	if len(b) < 20 || b[0]>>4 != 4 || b[9] != ipTCP {
		return segment{}, false
	}
	total, head := int(binary.BigEndian.Uint16(b[2:])), int(b[0]&15)*4
	if total > len(b) || total < head+20 {
		return segment{}, false
	}
	tcp := b[head:total]
	off := int(tcp[12]>>4) * 4
	if off < 20 || off > len(tcp) {
		return segment{}, false
	}
	if binary.BigEndian.Uint16(tcp) != bgpPort && binary.BigEndian.Uint16(tcp[2:]) != bgpPort {
		return segment{}, false
	}
	return segment{
		src:  netip.AddrFrom4([4]byte(b[12:16])),
		seq:  binary.BigEndian.Uint32(tcp[4:]),
		syn:  tcp[13]&tcpSyn != 0,
		end:  tcp[13]&(tcpFin|tcpRst) != 0,
		data: tcp[off:],
	}, true
}

// message is what counts of a BGP message.
type message struct {
	kind     byte
	prefixes int // IPv4 NLRI of an UPDATE, RFC 4271 section 4.3
}

// bgpStream is one direction of a session, cut into messages.
type bgpStream struct {
	next uint32 // the sequence number that is expected
	rest []byte // an unfinished message
}

// add takes a segment in. A segment seen twice is ignored, one that is missing is an error: the
// capture would count too little.
func (s *bgpStream) add(seg segment, each func(message)) error {
	if seg.syn {
		s.next, s.rest = seg.seq+1, nil
		return nil
	}
	if len(seg.data) == 0 {
		return nil
	}
	ahead := int32(seg.seq - s.next)
	if ahead > 0 {
		return fmt.Errorf("the capture missed %d bytes of the session from %v", ahead, seg.src)
	}
	if int(-ahead) >= len(seg.data) {
		return nil
	}
	s.next = seg.seq + uint32(len(seg.data))
	s.rest = append(s.rest, seg.data[-ahead:]...)
	b := s.rest
	for len(b) >= bgpHeader {
		n := int(binary.BigEndian.Uint16(b[16:]))
		if n < bgpHeader {
			return fmt.Errorf("a BGP message of %d bytes from %v", n, seg.src)
		}
		if len(b) < n {
			break
		}
		m := message{kind: b[18]}
		if m.kind == update {
			m.prefixes = countNLRI(b[bgpHeader:n])
		}
		each(m)
		b = b[n:]
	}
	s.rest = append(s.rest[:0], b...)
	return nil
}

// countNLRI counts the IPv4 prefixes that an UPDATE's body announces.
func countNLRI(b []byte) int {
	for range 2 { // withdrawn routes, then path attributes
		if len(b) < 2 {
			return 0
		}
		n := 2 + int(binary.BigEndian.Uint16(b))
		if n > len(b) {
			return 0
		}
		b = b[n:]
	}
	count := 0
	for len(b) > 0 {
		n := 1 + (int(b[0])+7)/8
		if n > len(b) {
			break
		}
		b = b[n:]
		count++
	}
	return count
}
