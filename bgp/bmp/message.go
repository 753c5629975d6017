package bmp

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Types of messages (RFC 7854 section 4.1).
const (
	typeRouteMonitoring = 0
	typeStatistics      = 1
	typePeerDown        = 2
	typePeerUp          = 3
	typeInitiation      = 4
	typeTermination     = 5
)

// Reason is why a session is not up any more (RFC 7854 section 4.9).
type Reason byte

// Reasons, and what data goes with them.
const (
	ReasonNotificationSent     Reason = 1 // the NOTIFICATION
	ReasonClosedHere           Reason = 2 // the number of the event (RFC 4271 section 8.1), two bytes
	ReasonNotificationReceived Reason = 3 // the NOTIFICATION
	ReasonClosedThere          Reason = 4
	ReasonDeconfigured         Reason = 5
)

// Types of statistics (RFC 7854 section 4.8).
const (
	StatTreatedAsWithdraw = 11 // UPDATEs
	StatRoutesIn          = 7  // in Adj-RIB-In
	StatFamilyRoutesIn    = 9  // the same of one family
)

const (
	version      = 3
	commonHeader = 6
	peerHeader   = 42
	flagIPv6     = 0x80
)

// Peer is a neighbour as the per-peer header has it (RFC 7854 section 4.2), of a global instance, before the import policy.
type Peer struct {
	Addr netip.Addr // without a zone
	AS   uint32
	ID   netip.Addr // its BGP identifier
}

// Up is what is said of a session that is up. Sent and Received are the OPEN messages.
type Up struct {
	Local                 netip.Addr
	LocalPort, RemotePort uint16
	Sent, Received        []byte
}

// Stat is one number of a statistics report: a counter of 32 bits, or a gauge of 64, of a family where AFI is not 0.
type Stat struct {
	Type  uint16
	AFI   uint16
	SAFI  byte
	Value uint64
}

// message puts the common header before a body, whose parts it joins.
func message(kind byte, parts ...[]byte) []byte {
	size := commonHeader
	for _, p := range parts {
		size += len(p)
	}
	b := make([]byte, 0, size)
	b = append(b, version)
	b = binary.BigEndian.AppendUint32(b, uint32(size))
	b = append(b, kind)
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// address is an address in 16 bytes, one of IPv4 in the last four.
func address(a netip.Addr) []byte {
	b := make([]byte, 16)
	if a.Is4() {
		v := a.As4()
		copy(b[12:], v[:])
	} else if a.IsValid() {
		v := a.As16()
		copy(b, v[:])
	}
	return b
}

// header is the per-peer header. The zero time is one that is not known.
func (p Peer) header(at time.Time) []byte {
	b := make([]byte, 2, peerHeader) // global instance, no flags
	if p.Addr.Is6() {
		b[1] |= flagIPv6
	}
	b = append(b, make([]byte, 8)...) // no distinguisher
	b = append(b, address(p.Addr)...)
	b = binary.BigEndian.AppendUint32(b, p.AS)
	id := [4]byte{}
	if p.ID.Is4() {
		id = p.ID.As4()
	}
	b = append(b, id[:]...)
	if at.IsZero() {
		return append(b, make([]byte, 8)...)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(at.Unix()))
	return binary.BigEndian.AppendUint32(b, uint32(at.Nanosecond()/1000))
}

// RouteMonitoring is an UPDATE that a neighbour has sent (section 4.6).
func RouteMonitoring(p Peer, at time.Time, update []byte) []byte {
	return message(typeRouteMonitoring, p.header(at), update)
}

// PeerUp says that a session is up (section 4.10).
func PeerUp(p Peer, at time.Time, u Up) []byte {
	ports := binary.BigEndian.AppendUint16(nil, u.LocalPort)
	ports = binary.BigEndian.AppendUint16(ports, u.RemotePort)
	return message(typePeerUp, p.header(at), address(u.Local), ports, u.Sent, u.Received)
}

// PeerDown says that a session has ended (section 4.9).
func PeerDown(p Peer, at time.Time, why Reason, data []byte) []byte {
	return message(typePeerDown, p.header(at), []byte{byte(why)}, data)
}

// Statistics are numbers of a neighbour (section 4.8).
func Statistics(p Peer, at time.Time, stats []Stat) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(stats)))
	for _, s := range stats {
		b = binary.BigEndian.AppendUint16(b, s.Type)
		switch {
		case s.AFI != 0:
			b = binary.BigEndian.AppendUint16(b, 11)
			b = binary.BigEndian.AppendUint16(b, s.AFI)
			b = append(b, s.SAFI)
			b = binary.BigEndian.AppendUint64(b, s.Value)
		case s.Type == StatRoutesIn:
			b = binary.BigEndian.AppendUint16(b, 8)
			b = binary.BigEndian.AppendUint64(b, s.Value)
		default:
			b = binary.BigEndian.AppendUint16(b, 4)
			b = binary.BigEndian.AppendUint32(b, uint32(s.Value))
		}
	}
	return message(typeStatistics, p.header(at), b)
}

// information is a TLV of text (section 4.4).
func information(kind uint16, text string) []byte {
	b := binary.BigEndian.AppendUint16(nil, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
	return append(b, text...)
}

// initiation is what a station is told first (section 4.3): who we are.
func initiation(name, description string) []byte {
	return message(typeInitiation, information(1, description), information(2, name))
}

// termination is what a station is told last (section 4.5): we close, on purpose.
func termination() []byte {
	return message(typeTermination, []byte{0, 1, 0, 2, 0, 0})
}
