package routes

import (
	"context"
	"fmt"
	"net/netip"
)

// Gateway is the router that a default route leads to.
type Gateway struct {
	Addr netip.Addr
	Link int // index
}

// Gateways lists where the main table's default routes that are not ours lead, at most one a family: that of the
// lowest metric, and of its first next hop.
func (f *FIB) Gateways(ctx context.Context) ([]Gateway, error) {
	f.reading.Lock()
	defer f.reading.Unlock()
	type found struct {
		Gateway
		metric uint32
	}
	var all []found
	err := dumpRoutes(ctx, f.reader, 0, true, func(r routeMessage, _ []byte) int {
		if r.dst.Bits() == 0 && r.protocol != protocol && len(r.hops) > 0 && r.hops[0].Addr.IsValid() {
			all = append(all, found{Gateway{r.hops[0].Addr, r.hops[0].Link}, r.metric})
		}
		return len(all)
	}, func(n int) { all = all[:n] })
	if err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	var out []Gateway
	for _, is4 := range []bool{true, false} {
		best := -1
		for i, g := range all {
			if g.Addr.Is4() == is4 && (best < 0 || g.metric < all[best].metric) {
				best = i
			}
		}
		if best >= 0 {
			out = append(out, all[best].Gateway)
		}
	}
	return out, nil
}
