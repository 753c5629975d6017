package agent

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/ipam"
	"github.com/podroute/podroute/ipam/pool"
)

const (
	// A namespace counts as in use on this node this long after its last pod came.
	heardOf = 10 * time.Minute
	// claimTimeout bounds one claim or release, with all tries of it.
	claimTimeout = time.Minute
	// A claimed block that the configuration does not show after this long is claimed anew.
	claimShown = time.Minute
	// Failed claims are tried again after claimFirst, then ever later up to claimMost.
	claimFirst = time.Second
	claimMost  = time.Minute
)

// owners is where claims are settled: the Cluster, as far as blocks go.
type owners interface {
	Claim(ctx context.Context, c config.Claim) (netip.Prefix, error)
	Release(ctx context.Context, block netip.Prefix) error
}

// claims claims blocks ahead of the pods that need them, and gives back those that none needs any more, beside
// the loop: the API may take its time, and neither the loop nor an ADD waits for it.
type claims struct {
	log     *slog.Logger
	owners  owners
	blocks  *addresses
	now     func() time.Time
	wake    chan struct{} // the facts have changed
	changed chan struct{} // releasing or waiting has changed

	mu        sync.Mutex
	facts     facts
	releasing map[netip.Prefix]bool // retired, and to be given back once nothing of them is in force
	waiting   map[string]string     // by pool, why there is no block of it

	// What follows is the goroutine's own.
	ranges  map[string]netip.Prefix // by pool and value
	pending map[netip.Prefix]claimed
	empty   map[netip.Prefix]time.Time // since when
	tries   map[string]attempt         // by demand
}

// facts are what the loop knows.
type facts struct {
	state pool.State
	// applied are the blocks that are advertised, or may be.
	applied []netip.Prefix
}

// claimed is a block that the configuration does not show yet.
type claimed struct {
	pool string
	at   time.Time
}

// attempt is a demand that could not be met.
type attempt struct {
	backoff time.Duration
	next    time.Time
}

func newClaims(log *slog.Logger, owners owners, blocks *addresses) *claims {
	return &claims{
		log: log, owners: owners, blocks: blocks, now: time.Now,
		wake: make(chan struct{}, 1), changed: make(chan struct{}, 1),
		releasing: map[netip.Prefix]bool{}, waiting: map[string]string{},
		ranges: map[string]netip.Prefix{}, pending: map[netip.Prefix]claimed{},
		empty: map[netip.Prefix]time.Time{}, tries: map[string]attempt{},
	}
}

// Set states what blocks this node may claim, which it owns, and which of them are in force.
func (c *claims) Set(state pool.State, applied []netip.Prefix) {
	c.mu.Lock()
	c.facts = facts{state: state, applied: slices.Clone(applied)}
	c.mu.Unlock()
	signal(c.wake)
}

// inputs are what the loop must know: the blocks that are given back, and what is waited for.
func (c *claims) inputs() (releasing []netip.Prefix, waiting map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.releasing)), maps.Clone(c.waiting)
}

// run claims and releases until ctx ends.
func (c *claims) run(ctx context.Context) error {
	if c.owners == nil {
		return nil // blocks are what manifests say
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		case <-c.blocks.moved:
		case <-timer.C:
		}
		timer.Reset(c.turn(ctx))
	}
}

// turn does what is due now, and returns when to look again by itself.
func (c *claims) turn(ctx context.Context) time.Duration {
	c.mu.Lock()
	f := c.facts
	c.mu.Unlock()
	if len(f.state.Pools) == 0 && len(f.state.Own) == 0 {
		return time.Hour
	}
	c.finish(ctx, f)
	s := c.complete(f)
	plan := pool.Make(s)
	c.retire(plan.Releases)
	for _, alternatives := range plan.Claims {
		if c.due(alternatives[0].Demand) {
			c.claim(ctx, s.Node, alternatives)
		}
	}
	c.forget(plan)
	return c.next()
}

