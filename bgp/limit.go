package bgp

import (
	"context"
	"net/netip"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
)

// The bound on what a neighbour sends is kept here and not by gobgp, which counts its whole table anew for
// every UPDATE: 100,000 prefixes in 1,000 UPDATEs took it 18 s in place of one.
//
// What was accepted is counted as it comes (tally), so that no more than the bound reaches the kernel. What
// was received, accepted or not, gobgp is asked for now and then (Speaker.bound), because counting costs it
// a walk through what the neighbour sent: once a second, or less often where a count takes long.

const (
	boundEvery = time.Second
	boundShare = 50 // a count may take this part of the time
)

// holding is a neighbour's routes of a family.
type holding struct {
	peer   netip.Addr
	family Family
}

// tally counts accepted prefixes by neighbour and family.
type tally struct {
	held  map[holding]int
	most  map[netip.Addr]int // of a family; neighbours without a bound are not in it
	agree *agenda
}

func newTally(a *agenda) tally {
	return tally{held: map[holding]int{}, most: map[netip.Addr]int{}, agree: a}
}

// bounds sets the neighbours' bounds.
func (t *tally) bounds(peers []Peer) {
	clear(t.most)
	for _, p := range peers {
		if p.MaxPrefixes > 0 {
			t.most[p.Address] = p.MaxPrefixes
		}
	}
}

// add counts a route that came or, with -1, went, and has a neighbour that is over its bound shut out.
func (t *tally) add(m member, prefix netip.Prefix, by int) {
	h := holding{m.peer, familyOf(prefix.Addr())}
	n := t.held[h] + by
	if t.held[h] = n; n == 0 {
		delete(t.held, h)
	}
	if most, ok := t.most[m.peer]; ok && by > 0 && n == most+1 {
		t.agree.set(m.peer, shutOut, time.Now())
	}
}

// bound compares what each neighbour has sent with its bound, and returns when to do so again.
func (s *Speaker) bound(ctx context.Context) time.Time {
	began := time.Now()
	most := map[netip.Addr]int{}
	for _, p := range s.now.Peers {
		if p.MaxPrefixes > 0 {
			most[p.Address] = p.MaxPrefixes
		}
	}
	if len(most) == 0 || !s.sessions.anyUp() {
		return began.Add(boundEvery)
	}
	err := s.srv.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) {
		addr, err := netip.ParseAddr(p.GetState().GetNeighborAddress())
		if err != nil {
			return
		}
		for _, af := range p.GetAfiSafis() {
			_, ours := familyFrom(apiutil.ToFamily(af.GetState().GetFamily()))
			if n, ok := most[addr]; ours && ok && int(af.GetState().GetReceived()) > n {
				s.agenda.set(addr, shutOut, time.Now())
			}
		}
	})
	if err != nil {
		s.log.Warn("cannot count what the neighbours have sent", "error", err)
	}
	return time.Now().Add(max(boundEvery, boundShare*time.Since(began)))
}
