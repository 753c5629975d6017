package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// A neighbour that comes and goes makes the kernel's table churn. See docs/adr/0093.
const (
	// A neighbour that was lost flapsMost times within flapWindow, its routes with it, is held back.
	flapsMost  = 5
	flapWindow = 10 * time.Minute
	// firstHold is for how long at first; each loss that follows doubles it, up to longestHold.
	firstHold   = 30 * time.Second
	longestHold = 10 * time.Minute
	// proving is how long a session with a neighbour that is held back must have lasted for its routes to be used at all.
	proving = 10 * time.Second
)

// held is how far the routes of a neighbour are held back.
type held uint8

const (
	free       held = iota
	lastResort      // used where there are no others
	shelved         // not used
)

// flaps is what there is to know of a neighbour that comes and goes.
type flaps struct {
	losses  []time.Time   // within flapWindow
	counted bool          // the end of the session is among them already; it may be told of more than once
	hold    time.Duration // for how long it is held back when it comes; 0: it is not
	until   time.Time     // when that is over; of a session that is up
}

// recent forgets losses that are too old to count.
func (f *flaps) recent(now time.Time) {
	f.losses = slices.DeleteFunc(slices.Clone(f.losses), func(t time.Time) bool { return now.Sub(t) > flapWindow })
	if len(f.losses) < flapsMost {
		f.hold = 0
	}
}

// lose notes a loss.
func (f *flaps) lose(now time.Time) {
	f.recent(now)
	f.losses, f.until = append(f.losses, now), time.Time{}
	switch {
	case len(f.losses) < flapsMost:
	case f.hold == 0:
		f.hold = firstHold
	default:
		f.hold = min(2*f.hold, longestHold)
	}
}

// warning says that a neighbour is held back; empty: it is not.
func (f *flaps) warning(now time.Time) string {
	if !now.Before(f.until) {
		return ""
	}
	return fmt.Sprintf("it was lost %d times within %v: until %s its routes are used only where there are no others", len(f.losses), flapWindow, f.until.Format(time.TimeOnly))
}

// flap notes that the session with a neighbour is lost to us before it is ended: its link is down, or BFD has found it dead.
func (s *sessions) flap(peer netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.byAddr[peer]; x != nil && x.state == gobgp.BGP_FSM_ESTABLISHED {
		s.flapped(x)
	}
}

// flapped notes that a session is lost and its routes are gone. What comes with the next is held back if that was once too often.
func (s *sessions) flapped(x *session) {
	if x.peer.Undamped || x.damping.counted {
		return
	}
	x.damping.counted = true
	x.damping.lose(time.Now())
	s.agenda.cancel(x.peer.Address, prove, release)
	if x.damping.hold > 0 {
		s.table.hold(x.peer.Address, shelved)
	}
}

// proven sees to it that the routes of a neighbour that is back are used when it has proved itself: where there are no others after a
// moment, and like others when it has been held back for long enough. Routes that were kept while it was away are not held back.
func (s *sessions) proven(x *session) {
	now, addr := time.Now(), x.peer.Address
	x.damping.recent(now)
	x.damping.counted = false
	switch {
	case x.damping.hold == 0:
		x.damping.until = time.Time{}
		s.table.hold(addr, free)
		return
	case !x.stale:
		x.damping.until = now.Add(x.damping.hold)
	}
	s.agenda.set(addr, prove, now.Add(proving))
	s.agenda.set(addr, release, x.damping.until)
	s.log.Warn("BGP neighbour is held back", "peer", x.peer.Name, "address", addr, "reason", x.damping.warning(now))
}

// forgive ends the holding back of a neighbour that is not to be held back any more.
func (s *sessions) forgive(x *session) {
	if x.peer.Undamped && x.damping.losses != nil {
		x.damping = flaps{}
		s.agenda.cancel(x.peer.Address, prove, release)
		s.table.hold(x.peer.Address, free)
	}
}

// hold says how far the routes of a neighbour are held back.
func (t *table) hold(peer netip.Addr, level held) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.peers[peer]
	if n == nil || n.held == level {
		return
	}
	n.held = level
	if n.empty() {
		return
	}
	for r := range t.routes.All() {
		if slices.ContainsFunc(r.paths, func(c candidate) bool { return c.from == n }) {
			t.choose(r)
		}
	}
}
