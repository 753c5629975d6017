package bfd

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Options of a System.
type Options struct {
	// Log gets the sessions' ups and downs.
	Log *slog.Logger
	// Apart is a command that calls Serve: the sessions live in that process, which nothing of this one can delay, as long as
	// Run runs. Empty: they live in this process.
	Apart []string
}

// System is the local system of RFC 5880: all BFD sessions of this node. Its methods may be called from any
// goroutine.
type System struct {
	log     *slog.Logger
	apart   []string
	changed chan struct{}
	nudge   chan struct{} // there was a Set

	mu     sync.Mutex
	wanted []Peer
	fresh  bool // wanted has not been taken over yet
	alarm  int  // eventfd that wakes the engine; -1 while there is none
	states []Status
}

// New makes a system without sessions.
func New(o Options) *System {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &System{log: o.Log, apart: o.Apart, changed: make(chan struct{}, 1), nudge: make(chan struct{}, 1), alarm: -1}
}

// Changed signals that States would answer otherwise than before.
func (s *System) Changed() <-chan struct{} { return s.changed }

// Set makes the sessions those of c. What is wrong with single peers is left out and returned, joined, as
// *PeerError; what cannot be done now, for want of a link or an address, is tried on and told by States. A session
// keeps running under changes of all but its addresses and its kind; neighbours are asked to follow (RFC 5880
// section 6.5). One whose peer is gone is shut down in order.
func (s *System) Set(_ context.Context, c Config) error {
	peers, err := c.checked()
	s.mu.Lock()
	same := slices.Equal(peers, s.wanted)
	s.wanted = peers
	s.fresh = s.fresh || !same
	s.mu.Unlock()
	if !same {
		s.wake()
	}
	return err
}

// States returns the state of every session, in the order of the peers of the last Set.
func (s *System) States() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.states
}

// Run does the work until ctx ends; then it ends without a word to the neighbours.
func (s *System) Run(ctx context.Context) error {
	if len(s.apart) > 0 {
		return s.runApart(ctx)
	}
	e, err := newEngine(s)
	if err != nil {
		return err
	}
	defer e.close()
	defer context.AfterFunc(ctx, s.wake)()
	for ctx.Err() == nil {
		e.turn()
		if err := e.wait(); err != nil {
			return err
		}
	}
	return nil
}

// wake has Run look at what is wanted.
func (s *System) wake() {
	signal(s.nudge)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.alarm >= 0 {
		_, _ = unix.Write(s.alarm, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // full only if it wakes already
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// peers are those of the last Set.
func (s *System) peers() []Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted
}

// take returns the peers of the last Set, if the engine has not had them yet.
func (s *System) take() ([]Peer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := s.fresh
	s.fresh = false
	return s.wanted, fresh
}

// patience is how long a neighbour that says Down is given to close its connections: a router whose BGP ends has its BFD
// tell so, which may come first (RFC 5882 section 4.3.2).
const patience = 50 * time.Millisecond

// publish makes states what States returns, and dates the losses that are new, by the clock of this process.
func (s *System) publish(states []Status) {
	now := time.Now()
	s.mu.Lock()
	old := map[string]Status{}
	for _, st := range s.states {
		old[st.Name] = st
	}
	for i := range states {
		st := &states[i]
		was := old[st.Name]
		st.Lost = was.Lost
		switch {
		case st.Losses <= was.Losses:
		case st.Deaf == 0:
			st.Lost = now
		default:
			name, at := st.Name, now.Add(-st.Deaf)
			time.AfterFunc(patience, func() { s.lost(name, at) })
		}
	}
	s.states = states
	s.mu.Unlock()
	signal(s.changed)
	for _, st := range states {
		s.say(old[st.Name], st)
	}
}

// lost dates a loss.
func (s *System) lost(name string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states = slices.Clone(s.states) // others read the old ones
	for i := range s.states {
		if st := &s.states[i]; st.Name == name && at.After(st.Lost) {
			st.Lost = at
			signal(s.changed)
		}
	}
}

// say logs what has become of a session.
func (s *System) say(was, st Status) {
	switch {
	case st.Losses > was.Losses || was.State == Up && st.State != Up:
		s.log.Warn("BFD session is down", "peer", st.Name, "address", st.Address, "diagnostic", st.Diag, "neighbour's", st.RemoteDiag)
	case was.State != Up && st.State == Up:
		s.log.Info("BFD session is up", "peer", st.Name, "address", st.Address)
	}
	if st.Problem != was.Problem && st.Problem != "" {
		s.log.Warn("BFD is hindered", "peer", st.Name, "address", st.Address, "problem", st.Problem)
	}
}