// complete adds to the facts what the allocator and this goroutine know.
func (c *claims) complete(f facts) pool.State {
	s := f.state
	s.Now = c.now()
	s.Pools = slices.Clone(s.Pools)
	for i, p := range s.Pools {
		if p.RangeSize > 0 {
			s.Pools[i].Range = c.ranges[rangeKey(p.Name, p.Value)]
		}
	}
	for _, serves := range c.blocks.servings(s.Now.Add(-heardOf)) {
		for _, family := range []string{config.FamilyIPv4, config.FamilyIPv6} {
			d := pool.Demand{Family: family, Pools: serves.Pools}
			if !slices.ContainsFunc(s.Demands, func(o pool.Demand) bool { return demandKey(o) == demandKey(d) }) {
				s.Demands = append(s.Demands, d)
			}
		}
	}
	s.Own = c.own(f, s.Now)
	return s
}

func rangeKey(pool, value string) string { return pool + "\x00" + value }

func demandKey(d pool.Demand) string { return fmt.Sprint(d.Family, d.Pools) }

// own are the blocks that this node owns and does not give back, with those that were claimed just now.
func (c *claims) own(f facts, now time.Time) []pool.Block {
	c.mu.Lock()
	releasing := maps.Clone(c.releasing)
	c.mu.Unlock()
	usage := map[netip.Prefix]ipam.BlockUsage{}
	for _, u := range c.blocks.Usage() {
		usage[u.Prefix] = u
	}
	empty := map[netip.Prefix]time.Time{}
	var own []pool.Block
	for _, b := range f.state.Own {
		delete(c.pending, b.Prefix)
		if releasing[b.Prefix] {
			continue
		}
		u, given := usage[b.Prefix]
		if b.Free = u.Free; !given { // the loop gives it to the allocator in its next turn
			b.Free = ipam.Block{Prefix: b.Prefix}.Size()
		}
		if given && u.Used == 0 && u.CoolingDown == 0 {
			if empty[b.Prefix] = c.empty[b.Prefix]; empty[b.Prefix].IsZero() {
				empty[b.Prefix] = now
			}
			b.EmptySince = empty[b.Prefix]
		}
		own = append(own, b)
	}
	c.empty = empty
	for p, of := range c.pending {
		if now.Sub(of.at) > claimShown {
			delete(c.pending, p)
			continue
		}
		own = append(own, pool.Block{Prefix: p, Pool: of.pool, Free: ipam.Block{Prefix: p}.Size()})
	}
	slices.SortFunc(own, func(a, b pool.Block) int { return comparePrefixes(a.Prefix, b.Prefix) })
	return own
}

// retire takes blocks out of service, those that are still empty.
func (c *claims) retire(blocks []netip.Prefix) {
	for _, p := range blocks {
		if !c.blocks.Retire(p) {
			continue
		}
		c.mu.Lock()
		c.releasing[p] = true
		c.mu.Unlock()
		signal(c.changed)
	}
}

// finish gives the retired blocks back of which nothing is in force any more.
func (c *claims) finish(ctx context.Context, f facts) {
	c.mu.Lock()
	releasing := slices.SortedFunc(maps.Keys(c.releasing), comparePrefixes)
	c.mu.Unlock()
	for _, p := range releasing {
		key := "release " + p.String()
		owned := slices.ContainsFunc(f.state.Own, func(b pool.Block) bool { return b.Prefix == p })
		switch {
		case !owned: // given back, and the configuration says so
			c.mu.Lock()
			delete(c.releasing, p)
			c.mu.Unlock()
			delete(c.tries, key)
			signal(c.changed)
		case slices.Contains(f.applied, p) || c.now().Before(c.tries[key].next):
		default:
			c.release(ctx, p, key)
		}
	}
}

func (c *claims) release(ctx context.Context, p netip.Prefix, key string) {
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	err := c.owners.Release(ctx, p)
	if err == nil {
		c.log.Info("gave back an empty block", "block", p)
		c.tries[key] = attempt{backoff: claimMost, next: c.now().Add(claimMost)} // the configuration is to show it
		return
	}
	if ctx.Err() == nil {
		c.log.Warn("giving back a block failed; trying again", "block", p, "err", err)
	}
	c.fail(key)
}

