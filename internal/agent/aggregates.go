package agent

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/routes"
)

// lingerTime is how long an aggregate stays after the last route inside it has gone: that a rack's only session
// flaps is nothing that the rest of the fabric has to hear of.
const lingerTime = 5 * time.Second

// aggregates are the ranges that a router originates while it knows a way into them (RFC 4271 section 9.2.2.2).
// Each has an unreachable route, in the kernel from before the range is advertised until after it was: what nobody
// inside has would circle between this router and the one that sends it here.
type aggregates struct {
	inside map[netip.Prefix]int       // usable routes inside each; its keys are all that are configured
	alive  map[netip.Prefix]bool      // to be advertised
	told   map[netip.Prefix]bool      // advertised
	until  map[netip.Prefix]time.Time // when one that nothing is inside of goes
	held   map[netip.Prefix]bool      // to be unreachable in the kernel: those alive, and those not yet withdrawn
	before map[netip.Prefix]bool      // unreachable when this run began
}

func newAggregates() aggregates {
	return aggregates{
		inside: map[netip.Prefix]int{}, alive: map[netip.Prefix]bool{}, until: map[netip.Prefix]time.Time{}, held: map[netip.Prefix]bool{},
		before: map[netip.Prefix]bool{},
	}
}

// recount begins a new count, with the node's own blocks.
func (g *aggregates) recount(configured, own []netip.Prefix) {
	clear(g.inside)
	for _, p := range configured {
		g.inside[p] = 0
	}
	for _, b := range own {
		g.count(b, 1)
	}
}

// count counts a route that has come, or gone, in the ranges that it is inside of.
func (g *aggregates) count(p netip.Prefix, n int) {
	for a := range g.inside {
		if a.Bits() < p.Bits() && a.Contains(p.Addr()) {
			g.inside[a] += n
		}
	}
}

// judge settles which are alive now. While it is not known what is left of an earlier run, what was unreachable
// then counts as alive: peers still hold it.
func (g *aggregates) judge(now time.Time, pruned bool) {
	alive := map[netip.Prefix]bool{}
	for p, n := range g.inside {
		switch {
		case n > 0, !pruned && g.before[p]:
			delete(g.until, p)
		case !g.alive[p]:
			continue
		case g.until[p].IsZero():
			g.until[p] = now.Add(lingerTime)
		case !now.Before(g.until[p]):
			delete(g.until, p)
			continue
		}
		alive[p], g.held[p] = true, true
	}
	g.alive = alive
}

// release notes that what is alive is advertised, and nothing else; it tells whether unreachable routes are of no use
// any more.
func (g *aggregates) release() bool {
	g.told = maps.Clone(g.alive)
	n := len(g.held)
	maps.DeleteFunc(g.held, func(p netip.Prefix, _ bool) bool { return !g.alive[p] })
	return len(g.held) < n
}

// routes are the unreachable routes.
func (g *aggregates) routes() []routes.Route {
	var out []routes.Route
	for _, p := range slices.SortedFunc(maps.Keys(g.held), comparePrefixes) {
		out = append(out, routes.Route{Dst: p, Unreachable: true})
	}
	return out
}

// usable tells whether traffic can go this way.
func (l *loop) usable(vias []bgp.Via) bool {
	return len(l.resolver.resolve(vias).hops) > 0
}

// recount takes in a change of what is learned.
func (l *loop) recount(c bgp.Learned) {
	if len(l.aggregates.inside) == 0 {
		return
	}
	was, is := l.usable(l.learned[c.Prefix]), l.usable(c.Via)
	switch {
	case is && !was:
		l.aggregates.count(c.Prefix, 1)
	case was && !is:
		l.aggregates.count(c.Prefix, -1)
	}
}

// summarise follows a change of what is inside the aggregates: unreachable routes, then what is advertised, then the
// unreachable routes of what is not.
func (a *Agent) summarise(ctx context.Context) {
	g := &a.loop.aggregates
	g.judge(time.Now(), a.loop.pruned)
	if maps.Equal(g.alive, g.told) {
		return
	}
	err := a.program(ctx)
	if err = errors.Join(err, a.announce(ctx)); err != nil {
		a.fail(errors.Join(a.loop.failed, err))
	}
	a.stir()
}

// announce sets the speaker, and then takes the unreachable routes of aggregates away that are not advertised any more.
func (a *Agent) announce(ctx context.Context) error {
	err := a.speaker.Set(ctx, a.advertisable())
	a.loop.begun, a.loop.unset = true, err
	for _, e := range split(err) {
		var peer *bgp.PeerError
		if !errors.As(e, &peer) {
			return err
		}
	}
	if a.loop.aggregates.release() {
		err = errors.Join(err, a.program(ctx))
	}
	return err
}

// sums are the aggregates of an Advertisement. Only routers originate them, because they know the ways inside.
func (d *draft) sums(ad config.Advertisement) []netip.Prefix {
	field, ranges := "spec.aggregates", ad.Spec.Sums()
	if ad.Spec.RackRanges {
		if len(ranges) == 0 {
			field = "spec.rackRanges"
		}
		ranges = append(ranges, d.Snapshot.RackRanges(d.node)...)
	} else if len(ranges) == 0 {
		return nil
	}
	if d.Role != roleRouter {
		d.problem("Advertisement/"+ad.Name, field, "only routers originate aggregates, and node "+d.node.Name+" is none",
			"select routers (routerSelector of RouterConfig) by nodeSelector")
		return nil
	}
	return slices.DeleteFunc(ranges, func(p netip.Prefix) bool { return slices.Contains(d.Blocks, p) })
}
