package kube

import (
	"context"
	"net/netip"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/config/vip"
)

// The leader gives Services of type LoadBalancer their addresses, while there is a pool for them. Who has what stands in
// the status of the Services, and nowhere else: so a new leader reads all of it, past caches, before it
// gives anything. One goroutine plans and writes. What it has written counts at once, also where the watch is late;
// what it plans is written onto the version that it was planned from, and only while nobody else may lead.

const (
	// A Plan is made when nothing has changed for this long, so that the pools and namespaces that were
	// written together with a Service are known; or, at the latest, after vipSettleMost.
	vipSettle     = 250 * time.Millisecond
	vipSettleMost = time.Second
	// vipTurn is how long a Plan is written before it is made anew, with what has changed.
	vipTurn = time.Second
	// vipCooling is how long an address that was given back is not given to another, unless there are no others.
	vipCooling = 30 * time.Second
	// fillsEvery is how often the pools' counts are written at most.
	fillsEvery = time.Second
)

// giver gives addresses to Services. It belongs to one goroutine.
type giver struct {
	*Source
	follower *follower // nil while there is no pool
	stop     func()
	// ahead are the Services that were written and that the watch has not told of yet, by keyOf.
	ahead   map[string]entry
	held    map[netip.Addr]bool      // at the last look, or given since
	cooling map[netip.Addr]time.Time // until when
	events  events
	tell    chan struct{}       // there are Events to write
	fills   map[string]vip.Fill // as of the last Plan
	toldAt  time.Time           // when they were last handed over
}

// giveAddresses is the leader's: it never fails, it tries again.
func (s *Source) giveAddresses(ctx context.Context) error {
	g := &giver{
		Source: s, cooling: map[netip.Addr]time.Time{},
		events: events{bounds: &eventBounds{burst: 100, refill: time.Second, waiting: 1000}}, tell: make(chan struct{}, 1),
	}
	var telling sync.WaitGroup
	telling.Go(func() { g.writeEvents(ctx) })
	defer telling.Wait() // it ends with ctx, as this does
	defer g.end()
	var wait backoff
	var since time.Time // something has changed that was not looked at
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.stirred:
			if since.IsZero() {
				since = time.Now()
			}
			timer.Reset(min(vipSettle, max(0, vipSettleMost-time.Since(since))))
			continue
		case <-timer.C:
		}
		since = time.Time{}
		next, err := g.turn(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.log.Debug("addresses of load balancers are not all written", "error", err)
			next = wait.next()
		default:
			wait.reset()
		}
		timer.Reset(next)
	}
}

// turn makes a Plan and writes it, and returns when to look again where nothing changes before.
func (g *giver) turn(ctx context.Context) (time.Duration, error) {
	snapshot := g.Snapshot()
	pools := snapshot.PoolsFor(config.UseLoadBalancers)
	if len(pools) == 0 || !g.current.Load() {
		g.end()
		return idle, nil
	}
	g.begin(ctx)
	if synced, _, err := g.follower.shelf.standing(); !synced {
		if apierrors.IsForbidden(err) {
			g.hand(unknownFills(pools))
		}
		return idle, nil
	}
	services := g.services()
	state := vip.State{Pools: pools, Namespaces: snapshot.Namespaces, Cooling: g.cool(services)}
	for _, b := range snapshot.Blocks {
		state.Blocks = append(state.Blocks, b.Spec.Prefix())
	}
	for _, e := range services {
		b := e.object.Value.(*balanced)
		v := b.Service // the shelf's stays as it is
		v.Served = b.balancer && snapshot.Router.Spec.LoadBalancers.Serves(b.class)
		state.Services = append(state.Services, v)
	}
	plan := vip.Make(state)
	whole, err := g.write(ctx, plan, services)
	signal(g.tell)
	g.fills = plan.Pools
	next := g.tellFills()
	if !whole {
		next = 0
	}
	return next, err
}

