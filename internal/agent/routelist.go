package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
func (o *operator) installed(ctx context.Context) ([]*agentpb.Route, error) {
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
	return out, nil
}

// learned are the best routes of BGP, with the reason where one is not installed.
func (o *operator) learned(ctx context.Context) ([]*agentpb.Route, error) {
	var best map[netip.Prefix][]bgp.Via
	var why map[netip.Prefix]error
	if err := o.agent.view(ctx, func(l *loop) { best, why = maps.Clone(l.learned), maps.Clone(l.unresolved) }); err != nil {
		return nil, err
	}
	out := make([]*agentpb.Route, 0, len(best))
	for _, p := range slices.SortedFunc(maps.Keys(best), comparePrefixes) {
		v := &agentpb.Route{Prefix: p.String()}
		for _, via := range best[p] {
			v.NextHops = append(v.NextHops, &agentpb.NextHop{Address: via.Addr.String(), Peer: via.Peer})
		}
		if err := why[p]; err != nil {
			v.Problem = err.Error()
		}
		out = append(out, v)
	}
	return out, nil
}

// advertised are the routes sent to each peer.
func (o *operator) advertised(ctx context.Context) ([]*agentpb.Route, error) {
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
		v := &agentpb.Route{Prefix: a.Prefix.String(), Origin: origin(a.Prefix), Peer: a.Peer, Communities: a.Communities}
		if a.NextHop != (netip.Addr{}) {
			v.NextHops = []*agentpb.NextHop{{Address: a.NextHop.String()}}
		}
		out = append(out, v)
	}
	return out, nil
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
