package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/osrg/gobgp/v4/api"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

const (
	// quiet is how long a neighbour that sent too many prefixes is left to fall silent, before it is removed.
	quiet = time.Second
	// defaultRetry is how long a neighbour that sent too many prefixes stays out the first time. Each time that follows
	// close on the one before it stays out twice as long, up to longestRetry.
	defaultRetry = 5 * time.Minute
	longestRetry = time.Hour
	// defaultWarnAt is the percentage of the bound from which on a neighbour is warned of.
	defaultWarnAt = 75
)

// excess is how a neighbour's prefixes of a family stand to its bound.
type excess uint8

const (
	below excess = iota
	near         // at the percentage of the bound that is warned of, or above it
	over         // above the bound
)

// bound is how many prefixes of a family a neighbour may send, 0: any number, and from how many on it is warned of.
type bound struct{ most, warn int }

// bound is that of the neighbour.
func (p Peer) bound() bound {
	return bound{p.MaxPrefixes, (p.MaxPrefixes*p.WarnAt + 99) / 100}
}

// judge says how a count stands to the bound, given how it stood before: a warning ends a tenth below where it began.
func (b bound) judge(n int, before excess) excess {
	switch {
	case b.most == 0:
		return below
	case n > b.most:
		return over
	case n >= b.warn, before != below && n > b.warn*9/10:
		return near
	}
	return below
}

// warnings are what is to be said of the prefixes that a neighbour has sent.
func (p Peer) warnings(received map[Family]int) []string {
	var out []string
	for _, fam := range p.Families {
		n := received[fam]
		switch p.bound().judge(n, below) {
		case near:
			out = append(out, fmt.Sprintf("it has sent %d prefixes of %v, %d %% of the %d that maxPrefixes allows", n, fam, n*100/p.MaxPrefixes, p.MaxPrefixes))
		case over:
			out = append(out, fmt.Sprintf("it has sent %d prefixes of %v, more than the %d that maxPrefixes allows", n, fam, p.MaxPrefixes))
		case below:
		}
	}
	return out
}

// stand notes how a neighbour's prefixes of a family stand to its bound, and has it seen to where they have risen.
func (t *table) stand(n *neighbour, family int) {
	was := n.excess[family]
	n.excess[family] = n.bound.judge(n.received[family], was)
	switch {
	case n.excess[family] <= was:
	case n.excess[family] == over && !n.warnOnly:
		t.agenda.set(n.addr, shutOut, time.Now())
	default:
		t.agenda.set(n.addr, warn, time.Now())
	}
}

// penalty is how long a neighbour that has sent too many prefixes stays out, this time.
func (s *sessions) penalty(peer netip.Addr) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byAddr[peer]
	if x == nil {
		return 0
	}
	last := x.penalty
	x.penalty = x.peer.Retry
	if last > 0 && time.Since(x.shutOut) < 2*last+quiet {
		x.penalty = min(2*last, max(longestRetry, x.peer.Retry))
	}
	x.shutOut = time.Now()
	return x.penalty
}

// waits is how long a neighbour that is shut out stays out.
func (s *sessions) waits(peer netip.Addr) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.byAddr[peer]; x != nil {
		return x.penalty
	}
	return 0
}

// shut keeps a neighbour out that sends too many prefixes. First it falls silent, then it goes: gobgp keeps what it
// receives while it removes a neighbour.
func (s *Speaker) shut(ctx context.Context, p Peer) error {
	s.hardReset(gobgp.BGP_ERROR_SUB_MAXIMUM_NUMBER_OF_PREFIXES_REACHED, p.Address)
	s.sessions.bar(p.Address, ReasonMaxPrefixes, fmt.Sprintf("it sent more than %d prefixes of a family: admitted again in %v, or when maxPrefixes or its filters change",
		p.MaxPrefixes, s.sessions.penalty(p.Address)))
	err := s.srv.DisablePeer(ctx, &api.DisablePeerRequest{Address: p.Address.String()})
	s.table.silence(p.Address)
	s.agenda.set(p.Address, restore, time.Now().Add(quiet))
	return err
}

// warn says that a neighbour has come near its bound, or above one that leaves its session up.
func (s *Speaker) warn(p Peer) {
	received, _ := s.table.counts(p.Address)
	for _, text := range p.warnings(received) {
		s.log.Warn("BGP neighbour sends many prefixes", "peer", p.Name, "address", p.Address, "problem", text)
	}
	signal(s.events)
}
