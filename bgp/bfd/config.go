package bfd

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Config is the whole desired state.
type Config struct {
	Peers []Peer
}

// Peer is a neighbour.
type Peer struct {
	// Name is unique among the peers; States and errors carry it.
	Name string
	// Address of the neighbour, unique; a link-local one carries its zone.
	Address netip.Addr
	// Local is our end; zero leaves the choice to the kernel.
	Local netip.Addr
	// Multihop is for a neighbour that is not on a link of ours (RFC 5883).
	Multihop bool
	// MaxHops, with Multihop, discards what has come over more hops; 0 is no bound. Over one hop the bound is always
	// one (RFC 5881 section 5).
	MaxHops int
	// MinTX is the interval at which we would send, MinRX that at which we can receive: 1 ms to 1 min. The larger of
	// one end's MinTX and the other's MinRX is what is used.
	MinTX, MinRX time.Duration
	// Multiplier is after how many missing packets, 1 to 255, the neighbour declares us lost.
	Multiplier int
	// Passive waits for the neighbour's first packet.
	Passive bool
	// Auth of the packets; zero: none.
	Auth Auth
	// Off says that BFD is no longer wanted with a neighbour that stays one: a session that is there goes on for the
	// neighbour's sake and means nothing here. None is begun.
	Off bool
}

// PeerError is what is wrong with one peer; the others are not touched by it.
type PeerError struct {
	Peer string
	Err  error
}

// Error names the peer.
func (e *PeerError) Error() string { return fmt.Sprintf("BFD with %s: %v", e.Peer, e.Err) }

// Unwrap gives the cause.
func (e *PeerError) Unwrap() error { return e.Err }

// Status is the state of a session.
type Status struct {
	Name    string
	Address netip.Addr
	State   State
	// Since is when it came to that state.
	Since time.Time
	// Diag is why we left Up last, RemoteDiag why the neighbour did, by its last packet.
	Diag, RemoteDiag Diag
	// Lost is when the neighbour was lost last, zero: never; Losses how often its session was, since it was begun.
	Lost   time.Time
	Losses int
	// Deaf is how long the neighbour had heard nothing of us at the last loss, by its detection time, if it is from the neighbour
	// that we know of it: then Lost is so much before.
	Deaf time.Duration
	// TX is the interval at which we send, before jitter; RX the one at which the neighbour should; Detect the silence
	// after which it is lost. Of a session that is up only.
	TX, RX, Detect time.Duration
	// Independent is the neighbour's C bit: its BFD outlives its control plane.
	Independent bool
	// Ignored counts packets of the neighbour's that were discarded, Why is the reason of the last.
	Ignored int
	Why     string
	// Problem is why nothing can be sent or received, empty if that is possible.
	Problem string
	// Off is Peer.Off, Multihop Peer.Multihop; Authenticated: packets are.
	Off, Multihop, Authenticated bool
}

// checked leaves out the peers that cannot be.
func (c Config) checked() ([]Peer, error) {
	var out []Peer
	var errs []error
	for _, p := range c.Peers {
		err := p.check()
		if err == nil && slices.ContainsFunc(out, func(q Peer) bool { return q.Name == p.Name || q.Address == p.Address }) {
			err = fmt.Errorf("there are two of this name or of address %v", p.Address)
		}
		if err != nil {
			errs = append(errs, &PeerError{Peer: p.Name, Err: err})
			continue
		}
		out = append(out, p)
	}
	return out, errors.Join(errs...)
}

func (p Peer) check() error {
	a := p.Address
	switch {
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Is4In6():
		return fmt.Errorf("%v is no address of a neighbour", a)
	case a.Is6() && a.IsLinkLocalUnicast() && (a.Zone() == "" || p.Multihop):
		return fmt.Errorf("%v is link-local: it takes a zone, and one hop", a)
	case p.Local.IsValid() && p.Local.Is4() != a.Is4():
		return fmt.Errorf("%v is not of the family of %v", p.Local, a)
	case p.Off:
		return nil
	case p.Multiplier < 1 || p.Multiplier > 255:
		return fmt.Errorf("the multiplier is %d, not 1 to 255", p.Multiplier)
	}
	for _, d := range []time.Duration{p.MinTX, p.MinRX} {
		if d < time.Millisecond || d > time.Minute {
			return fmt.Errorf("the interval is %v, not 1ms to 1m", d)
		}
	}
	return p.Auth.check()
}