// due tells whether a demand is to be tried now.
func (c *claims) due(d pool.Demand) bool { return !c.now().Before(c.tries[demandKey(d)].next) }

// claim claims for one demand, from the first pool that has anything.
func (c *claims) claim(ctx context.Context, node string, alternatives []pool.Claim) {
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	key := demandKey(alternatives[0].Demand)
	for _, a := range alternatives {
		got, err := c.owners.Claim(ctx, config.Claim{
			Pool: a.Pool, Node: nodeOf(a, node), TopologyValue: a.Value, Candidates: c.unclaimed(a.Candidates),
		})
		if err == nil {
			c.took(a, got)
			delete(c.tries, key)
			signal(c.wake) // there may be more to do
			return
		}
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return
		}
		c.say(a.Pool, reason(a, err))
	}
	c.fail(key)
}

func nodeOf(a pool.Claim, node string) string {
	if a.Value != "" {
		return ""
	}
	return node
}

// unclaimed leaves out what this node is giving back: it is still its own in the eyes of the API.
func (c *claims) unclaimed(all iter.Seq[netip.Prefix]) iter.Seq[netip.Prefix] {
	c.mu.Lock()
	releasing := maps.Clone(c.releasing)
	c.mu.Unlock()
	return func(yield func(netip.Prefix) bool) {
		for p := range all {
			if !releasing[p] && !yield(p) {
				return
			}
		}
	}
}

// took notes a claim that succeeded.
func (c *claims) took(a pool.Claim, got netip.Prefix) {
	c.say(a.Pool, "")
	if a.Value != "" {
		c.log.Info("blocks of this node come from the range of its rack", "pool", a.Pool, "value", a.Value, "range", got)
		c.ranges[rangeKey(a.Pool, a.Value)] = got
		return
	}
	c.log.Info("claimed a block", "pool", a.Pool, "block", got)
	c.pending[got] = claimed{a.Pool, c.now()}
}

// reason says why a claim failed, for people.
func reason(a pool.Claim, err error) string {
	switch {
	case !errors.Is(err, config.ErrTaken):
		return fmt.Sprintf("claiming a block of AddressPool/%s failed: %v", a.Pool, err)
	case a.Value != "":
		return fmt.Sprintf("AddressPool/%s has no free range for %s", a.Pool, a.Value)
	default:
		return fmt.Sprintf("AddressPool/%s has no free block", a.Pool)
	}
}

// say notes why a pool gives no block; "" that it does.
func (c *claims) say(pool, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting[pool] == why {
		return
	}
	if why == "" {
		delete(c.waiting, pool)
	} else {
		c.waiting[pool] = why
		c.log.Warn("this node cannot have one more block", "pool", pool, "why", why)
	}
	signal(c.changed)
}

func (c *claims) fail(key string) {
	t := c.tries[key]
	t.backoff = min(max(2*t.backoff, claimFirst), claimMost)
	t.next = c.now().Add(t.backoff/2 + rand.N(t.backoff/2))
	c.tries[key] = t
}

// forget drops what is not waited for any more.
func (c *claims) forget(plan pool.Plan) {
	wanted := map[string]bool{}
	for _, alternatives := range plan.Claims {
		for _, a := range alternatives {
			wanted[a.Pool] = true
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.waiting {
		if !wanted[name] {
			delete(c.waiting, name)
			signal(c.changed)
		}
	}
}

// next is when something falls due by itself: a try after a failure, or a block that has been empty for long
// enough.
func (c *claims) next() time.Duration {
	now, soonest := c.now(), time.Hour
	for _, t := range c.tries {
		if t.next.After(now) {
			soonest = min(soonest, t.next.Sub(now))
		}
	}
	for _, since := range c.empty {
		soonest = min(soonest, max(since.Add(pool.Idle).Sub(now), pool.Idle/4))
	}
	for _, b := range c.blocks.Usage() {
		if b.CoolingDown > 0 {
			soonest = min(soonest, coolDown)
		}
	}
	return soonest
}
