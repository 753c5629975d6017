package bfd

import (
	"context"
	"log/slog"
	"sync"

	"golang.org/x/sys/unix"
)

// Options of a System.
type Options struct {
	// Log gets the sessions' ups and downs. Required.
	Log *slog.Logger
}

// System is the local system of RFC 5880: all BFD sessions of this node. Its methods may be called from any
// goroutine.
type System struct {
	log     *slog.Logger
	changed chan struct{}

	mu     sync.Mutex
	wanted []Peer
	fresh  bool // wanted has not been taken over yet
	alarm  int  // eventfd that wakes Run; -1 while it does not run
	states []Status
}

// New makes a system without sessions.
func New(o Options) *System {
	return &System{log: o.Log, changed: make(chan struct{}, 1), alarm: -1}
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
	defer s.mu.Unlock()
	s.wanted, s.fresh = peers, true
	s.wake()
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
	e, err := newEngine(s)
	if err != nil {
		return err
	}
	defer e.close()
	defer context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.wake()
	})()
	for ctx.Err() == nil {
		e.turn()
		if err := e.wait(); err != nil {
			return err
		}
	}
	return nil
}

// wake has Run take a turn. The caller holds the mutex.
func (s *System) wake() {
	if s.alarm >= 0 {
		_, _ = unix.Write(s.alarm, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // full only if it wakes already
	}
}

// take returns the peers of the last Set, if Run has not had them yet.
func (s *System) take() ([]Peer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := s.fresh
	s.fresh = false
	return s.wanted, fresh
}

// publish makes states what States returns; nobody changes it from here on.
func (s *System) publish(states []Status) {
	s.mu.Lock()
	s.states = states
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}
