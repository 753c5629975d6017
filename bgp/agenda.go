package bgp

import (
	"net/netip"
	"sync"
	"time"
)

// task is something to be done for a neighbour at its time.
type task uint8

const (
	softOut       task = iota // send it everything again
	tell                      // send it what gobgp holds back after a restart
	redial                    // replace its session, which was lost, to dial at once
	restore                   // admit it again after it sent too many prefixes
	restartOver               // it has not come back within its restart time
	longLivedOver             // its long-lived stale time is over, in one family at least
	endStale                  // its End-of-RIB never came after a restart
	shutOut                   // it sends too many prefixes
	warn                      // it sends many prefixes
	prove                     // use its routes where there are no others
	release                   // use its routes again
	tidy                      // close connections that gobgp has forgotten
	refuse                    // it has our AS number, and must not
	sweep                     // of no neighbour: forget callers that are gone
	introduce                 // tell stations of its session
	deferralOver              // of no neighbour: stop waiting for End-of-RIB
	renew                     // replace it in gobgp while it is away
)

type appointment struct {
	peer netip.Addr
	what task
}

// agenda is what Run has yet to do. It is safe for concurrent use.
type agenda struct {
	wake chan struct{}

	mu  sync.Mutex
	due map[appointment]time.Time
}

func newAgenda() *agenda {
	return &agenda{wake: make(chan struct{}, 1), due: map[appointment]time.Time{}}
}

// set makes an appointment, or moves it.
func (a *agenda) set(peer netip.Addr, what task, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.due[appointment{peer, what}] = at
	signal(a.wake)
}

// cancel strikes out appointments with a neighbour: these, or all where none is named.
func (a *agenda) cancel(peer netip.Addr, what ...task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k := range a.due {
		if k.peer != peer {
			continue
		}
		for _, w := range what {
			if k.what == w {
				delete(a.due, k)
			}
		}
		if len(what) == 0 {
			delete(a.due, k)
		}
	}
}

// has says whether there is an appointment.
func (a *agenda) has(peer netip.Addr, what task) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.due[appointment{peer, what}]
	return ok
}

// list returns what is due, and says when the next is; zero: nothing is.
func (a *agenda) list(now time.Time) (due []appointment, next time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k, at := range a.due {
		switch {
		case !at.After(now):
			due = append(due, k)
		case next.IsZero() || at.Before(next):
			next = at
		}
	}
	return due, next
}

// keep strikes out an appointment that was due, and says whether it still is: it may have been cancelled or moved meanwhile.
func (a *agenda) keep(d appointment, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.due[d]
	if !ok || at.After(now) {
		return false
	}
	delete(a.due, d)
	return true
}
