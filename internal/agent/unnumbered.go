package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/internal/ndp"
	"github.com/podroute/podroute/routes"
)

// neighbour is the address of a BGPPeer: what its spec says, the node's default gateway, or whoever is at the other
// end of a link. One that is not known yet is reported.
func (d *draft) neighbour(object string, s config.BGPPeerSpec) (netip.Addr, bool) {
	switch {
	case s.Gateway != "":
		for _, g := range d.Gateways {
			if config.FamilyOf(g.WithZone("")) == s.Gateway {
				return g, true
			}
		}
		d.problem(object, "spec.gateway", fmt.Sprintf("this node has no %s default route through a router", s.Gateway),
			"give it one, or name the neighbour's address")
		return netip.Addr{}, false
	case s.Interface != "":
		d.Unnumbered = append(d.Unnumbered, s.Interface)
		if a, ok := d.Neighbours[s.Interface]; ok {
			return a, true
		}
		if !slices.ContainsFunc(d.uplinks, func(l routes.Link) bool { return l.Name == s.Interface }) {
			d.problem(object, "spec.interface", "this node has no link "+s.Interface, "name one that it has")
		} else {
			d.problem(object, "spec.interface", "nobody answers on "+s.Interface+", or several do",
				"have the router send router advertisements there; where there are several routers, name the address")
		}
		return netip.Addr{}, false
	}
	return s.Neighbour(), true
}

// gateways are the routers that the node's default routes lead to; they are looked up where a peer is one.
func (a *Agent) gateways(ctx context.Context, in Inputs) ([]netip.Addr, error) {
	if !slices.ContainsFunc(in.Snapshot.Peers, func(p config.BGPPeer) bool { return p.Spec.Gateway != "" }) {
		return nil, nil
	}
	found, err := a.fib.Gateways(ctx)
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, g := range found {
		if g.Addr.Is6() && g.Addr.IsLinkLocalUnicast() {
			for _, l := range in.Links {
				if l.Index == g.Link {
					g.Addr = g.Addr.WithZone(l.Name)
				}
			}
		}
		out = append(out, g.Addr)
	}
	return out, nil
}

// lookFor has the neighbours looked for on the links that peers name.
func (a *Agent) lookFor(names []string, links []routes.Link) {
	var on []ndp.Link
	for _, l := range links {
		if slices.Contains(names, l.Name) {
			on = append(on, ndp.Link{Name: l.Name, Index: l.Index})
		}
	}
	a.finder.Set(on)
}
