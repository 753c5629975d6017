package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/internal/agent/agentpb"
)

// Where an installed route comes from.
const (
	originBlock     = "block"     // unreachable, for a pod subnet's unassigned addresses
	originAggregate = "aggregate" // unreachable, for what nobody inside an aggregate has
	originPod       = "pod"       // to a pod of this node
	originLearned   = "learned"   // from BGP
	originNamed     = "named"     // by an Advertisement
)

// installed are our routes as the kernel has them.
func (o *operator) installed(ctx context.Context) (iter.Seq[*agentpb.Route], error) {
	routes, err := o.agent.fib.Installed(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's routes: %w", err)
	}
	links, err := o.agent.fib.Links(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the host's links: %w", err)
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Index] = l.Name
	}
	sums := map[netip.Prefix]bool{}
	if err := o.agent.view(ctx, func(l *loop) { sums = maps.Clone(l.aggregates.held) }); err != nil && !errors.Is(err, errLeft) {
		return nil, err
	}
	out := make([]*agentpb.Route, 0, len(routes))
	for _, i := range routes {
		v := &agentpb.Route{Prefix: i.Dst.String(), Type: "unicast", Origin: originLearned}
		switch {
		case i.Unreachable && sums[i.Dst]:
			v.Type, v.Origin = "unreachable", originAggregate
		case i.Pod:
			v.Origin = originPod
		case i.Unreachable:
			v.Type, v.Origin = "unreachable", originBlock
		}
		if i.Src.IsValid() {
			v.Source = i.Src.String()
		}
		for _, h := range i.NextHops {
			n := &agentpb.NextHop{Link: names[h.Link], Weight: uint32(max(h.Weight, 1))}
			if h.Addr.IsValid() {
				n.Address = h.Addr.String()
			}
			v.NextHops = append(v.NextHops, n)
		}
		out = append(out, v)
	}
	return slices.Values(out), nil
}

// learned are all paths that neighbours tell, with what became of each, and with the reason where a best one is not installed. There may be hundreds
// of thousands: each is put into words when its turn comes.
func (o *operator) learned(ctx context.Context) (iter.Seq[*agentpb.Route], error) {
	var why map[netip.Prefix]error
	if err := o.agent.view(ctx, func(l *loop) { why = maps.Clone(l.unresolved) }); err != nil {
		return nil, err
	}
	all := o.agent.speaker.Heard()
	return func(yield func(*agentpb.Route) bool) {
		for _, r := range all {
			for _, p := range r.Paths {
				v := routeMessage(r.Prefix, *p.Attributes)
				v.Peer, v.PathId, v.State, v.Why, v.Stale = p.Peer, p.ID, string(p.State), p.Why, p.Stale
				for _, h := range v.GetNextHops() {
					h.Peer = p.Peer
				}
				if err := why[r.Prefix]; err != nil && p.State == bgp.PathBest {
					v.Problem = err.Error()
				}
				if !yield(v) {
					return
				}
			}
		}
	}, nil
}

// routeMessage is a route with its attributes.
func routeMessage(p netip.Prefix, a bgp.Attributes) *agentpb.Route {
	v := &agentpb.Route{
		Prefix: p.String(), AsPath: a.ASPath, BgpOrigin: a.Origin, LocalPref: a.LocalPref, Med: a.MED, Communities: a.Communities,
		OriginatorId: addrText(a.Originator), Aggregate: a.Aggregate,
	}
	for _, c := range a.Clusters {
		v.ClusterList = append(v.ClusterList, c.String())
	}
	if a.NextHop.IsValid() {
		v.NextHops = []*agentpb.NextHop{{Address: a.NextHop.String()}}
	}
	return v
}

// advertised are the routes sent to each peer.
func (o *operator) advertised(ctx context.Context) (iter.Seq[*agentpb.Route], error) {
	routes, err := o.agent.speaker.Advertised(ctx)
	if err != nil {
		return nil, fmt.Errorf("read what is advertised: %w", err)
	}
	var origin func(netip.Prefix) string
	if err := o.agent.view(ctx, func(l *loop) { origin = l.desired.origin() }); err != nil {
		return nil, err
	}
	out := make([]*agentpb.Route, 0, len(routes))
	for _, a := range routes {
		v := routeMessage(a.Prefix, a.Attributes)
		v.Origin, v.Peer = origin(a.Prefix), a.Peer
		out = append(out, v)
	}
	return slices.Values(out), nil
}

// origin tells why a prefix is advertised.
func (d Desired) origin() func(netip.Prefix) string {
	own := make(map[netip.Prefix]string, len(d.BGP.Paths))
	for _, p := range d.BGP.Paths {
		own[p.Prefix] = originNamed
	}
	maps.Copy(own, d.Origins)
	for _, b := range d.Blocks {
		own[b] = originBlock
	}
	return func(p netip.Prefix) string { return cmp.Or(own[p], originLearned) }
}
