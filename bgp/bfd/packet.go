package bfd

import (
	"encoding/binary"
	"errors"
	"time"
)

// State of a session (RFC 5880 section 4.1).
type State uint8

// States.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

// String is the state's name in RFC 5880.
func (s State) String() string {
	switch s {
	case AdminDown:
		return "AdminDown"
	case Down:
		return "Down"
	case Init:
		return "Init"
	case Up:
		return "Up"
	}
	return "unknown"
}

// Diag says why a session left the state Up last (RFC 5880 section 4.1).
type Diag uint8

// Diagnostic codes that we give.
const (
	DiagNone         Diag = 0
	DiagTimeExpired  Diag = 1
	DiagNeighborDown Diag = 3
	DiagAdminDown    Diag = 7
)

// String is the code's meaning in RFC 5880.
func (d Diag) String() string {
	names := [...]string{
		"No Diagnostic", "Control Detection Time Expired", "Echo Function Failed", "Neighbor Signaled Session Down",
		"Forwarding Plane Reset", "Path Down", "Concatenated Path Down", "Administratively Down", "Reverse Concatenated Path Down",
	}
	if int(d) < len(names) {
		return names[d]
	}
	return "unknown diagnostic"
}

const (
	version   = 1
	headSize  = 24 // the mandatory section
	maxPacket = headSize + 28
)

// Flags of a packet, as they stand in its second byte beside the state.
const (
	flagMultipoint = 1 << iota
	flagDemand
	flagAuth
	flagIndependent // of the control plane: the C bit
	flagFinal
	flagPoll
)

// packet is a BFD Control packet (RFC 5880 section 4.1). Intervals are in microseconds.
type packet struct {
	diag                    Diag
	state                   State
	flags                   uint8
	mult                    uint8
	my, your                uint32
	minTX, minRX, minEchoRX uint32
	auth                    []byte // the authentication section, whole; nil without
}

// Why a packet is discarded (RFC 5880 section 6.8.6, RFC 5881 sections 4 and 5).
var (
	errShort      = errors.New("it is shorter than a BFD Control packet")
	errVersion    = errors.New("its version is not 1")
	errLength     = errors.New("its length field is wrong")
	errMult       = errors.New("its detection time multiplier is zero")
	errMultipoint = errors.New("its Multipoint bit is set")
	errMy         = errors.New("its My Discriminator is zero")
	errYour       = errors.New("its Your Discriminator is zero, which its state forbids")
)

// parse reads a datagram, with all the checks that need no session. auth points into b.
func parse(b []byte) (packet, error) {
	if len(b) < headSize {
		return packet{}, errShort
	}
	p := packet{
		diag: Diag(b[0] & 0x1f), state: State(b[1] >> 6), flags: b[1] & 0x3f, mult: b[2],
		my: binary.BigEndian.Uint32(b[4:]), your: binary.BigEndian.Uint32(b[8:]),
		minTX: binary.BigEndian.Uint32(b[12:]), minRX: binary.BigEndian.Uint32(b[16:]), minEchoRX: binary.BigEndian.Uint32(b[20:]),
	}
	length, least := int(b[3]), headSize
	if p.has(flagAuth) {
		least += 2
	}
	switch {
	case b[0]>>5 != version:
		return packet{}, errVersion
	case length < least || length > len(b):
		return packet{}, errLength
	case p.mult == 0:
		return packet{}, errMult
	case p.has(flagMultipoint):
		return packet{}, errMultipoint
	case p.my == 0:
		return packet{}, errMy
	case p.your == 0 && p.state > Down:
		return packet{}, errYour
	}
	if p.has(flagAuth) {
		p.auth = b[headSize:length]
		if int(p.auth[1]) != len(p.auth) {
			return packet{}, errLength
		}
	}
	return p, nil
}

func (p *packet) has(flag uint8) bool { return p.flags&flag != 0 }

// write puts the packet into b, which has room for maxPacket bytes, and returns the part that is it. The
// authentication section is left to the caller.
func (p *packet) write(b []byte) []byte {
	b = b[:headSize]
	b[0] = version<<5 | byte(p.diag)
	b[1] = byte(p.state)<<6 | p.flags
	b[2], b[3] = p.mult, headSize
	binary.BigEndian.PutUint32(b[4:], p.my)
	binary.BigEndian.PutUint32(b[8:], p.your)
	binary.BigEndian.PutUint32(b[12:], p.minTX)
	binary.BigEndian.PutUint32(b[16:], p.minRX)
	binary.BigEndian.PutUint32(b[20:], p.minEchoRX)
	return b
}

func micros(d time.Duration) uint32 { return uint32(d / time.Microsecond) }

func interval(us uint32) time.Duration { return time.Duration(us) * time.Microsecond }
