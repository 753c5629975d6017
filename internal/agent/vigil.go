package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/podroute/podroute/internal/nft"
)

// Stages of a drain.
const (
	stageAsking    = "Asking"    // neighbours are asked for other ways
	stageWithdrawn = "Withdrawn" // service addresses are withdrawn, and traffic is waited for to fade
	stageFaded     = "Faded"
	stageTimedOut  = "TimedOut"
)

// Traffic has faded when for quietFor seconds in a row no more than calm packets came in any of them: a stray packet, of
// a connection that somebody has forgotten to close, is no traffic.
const (
	quietFor = 3
	calm     = 1
)

// secondsMost bounds what is kept of a drain.
const secondsMost = 900

// watched is what the vigil has to know of a drain.
type watched struct {
	Since, Withdrawn time.Time
	Because          []string
	Services         []netip.Prefix
	Timeout          time.Duration
}

// quiet tells whether traffic has faded while neighbours are still asked for other ways.
func (v *vigil) quiet() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.stage == stageAsking && len(v.seconds) >= quietFor && fading(v.seconds, false)
}

// second counts the packets of one second of a drain.
type second struct {
	// Number of the second since the drain began; Withdrawn: the service addresses were, from its start.
	Number                        int
	Withdrawn                     bool
	Services, Forwarded, Received uint64
}

// vigil watches what still arrives while this node is drained.
type vigil struct {
	log    *slog.Logger
	counts func(context.Context) (nft.Counts, error)
	// changed has the reporter look.
	changed func()
	// begun has run look at once, when a drain begins.
	begun chan struct{}

	mu      sync.Mutex
	of      watched
	stage   string
	seconds []second
	problem error
	last    *nft.Counts
}

// set says what is watched; the zero value ends it. Addresses add up over a drain: that the last endpoint of a service
// has left the node does not end its traffic.
func (v *vigil) set(w watched) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !w.Since.Equal(v.of.Since) {
		v.seconds, v.last, v.problem, v.stage = nil, nil, nil, ""
		signal(v.begun)
	} else {
		w.Services = union(w.Services, v.of.Services)
	}
	v.of = w
	switch {
	case w.Since.IsZero():
		v.stage = ""
	case w.Withdrawn.IsZero():
		v.stage = stageAsking
	case v.stage == stageAsking || v.stage == "":
		v.stage = stageWithdrawn
	}
}

// union of two sorted lists.
func union(a, b []netip.Prefix) []netip.Prefix {
	all := slices.Concat(a, b)
	slices.SortFunc(all, comparePrefixes)
	return slices.Compact(all)
}

// run counts, once a second, until ctx ends.
func (v *vigil) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-v.begun:
			v.turn(ctx, time.Now())
			tick.Reset(time.Second)
		case now := <-tick.C:
			v.turn(ctx, now)
		}
	}
}

// turn looks at the counters, if there is a drain.
func (v *vigil) turn(ctx context.Context, now time.Time) {
	v.mu.Lock()
	idle := v.of.Since.IsZero()
	v.mu.Unlock()
	if idle {
		return
	}
	c, err := v.counts(ctx)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.of.Since.IsZero() || ctx.Err() != nil {
		return
	}
	if v.problem = err; err == nil {
		v.count(c, now)
	}
	before := v.stage
	v.stage = v.judge(now)
	if v.stage != before {
		v.say(now)
		v.changed()
	}
}

// count adds a second. The first look of a drain is where counting starts.
func (v *vigil) count(c nft.Counts, now time.Time) {
	last := v.last
	v.last = &c
	if last == nil {
		return
	}
	s := second{
		Number:    int(now.Sub(v.of.Since).Round(time.Second) / time.Second),
		Withdrawn: !v.of.Withdrawn.IsZero() && now.Sub(v.of.Withdrawn) >= time.Second,
		Services:  onward(last.Services, c.Services), Forwarded: onward(last.Forwarded, c.Forwarded),
	}
	for link, n := range c.Uplinks {
		s.Received += onward(last.Uplinks[link], n)
	}
	if len(v.seconds) == secondsMost {
		v.seconds = slices.Delete(v.seconds, 0, 1)
	}
	v.seconds = append(v.seconds, s)
}

// onward is how much a counter went on; one that was set anew began at zero.
func onward(last, now uint64) uint64 {
	if now < last {
		return now
	}
	return now - last
}

// judge is the stage at a time. What has faded may come back; what has timed out may fade.
func (v *vigil) judge(now time.Time) string {
	switch {
	case v.of.Withdrawn.IsZero():
		return stageAsking
	case faded(v.seconds, false):
		return stageFaded
	case now.Sub(v.of.Since) >= v.of.Timeout:
		return stageTimedOut
	}
	return stageWithdrawn
}

// faded tells whether traffic has, to service addresses or also whatever is forwarded, since those were withdrawn.
func faded(seconds []second, forwarded bool) bool {
	return len(seconds) >= quietFor && seconds[len(seconds)-quietFor].Withdrawn && fading(seconds, forwarded)
}

// fading tells whether traffic was calm in the last seconds.
func fading(seconds []second, forwarded bool) bool {
	return !slices.ContainsFunc(seconds[len(seconds)-quietFor:], func(s second) bool {
		return s.Services > calm || forwarded && s.Forwarded > calm
	})
}

// say logs a new stage.
func (v *vigil) say(now time.Time) {
	took := now.Sub(v.of.Since).Round(time.Second)
	switch v.stage {
	case stageFaded:
		v.log.Info("the traffic to this node's service addresses has faded", "after", took)
	case stageTimedOut:
		v.log.Warn("traffic still comes for service addresses that this node has withdrawn", "after", took,
			"mend", "podroute drain tells how much; look for routers with static routes to this node, or that ignore withdrawals")
	}
}

// look is what the vigil has seen so far.
func (v *vigil) look() (of watched, stage string, seconds []second, problem error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.of, v.stage, slices.Clone(v.seconds), v.problem
}
