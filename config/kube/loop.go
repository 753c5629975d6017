package kube

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/podroute/podroute/config"
)

const (
	settle     = 100 * time.Millisecond // events have ceased for this long when a Snapshot is built
	settleMost = time.Second            // but it is built this long after the first
	// A watch that a change of the configuration asks for holds that change back this long at most.
	watchPatience = 2 * time.Second
	// An outage of the API is a problem of the Snapshot after this time; before, it may be a restart.
	outageLeast = 10 * time.Second
	idle        = time.Hour
)

// desk is where Snapshots are made. It belongs to the goroutine in keep.
type desk struct {
	builder   config.Builder
	followers map[string]*following // by slot
	changedAt time.Time             // when followers last became others
	// dirty since that time: something changed that no Snapshot holds yet.
	dirty  time.Time
	outage *config.Problem // of the API, logged
	last   config.Snapshot // the one published last, or in force before this start
	kept   []config.Object // in force before this start, until the API has said what is now
}

// following is a follower that may be running.
type following struct {
	*follower
	stop context.CancelFunc // nil while it does not run
}

// keep follows the API and publishes Snapshots until ctx ends, or done says so after one was published. All
// that it starts has ended when it returns.
func (s *Source) keep(ctx context.Context, done func() bool) {
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		s.keeper.flush(true)
		running.Wait()
		for _, f := range s.desk.followers {
			f.stop = nil
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.touched:
			if s.desk.dirty.IsZero() {
				s.desk.dirty = time.Now()
			}
			timer.Reset(min(settle, max(0, settleMost-time.Since(s.desk.dirty))))
			continue
		case <-timer.C:
		}
		next := s.turn(ctx, &running)
		if s.published() && done() {
			return
		}
		timer.Reset(next)
	}
}

// turn looks at what there is, and returns when to look again where nothing touches it before.
func (s *Source) turn(ctx context.Context, running *sync.WaitGroup) time.Duration {
	s.adjust(ctx, running)
	next := min(s.judgeOutage(), s.keeper.flush(false))
	if s.desk.dirty.IsZero() {
		return next
	}
	if late := s.late(); late > 0 {
		return min(late, next)
	}
	if s.published() || s.synced() {
		if !s.build() {
			return 0 // adjust comes first
		}
		s.desk.dirty = time.Time{}
		if s.synced() {
			s.desk.kept = nil
			s.current.Store(true)
			signal(s.stirred)
		}
		if s.adjust(ctx, running); !s.desk.dirty.IsZero() { // what is in force now asks for other watches
			return settle
		}
		next = min(next, s.keeper.flush(false))
	}
	return next
}

// adjust starts and stops followers so that they are what the objects at hand ask for.
func (s *Source) adjust(ctx context.Context, running *sync.WaitGroup) {
	wants := s.scope(slices.Concat(s.on("RouterConfig"), s.on("BGPPeer"), s.on("AddressPool"), s.on("Advertisement"), s.on("Node"))).wants()
	for slot, f := range s.desk.followers {
		if slices.Contains(wants, f.want) {
			continue
		}
		if f.stop != nil {
			f.stop()
			f.stop = nil
		}
		// Where only the selection changes, the new follower takes the shelf over.
		if !slices.ContainsFunc(wants, func(w want) bool { return w.slot == slot }) {
			delete(s.desk.followers, slot)
			s.disturb()
		}
	}
	for _, w := range wants {
		f := s.desk.followers[w.slot]
		if f == nil || f.want != w {
			old := f
			f = &following{follower: s.newFollower(w)}
			if old != nil {
				f.shelf.entries = old.shelf.copy()
			}
			s.desk.followers[w.slot] = f
			s.disturb()
		}
		if f.stop == nil {
			var work context.Context
			work, f.stop = context.WithCancel(ctx)
			running.Go(func() { f.run(work) })
		}
	}
}

// disturb notes that there are other followers than before.
func (s *Source) disturb() {
	s.desk.changedAt = time.Now()
	if s.desk.dirty.IsZero() {
		s.desk.dirty = s.desk.changedAt
	}
}

// late returns how long building is to wait still for watches that were asked for just now. Once something
// is in force, it does not wait for long.
func (s *Source) late() time.Duration {
	if !s.published() || s.synced() {
		return 0
	}
	return max(0, watchPatience-time.Since(s.desk.changedAt))
}

// synced tells whether everything that is wanted was read.
func (s *Source) synced() bool {
	for _, f := range s.desk.followers {
		if synced, _, err := f.shelf.standing(); !synced && !refused(f.want, err) {
			return false
		}
	}
	return true
}

// build makes a Snapshot of what is on the shelves and publishes it, unless that asks for watches that nobody has
// started: what they would read is no less a part of it.
func (s *Source) build() bool {
	in := config.Input{Elsewhere: func(ref config.SecretKeyRef) bool {
		return s.desk.followers[secretWant(ref).slot] == nil
	}}
	judged := map[string]judgement{}
	for _, slot := range s.slots() {
		f := s.desk.followers[slot]
		in.Objects = append(in.Objects, f.shelf.objects()...)
		if hasStatus(f.want.kind) {
			judged[f.want.kind] = judgement{f.shelf, f.shelf.copy()}
		}
		if _, _, err := f.shelf.standing(); refused(f.want, err) {
			in.Problems = append(in.Problems, config.Problem{
				Object: f.want.slot, Message: "cannot be read: the API refuses it",
				Mend: "allow the agent's service account to get, list and watch it",
			})
		}
	}
	for _, w := range s.scope(in.Objects).wants() {
		if f := s.desk.followers[w.slot]; f == nil || f.want != w {
			return false
		}
	}
	if s.desk.outage != nil {
		in.Problems = append(in.Problems, *s.desk.outage)
	}
	s.publish(s.desk.builder.Build(in), judged)
	return true
}

// judgeOutage notes when the API is away and when it is back, and returns when to look again.
func (s *Source) judgeOutage() time.Duration {
	var first time.Time
	var reason error
	for _, slot := range s.slots() {
		f := s.desk.followers[slot]
		_, since, err := f.shelf.standing()
		if err != nil && !refused(f.want, err) && (first.IsZero() || since.Before(first)) {
			first, reason = since, err
		}
	}
	lasts := time.Since(first)
	switch {
	case first.IsZero() && s.desk.outage == nil:
		return idle
	case first.IsZero():
		s.log.Info("the Kubernetes API answers again")
		s.desk.outage = nil
	case s.desk.outage != nil:
		return idle
	case lasts < outageLeast:
		return outageLeast - lasts
	default:
		s.log.Warn("the Kubernetes API does not answer as it should; what is in force stays in force",
			"since", first.Format(time.TimeOnly), "error", reason)
		s.desk.outage = &config.Problem{
			Source: "Kubernetes API", Message: "does not answer as it should since " + first.UTC().Format(time.RFC3339) +
				"; what was in force then stays in force", Mend: "see the agent's log for the reason",
		}
	}
	if s.desk.dirty.IsZero() {
		s.desk.dirty = time.Now()
	}
	return idle
}
