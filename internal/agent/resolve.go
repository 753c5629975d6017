package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/routes"
)

// resolver turns the next hops that BGP names into the kernel's: an address and the link it is a
// neighbour on. A next hop resolves through a link's own prefix only, never through a default route
// or another BGP route: that is what keeps a peer from bending traffic (RFC 4271 section 9.1.2.1
// allows recursion; a host at the edge has no use for it).
//
// Results are kept by set of next hops: 100,000 routes have a handful of sets.
type resolver struct {
	links []routes.Link
	sets  map[string]resolved
	// last is the set that was asked for last, by its first next hop: sets are shared slices.
	last *bgp.Via
	that resolved
}

type resolved struct {
	hops []routes.NextHop
	// lasting are hops and, with as little weight as can be, those that ask for other ways (RFC 8326); nil: there are none.
	lasting []routes.NextHop
	err     error
}

// fullWeight beside 1 is the largest difference that the kernel knows.
const fullWeight = 256

func newResolver(links []routes.Link) *resolver {
	return &resolver{links: uplinks(links), sets: map[string]resolved{}}
}

// resolve returns the usable next hops of a set and, beside them, why others of the set are not.
func (r *resolver) resolve(vias []bgp.Via) resolved {
	if len(vias) == 0 {
		return resolved{}
	}
	if r.last != &vias[0] {
		r.last, r.that = &vias[0], r.lookUp(vias)
	}
	return r.that
}

func (r *resolver) lookUp(vias []bgp.Via) resolved {
	var key strings.Builder
	for _, v := range vias {
		key.WriteString(v.Addr.String())
		if v.Leaving {
			key.WriteByte('~')
		}
		key.WriteByte(' ')
	}
	if known, ok := r.sets[key.String()]; ok {
		return known
	}
	var res resolved
	seen := map[netip.Addr]bool{}
	var leaving []routes.NextHop
	for _, v := range vias {
		if seen[v.Addr] {
			continue
		}
		seen[v.Addr] = true
		l, ok := onLink(r.links, v.Addr)
		switch {
		case v.Leaving && (!ok || !l.Up): // nobody misses it
		case v.Leaving:
			leaving = append(leaving, routes.NextHop{Addr: v.Addr.WithZone(""), Link: l.Index, Weight: 1})
		case !ok:
			res.err = errors.Join(res.err, fmt.Errorf(
				"next hop %v of peer %s is on none of this node's links: let the peer set itself as next hop", v.Addr, v.Peer))
		case !l.Up:
			res.err = errors.Join(res.err, fmt.Errorf("next hop %v of peer %s: link %s is down", v.Addr, v.Peer, l.Name))
		default:
			res.hops = append(res.hops, routes.NextHop{Addr: v.Addr.WithZone(""), Link: l.Index})
		}
	}
	if len(leaving) > 0 && len(res.hops) > 0 {
		for _, h := range res.hops {
			h.Weight = fullWeight
			res.lasting = append(res.lasting, h)
		}
		res.lasting = append(res.lasting, leaving...)
	}
	r.sets[key.String()] = res
	return res
}
