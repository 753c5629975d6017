package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/internal/prefixmap"
	"github.com/podroute/podroute/routes"
)

// ways find the next hops that are on no link, by the host's other routes: those that an administrator or another routing
// protocol gave it, never a default route or BGP's (RFC 4271 sections 5.1.3 and 9.1.2.1). What they find depends on nothing
// that BGP says, so nothing can come to lead through itself.
type ways struct {
	links []routes.Link // that may lead to other machines
	own   map[netip.Addr]bool
	by    prefixmap.Map[[]routes.Way] // by destination; the host's own addresses among them, which lead nowhere
}

// newWays takes the host's links, and ways by destination and metric. What is on a link that is down, and in no way, leads
// nowhere: the kernel drops the route when a link is taken down, and keeps it when a link loses its carrier. Of link-local
// destinations every link has its own.
func newWays(links []routes.Link, all []routes.Way) *ways {
	w := &ways{links: uplinks(links), own: map[netip.Addr]bool{}, by: prefixmap.New[[]routes.Way]()}
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Dst == all[0].Dst {
			n++
		}
		if !linkLocal(all[0].Dst.Addr()) {
			w.by.Put(all[0].Dst, all[:n])
		}
		all = all[n:]
	}
	for _, l := range w.links {
		for _, p := range l.Prefixes {
			if p = p.Masked(); !l.Up && !linkLocal(p.Addr()) && w.by.Get(p) == nil {
				w.by.Put(p, []routes.Way{{Dst: p, NextHops: []routes.NextHop{{Link: l.Index}}}})
			}
		}
	}
	for _, l := range links {
		for _, p := range l.Prefixes {
			a := p.Addr()
			w.own[a] = true
			if linkLocal(a) {
				continue
			}
			w.by.Put(netip.PrefixFrom(a, a.BitLen()), []routes.Way{{Dst: netip.PrefixFrom(a, a.BitLen())}})
		}
	}
	return w
}

// find is where the longest of the routes that hold addr leads. There is one step: the router of such a route is on a link,
// or the kernel had not taken it.
func (w *ways) find(addr netip.Addr) ([]routes.NextHop, error) {
	if linkLocal(addr) { // on which link, nobody can tell
		return nil, errFar
	}
	same, ok := w.by.Longest(addr)
	switch {
	case !ok:
		return nil, errFar
	case w.own[addr]:
		return nil, errors.New("it is an address of this node itself")
	}
	return w.lead(same, addr)
}

// lead is where the routes to one destination, which addr is in, lead: that with the lowest metric whose links are up.
func (w *ways) lead(same []routes.Way, addr netip.Addr) ([]routes.NextHop, error) {
	var down string
	for _, way := range same {
		var hops []routes.NextHop
		for _, h := range way.NextHops {
			l, ok := w.link(h.Link)
			switch {
			case !ok:
				continue
			case !l.Up:
				down = l.Name
				continue
			case !h.Addr.IsValid():
				h.Addr = addr
			}
			hops = append(hops, routes.NextHop{Addr: h.Addr.WithZone(""), Link: h.Link, Weight: max(h.Weight, 1), OnLink: h.OnLink})
		}
		if len(hops) > 0 {
			return hops, nil
		}
	}
	if down != "" {
		return nil, fmt.Errorf("link %s of this host's route to %v is down", down, same[0].Dst)
	}
	return nil, fmt.Errorf("this host's route to %v leads to no router", same[0].Dst)
}

func (w *ways) link(index int) (routes.Link, bool) {
	i := slices.IndexFunc(w.links, func(l routes.Link) bool { return l.Index == index })
	if i < 0 {
		return routes.Link{}, false
	}
	return w.links[i], true
}

// reach is what the speaker is to know of them, so that it chooses paths whose next hops can be reached: destinations, and
// which of them lead nowhere.
func (w *ways) reach() []bgp.Way {
	var out []bgp.Way
	for same := range w.by.All() {
		dst := same[0].Dst
		_, err := w.lead(same, dst.Addr())
		out = append(out, bgp.Way{Dst: dst, Dead: err != nil})
	}
	slices.SortFunc(out, func(a, b bgp.Way) int { return comparePrefixes(a.Dst, b.Dst) })
	return out
}

// linkLocal tells whether an address means another machine on each link (RFC 4291 section 2.5.6). Those of IPv4 do not: the
// kernel has routes for them as for any other.
func linkLocal(a netip.Addr) bool { return a.Is6() && a.IsLinkLocalUnicast() }