// writeEvents writes Events beside the addresses, which come first.
func (g *giver) writeEvents(ctx context.Context) {
	var wait backoff
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.tell:
		}
		err := g.events.write(ctx, g.client)
		if err == nil {
			wait.reset()
			continue
		}
		if wait.wait(ctx) != nil {
			return
		}
		signal(g.tell)
	}
}

// begin has the Services followed, if they are not.
func (g *giver) begin(ctx context.Context) {
	if g.follower != nil {
		return
	}
	services := g.Source.services("")
	g.follower = &follower{
		log: g.log, want: want{slot: "Service for its address", kind: "Service"}, pages: &g.pages, outage: &g.outage,
		shelf: &shelf{touch: func() { signal(g.stirred) }, entries: map[string]entry{}},
		watch: services.watch, list: services.page, read: readBalanced,
	}
	g.ahead, g.held = map[string]entry{}, map[netip.Addr]bool{}
	work, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { g.follower.run(work) })
	g.stop = func() {
		cancel()
		running.Wait()
	}
}

// end forgets the Services. What they have they keep.
func (g *giver) end() {
	if g.follower == nil {
		return
	}
	g.stop()
	g.follower = nil
	g.hand(nil)
}

// unknownFills say that nothing is known, because the API refuses to show the Services.
func unknownFills(pools []config.AddressPool) map[string]fill {
	all := map[string]fill{}
	for _, p := range pools {
		all[p.Name] = fill{unknown: true}
	}
	return all
}

// fill is how full a pool is, as far as that is known.
type fill struct {
	vip.Fill
	unknown bool
}

// services are the entries of all Services, by key, with what was written and the watch has not told of yet.
func (g *giver) services() map[string]entry {
	all := g.follower.shelf.copy()
	for key, written := range g.ahead {
		seen, there := all[key]
		if !there || seen.uid != written.uid || !older(seen.version, written.version) {
			delete(g.ahead, key)
			continue
		}
		all[key] = written
	}
	return all
}

// cool notes which addresses were given back since the last look, and returns those that cool down.
func (g *giver) cool(services map[string]entry) map[netip.Addr]bool {
	now, held := time.Now(), map[netip.Addr]bool{}
	for _, e := range services {
		for _, a := range e.object.Value.(*balanced).Held {
			held[a] = true
		}
	}
	for a := range g.held {
		if !held[a] {
			g.cooling[a] = now.Add(vipCooling)
		}
	}
	g.held = held
	out := map[netip.Addr]bool{}
	for a, until := range g.cooling {
		if held[a] || now.After(until) {
			delete(g.cooling, a)
			continue
		}
		out[a] = true
	}
	return out
}

// tellFills hands the counts to who writes conditions, and returns when to come again.
func (g *giver) tellFills() time.Duration {
	if rest := fillsEvery - time.Since(g.toldAt); rest > 0 {
		return rest
	}
	g.toldAt = time.Now()
	all := map[string]fill{}
	for name, f := range g.fills {
		all[name] = fill{Fill: f}
	}
	g.hand(all)
	return idle
}

func (g *giver) hand(fills map[string]fill) {
	g.mu.Lock()
	g.Source.fills = fills
	g.mu.Unlock()
	signal(g.told)
}

// freeCondition says whether a pool has addresses for Services to come.
func freeCondition(f fill, generation int64) metav1.Condition {
	c := metav1.Condition{Type: config.ConditionFree, Status: metav1.ConditionTrue, Reason: "Free", Message: "addresses are free", ObservedGeneration: generation}
	switch {
	case f.unknown:
		c.Status, c.Reason = metav1.ConditionUnknown, "Unreadable"
		c.Message = "the API refuses to show the Services, and none gets an address: apply the permissions of podroute's service account anew"
	case f.Disabled:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, "Disabled", "the pool is disabled: Services keep what they have, and get nothing new"
	case f.Free == 0:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, "Exhausted", "no address is free: add a pool, or have Services share addresses"
	case len(f.Strays) > 0:
		c.Reason = "ExcludedInUse"
	}
	if len(f.Strays) > 0 {
		c.Message += "; excluded and still in use: " + some(f.Strays)
	}
	return c
}
