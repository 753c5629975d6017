package bgp

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/server"
)

const (
	// fewRoutes are counted whenever asked. With more, gobgp would stand still for a noticeable time, and
	// counts are up to countsLast old.
	fewRoutes  = 5000
	countsLast = 10 * time.Second
)

// counter counts the prefixes that neighbours are told, but not too often.
type counter struct {
	mu    sync.Mutex
	at    time.Time
	known map[netip.Addr]map[Family]int
}

// count returns the counts of all neighbours.
func (k *counter) count(ctx context.Context, srv *server.BgpServer, c Config, rules policy, size int) (map[netip.Addr]map[Family]int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if size > fewRoutes && time.Since(k.at) < countsLast {
		return k.known, nil
	}
	known := map[netip.Addr]map[Family]int{}
	for _, p := range c.Peers {
		known[p.Address] = map[Family]int{}
	}
	if c.passesOn() {
		if err := countAdvertised(ctx, srv, known); err != nil {
			return nil, err
		}
	} else {
		for prefix := range prefixes(c.Paths) {
			for _, p := range c.Peers {
				if decide(rules.Export, p.Address, prefix) == accept {
					known[p.Address][familyOf(prefix.Addr())]++
				}
			}
		}
	}
	k.known, k.at = known, time.Now()
	return known, nil
}

// countAdvertised has gobgp evaluate the export policy for every route and neighbour.
func countAdvertised(ctx context.Context, srv *server.BgpServer, known map[netip.Addr]map[Family]int) error {
	return srv.ListPeer(ctx, &api.ListPeerRequest{EnableAdvertised: true}, func(p *api.Peer) {
		addr, err := netip.ParseAddr(p.GetState().GetNeighborAddress())
		if err != nil {
			return
		}
		for _, af := range p.GetAfiSafis() {
			fam, ok := familyFrom(apiutil.ToFamily(af.GetState().GetFamily()))
			if x, there := known[addr]; ok && there {
				x[fam] = int(af.GetState().GetAdvertised())
			}
		}
	})
}

// decide is what export rules make of a path of our own, as gobgp will find.
func decide(rules []rule, peer netip.Addr, prefix netip.Prefix) verdict {
	for _, r := range rules {
		if r.Verdict != pass && (r.From == anywhere || r.From == fromUs) && r.concerns(peer) &&
			r.Carrying == nil && r.Path == (PathMatch{}) && r.Loops == nil && r.covers(prefix) {
			return r.Verdict
		}
	}
	return reject
}

// covers says whether a rule is about a prefix.
func (r rule) covers(p netip.Prefix) bool {
	if r.Family != 0 && r.Family != familyOf(p.Addr()) {
		return false
	}
	if r.index[p] {
		return true
	}
	if len(r.Prefixes) == 0 && r.index == nil {
		return true
	}
	for _, x := range r.Prefixes {
		if x.contains(p) {
			return true
		}
	}
	return false
}

// indexed makes a rule with many single prefixes quick to match.
func (r *rule) indexed() {
	const many = 8
	if len(r.Prefixes) <= many {
		return
	}
	var ranges []PrefixRange
	r.index = map[netip.Prefix]bool{}
	for _, x := range r.Prefixes {
		if x.exact() {
			r.index[x.Prefix.Masked()] = true
		} else {
			ranges = append(ranges, x)
		}
	}
	r.Prefixes = ranges
}
