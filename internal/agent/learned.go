package agent

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/routes"
)

// program sets all routes: the blocks' and the learned ones. After a restart nothing is removed
// until the speaker has heard all.
func (a *Agent) program(ctx context.Context) error {
	l := &a.loop
	clear(l.unresolved)
	all := make([]routes.Route, 0, len(l.learned)+len(l.desired.Local))
	all = append(all, l.desired.Local...)
	l.aggregates.recount(l.desired.Aggregates, l.desired.Blocks)
	for p, vias := range l.learned {
		if l.aggregates.held[p] {
			continue // ours is about to count, or did until now
		}
		if r, ok := a.route(p, vias); ok {
			all = append(all, r)
			l.aggregates.count(p, 1)
		}
	}
	keep := a.restarted && !l.pruned && !a.speaker.Synced()
	l.aggregates.judge(time.Now(), !keep)
	all = append(all, l.aggregates.routes()...)
	if there := familiesOf(all); keep {
		l.forwards.note(l.forwards.noted | there)
	} else {
		l.forwards.note(there)
	}
	err := a.fib.Set(ctx, routes.Desired{Routes: all, Keep: keep})
	l.pruned = !keep
	return a.note(err)
}

// stream takes what the speaker learned since the last time and changes just that.
func (a *Agent) stream(ctx context.Context) {
	changes, all := a.speaker.Learned()
	l := &a.loop
	if all {
		clear(l.learned)
	}
	changed := make([]routes.Route, 0, len(changes))
	var gone []netip.Prefix
	for _, c := range changes {
		l.recount(c)
		if len(c.Via) == 0 {
			delete(l.learned, c.Prefix)
		} else {
			l.learned[c.Prefix] = c.Via
		}
		if all || l.aggregates.held[c.Prefix] {
			continue
		}
		delete(l.unresolved, c.Prefix)
		if r, ok := a.route(c.Prefix, c.Via); ok {
			changed = append(changed, r)
		} else {
			gone = append(gone, c.Prefix)
		}
	}
	switch {
	case all:
		a.fail(a.program(ctx))
	case len(changed)+len(gone) > 0:
		l.forwards.note(l.forwards.noted | familiesOf(changed))
		if err := a.note(a.fib.Update(ctx, changed, gone)); err != nil {
			a.fail(err)
		}
	}
	a.summarise(ctx)
}

// route is the kernel route of a learned prefix; false without a usable next hop. Why a next hop is
// not usable is noted.
func (a *Agent) route(p netip.Prefix, vias []bgp.Via) (routes.Route, bool) {
	l := &a.loop
	res := l.resolver.resolve(vias)
	if res.err != nil {
		l.unresolved[p] = res.err
	}
	if len(res.hops) == 0 {
		return routes.Route{}, false
	}
	r := routes.Route{Dst: p, NextHops: res.hops, Hashing: l.desired.Spread.of(p)}
	if r.Hashing.Buckets > 0 && res.lasting != nil {
		r.NextHops = res.lasting // buckets of flows that are under way stay, those that are idle go to others
		r.Hashing.Idle = min(r.Hashing.Idle, leavingIdle)
	}
	for _, s := range l.desired.Sources {
		if s.Is4() == p.Addr().Is4() {
			r.Src = s
		}
	}
	return r, true
}

// note keeps the kernel's refusals by prefix, for status and for advertisable, what keeps all routes from
// the kernel, and passes them on.
func (a *Agent) note(err error) error {
	a.loop.broken = nil
	for _, e := range split(err) {
		var refused *routes.RouteError
		if errors.As(e, &refused) {
			a.loop.unresolved[refused.Dst] = refused
		} else {
			a.loop.broken = e
		}
	}
	return err
}

// split takes a joined error apart.
func split(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range j.Unwrap() {
			out = append(out, split(e)...)
		}
		return out
	}
	if err == nil {
		return nil
	}
	return []error{err}
}
