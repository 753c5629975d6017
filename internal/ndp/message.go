package ndp

import (
	"encoding/binary"
	"net/netip"
)

// Types of ICMPv6 messages (RFC 4443, RFC 4861).
const (
	echoRequest         = 128
	echoReply           = 129
	routerSolicitation  = 133
	routerAdvertisement = 134
)

const hopLimit = 255

// sourceLinkAddress is the option that tells our link-layer address (RFC 4861 section 4.6.1).
const sourceLinkAddress = 1

func allNodes() netip.Addr   { return netip.MustParseAddr("ff02::1") }
func allRouters() netip.Addr { return netip.MustParseAddr("ff02::2") }

// advertisement is a router advertisement of one that is no default router. The kernel fills in checksums.
func advertisement(mac []byte) []byte {
	b := make([]byte, 16) // type, code, checksum, hop limit, flags, lifetime, reachable time, retransmission timer
	b[0] = routerAdvertisement
	return append(b, linkAddress(mac)...)
}

func solicitation(mac []byte) []byte {
	b := make([]byte, 8)
	b[0] = routerSolicitation
	return append(b, linkAddress(mac)...)
}

// echo is an echo request with an identifier, by which its replies are known.
func echo(id uint16) []byte {
	b := make([]byte, 8)
	b[0] = echoRequest
	binary.BigEndian.PutUint16(b[4:], id)
	return b
}

func linkAddress(mac []byte) []byte {
	if len(mac) != 6 {
		return nil
	}
	return append([]byte{sourceLinkAddress, 1}, mac...)
}

// rank is what a message says of its sender: 2, a router; 1, somebody; 0, nothing.
func rank(msg []byte, hops int, id uint16) int {
	if len(msg) < 8 || msg[1] != 0 {
		return 0
	}
	switch msg[0] {
	case routerAdvertisement:
		if hops == hopLimit && len(msg) >= 16 {
			return 2
		}
	case routerSolicitation:
		if hops == hopLimit {
			return 1
		}
	case echoReply:
		if binary.BigEndian.Uint16(msg[4:]) == id {
			return 1
		}
	}
	return 0
}
