package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/podroute/podroute/config"
)

// What the loop and the claims have to say to each other.

// settle tells the claims what is in force after a turn: a block that was to go may still be, if the turn failed.
func (a *Agent) settle(err error) {
	d := &a.loop.desired
	applied := slices.Clone(d.Blocks)
	if err != nil {
		applied = append(applied, a.loop.applied...)
		slices.SortFunc(applied, comparePrefixes)
		applied = slices.Compact(applied)
	}
	a.loop.applied = applied
	a.claims.Set(d.Addressing.Claims, applied)
}

// routed tells whether the network has a route to a block, or to a part of it. It fails while this node would not
// know.
func (a *Agent) routed(ctx context.Context, block netip.Prefix) (bool, error) {
	peers, err := a.speaker.Peers(ctx)
	if err != nil {
		return false, fmt.Errorf("read the sessions: %w", err)
	}
	up := false
	for _, p := range peers {
		up = up || p.State == config.SessionEstablished
	}
	if !a.speaker.Synced() || !up && len(peers) > 0 {
		return false, errors.New("the peers have not told their routes yet")
	}
	found := false
	err = a.view(ctx, func(l *loop) {
		for p := range l.learned {
			found = found || p.Bits() >= block.Bits() && block.Contains(p.Addr())
		}
	})
	return found, err
}
