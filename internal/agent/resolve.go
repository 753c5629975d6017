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
// neighbour on. A next hop is on a link, or, where it comes from a neighbour that need not be on one
// itself, found by the host's other routes (see ways); never by a default route or another BGP route:
// that is what keeps a peer from bending traffic.
//
// It is a pure function of links, ways and peers. Results are kept by set of next hops: 100,000
// routes have a handful of sets.
type resolver struct {
	up, down  []routes.Link // uplinks
	ways      *ways
	recursive map[string]bool // the peers whose next hops may be found by ways, by name
	sets      map[string]resolved
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

// errFar is said of a next hop that is on no link and that no other route leads to.
var errFar = errors.New("is on none of this node's links")

func newResolver(in Inputs, peers []bgp.Peer) *resolver {
	r := &resolver{recursive: map[string]bool{}, sets: map[string]resolved{}}
	for _, l := range uplinks(in.Links) {
		if l.Up {
			r.up = append(r.up, l)
		} else {
			r.down = append(r.down, l)
		}
	}
	for _, p := range peers {
		if p.Recursive {
			r.recursive[p.Name] = true
		}
	}
	if len(r.recursive) > 0 {
		r.ways = newWays(in.Links, in.Ways)
	}
	return r
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
		if r.recursive[v.Peer] {
			key.WriteByte('*')
		}
		key.WriteByte(' ')
	}
	if known, ok := r.sets[key.String()]; ok {
		return known
	}
	res := r.work(vias)
	r.sets[key.String()] = res
	return res
}

// work resolves a set that is new.
func (r *resolver) work(vias []bgp.Via) resolved {
	var res resolved
	var usable, leaving [][]routes.NextHop
	seen := map[netip.Addr]bool{}
	for _, v := range vias {
		if seen[v.Addr] {
			continue
		}
		seen[v.Addr] = true
		hops, err := r.find(v)
		switch {
		case err == nil && v.Leaving:
			leaving = append(leaving, hops)
		case err == nil:
			usable = append(usable, hops)
		case v.Leaving: // nobody misses it
		case errors.Is(err, errFar):
			res.err = errors.Join(res.err, fmt.Errorf("next hop %v of peer %s %w: let the peer set itself as next hop%s", v.Addr, v.Peer, err, r.mend(v)))
		default:
			res.err = errors.Join(res.err, fmt.Errorf("next hop %v of peer %s: %w", v.Addr, v.Peer, err))
		}
	}
	res.hops = sideBySide(usable)
	if len(leaving) > 0 && len(res.hops) > 0 {
		res.lasting = outlasting(res.hops, leaving)
	}
	return res
}

// find is where a next hop is. The speaker must come to the same by its Links and Ways: of two paths it chooses the one that
// it believes to be found.
func (r *resolver) find(v bgp.Via) ([]routes.NextHop, error) {
	if l, ok := onLink(r.up, v.Addr); ok {
		return []routes.NextHop{{Addr: v.Addr.WithZone(""), Link: l.Index}}, nil
	}
	err := errFar
	if r.recursive[v.Peer] {
		var hops []routes.NextHop
		if hops, err = r.ways.find(v.Addr); err == nil {
			return hops, nil
		}
	}
	if l, ok := onLink(r.down, v.Addr); ok {
		return nil, fmt.Errorf("link %s is down", l.Name)
	}
	return nil, err
}

// mend is what else can be done about a next hop that is far.
func (r *resolver) mend(v bgp.Via) string {
	if !r.recursive[v.Peer] || linkLocal(v.Addr) {
		return ""
	}
	return fmt.Sprintf(", or give this node a route to %v that is neither the default nor BGP's", v.Addr)
}
