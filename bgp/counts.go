package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
)

const (
	// fewRoutes are counted whenever asked. With more, gobgp would stand still for a noticeable time, and
	// counts are up to countsLast old.
	fewRoutes  = 5000
	countsLast = 10 * time.Second
)

// counts are how many prefixes were accepted from a neighbour, and are told to it.
type counts struct {
	accepted, advertised map[Family]int
}

// counter counts prefixes, but not too often.
type counter struct {
	mu    sync.Mutex
	at    time.Time
	known map[netip.Addr]counts
}

// count returns the counts of all neighbours.
func (k *counter) count(ctx context.Context, srv *server.BgpServer, c Config, rules policy, size int) (map[netip.Addr]counts, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if size > fewRoutes && time.Since(k.at) < countsLast {
		return k.known, nil
	}
	known := map[netip.Addr]counts{}
	for _, p := range c.Peers {
		known[p.Address] = counts{accepted: map[Family]int{}, advertised: map[Family]int{}}
	}
	for _, fam := range []Family{IPv4, IPv6} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		// What is rejected does not get into the table.
		req := apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: fam.gobgp()}
		err := srv.ListPath(req, func(_ gobgp.NLRI, paths []*apiutil.Path) {
			for _, path := range paths {
				if x, ok := known[path.PeerAddress]; ok {
					x.accepted[fam]++
				}
			}
		})
		if err != nil {
			return nil, fmt.Errorf("list the %v routes: %w", fam, err)
		}
	}
	_, _, reflects := sides(c)
	if c.Transit || reflects {
		if err := countAdvertised(ctx, srv, known); err != nil {
			return nil, err
		}
	} else {
		for prefix := range prefixes(c.Paths) {
			for _, p := range c.Peers {
				if decide(rules.Export, p.Address, prefix) == accept {
					known[p.Address].advertised[familyOf(prefix.Addr())]++
				}
			}
		}
	}
	k.known, k.at = known, time.Now()
	return known, nil
}

// countAdvertised has gobgp evaluate the export policy for every route and neighbour.
func countAdvertised(ctx context.Context, srv *server.BgpServer, known map[netip.Addr]counts) error {
	return srv.ListPeer(ctx, &api.ListPeerRequest{EnableAdvertised: true}, func(p *api.Peer) {
		addr, err := netip.ParseAddr(p.GetState().GetNeighborAddress())
		if err != nil {
			return
		}
		for _, af := range p.GetAfiSafis() {
			fam, ok := familyFrom(apiutil.ToFamily(af.GetState().GetFamily()))
			if x, there := known[addr]; ok && there {
				x.advertised[fam] = int(af.GetState().GetAdvertised())
			}
		}
	})
}

// decide is what export rules make of a path of our own, as gobgp will find.
func decide(rules []rule, peer netip.Addr, prefix netip.Prefix) verdict {
	for _, r := range rules {
		if r.Verdict != pass && (r.From == anywhere || r.From == fromUs) && r.concerns(peer) &&
			r.Carrying == "" && r.Path == nil && r.covers(prefix) {
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
	if len(r.Prefixes) == 0 {
		return true
	}
	for _, x := range r.Prefixes {
		if x.contains(p) {
			return !r.Except
		}
	}
	return r.Except
}
