package ndp

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// interval of what is sent on a link, quick of the first few times.
	interval   = 10 * time.Second
	quick      = time.Second
	quickTimes = 5
	// silence is how long nothing must have come from a neighbour for another one to take its place.
	silence = 3 * interval
)

// Link is a link to find the neighbour on.
type Link struct {
	Name  string
	Index int
}

// Options of a Finder.
type Options struct {
	// Log gets what cannot be sent. Required.
	Log *slog.Logger
}

// Finder finds neighbours on links.
type Finder struct {
	log     *slog.Logger
	changed chan struct{}
	wake    chan struct{}
	id      uint16

	mu    sync.Mutex
	links map[int]*link // by index
}

// link is what is known of one.
type link struct {
	name  string
	sent  int       // times
	due   time.Time // when it is sent on next
	quiet bool      // that it cannot be sent on was said
	heard map[netip.Addr]sign
	now   netip.Addr // the neighbour
}

// sign is the last of a sender.
type sign struct {
	rank int
	at   time.Time
}

// New makes a Finder that looks for nobody yet.
func New(o Options) *Finder {
	return &Finder{
		log: o.Log, changed: make(chan struct{}, 1), wake: make(chan struct{}, 1), id: uint16(os.Getpid()), links: map[int]*link{},
	}
}

// Changed signals that Neighbours would answer otherwise than before.
func (f *Finder) Changed() <-chan struct{} { return f.changed }

// Set says on which links to look. What is known of those that stay is kept.
func (f *Finder) Set(links []Link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.links
	f.links = map[int]*link{}
	for _, l := range links {
		x := old[l.Index]
		if x == nil || x.name != l.Name {
			x = &link{name: l.Name, due: time.Now(), heard: map[netip.Addr]sign{}}
			signal(f.wake)
		}
		f.links[l.Index] = x
	}
}

// Neighbours are the link-local addresses of the links' neighbours, with their zones, by the links' names.
func (f *Finder) Neighbours() map[string]netip.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]netip.Addr{}
	for _, l := range f.links {
		if l.now.IsValid() {
			out[l.name] = l.now.WithZone(l.name)
		}
	}
	return out
}

// Run sends and listens until ctx ends. It opens its socket in the network namespace of the calling thread, once
// there is a link to look at.
func (f *Finder) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-f.wake:
	}
	s, err := open()
	if err != nil {
		return fmt.Errorf("neighbour discovery: %w", err)
	}
	return f.serve(ctx, s)
}

func (f *Finder) serve(ctx context.Context, s *socket) error {
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	defer func() { _ = s.Close() }()
	failed := make(chan error, 1)
	go func() { failed <- f.listen(s) }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("neighbour discovery: %w", err)
		case <-f.wake:
		case <-timer.C:
		}
		timer.Reset(max(time.Until(f.speak(s)), time.Millisecond))
	}
}

// speak sends on the links where it is time to, and returns when it will be again.
func (f *Finder) speak(s *socket) (next time.Time) {
	now := time.Now()
	next = now.Add(interval)
	for index, name := range f.due(now) {
		var mac []byte
		if i, err := net.InterfaceByIndex(index); err == nil {
			mac = i.HardwareAddr
		}
		var err error
		for _, m := range []struct {
			to  netip.Addr
			msg []byte
		}{{allNodes(), advertisement(mac)}, {allRouters(), solicitation(mac)}, {allNodes(), echo(f.id)}} {
			if e := s.send(index, m.to, m.msg); e != nil {
				err = e
			}
		}
		f.spoke(index, name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.links {
		if l.due.Before(next) {
			next = l.due
		}
	}
	return next
}

// due are the links to speak on, and makes the next appointment.
func (f *Finder) due(now time.Time) map[int]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[int]string{}
	for index, l := range f.links {
		if l.due.After(now) {
			continue
		}
		out[index] = l.name
		l.sent++
		l.due = now.Add(interval)
		if l.sent < quickTimes || !l.now.IsValid() {
			l.due = now.Add(quick)
		}
	}
	return out
}

// spoke notes whether a link could be spoken on, and says once when it cannot.
func (f *Finder) spoke(index int, name string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.links[index]
	if l == nil {
		return
	}
	if err != nil && !l.quiet {
		f.log.Info("cannot look for the neighbour on the link yet", "link", name, "error", err)
	}
	l.quiet = err != nil
}

// listen takes in what comes until the socket is closed.
func (f *Finder) listen(s *socket) error {
	buf := make([]byte, 1500)
	for {
		m, err := s.receive(buf)
		if err != nil {
			return err
		}
		if r := rank(m.text, m.hops, f.id); r > 0 && m.from.IsLinkLocalUnicast() {
			f.take(m.link, m.from, r, time.Now())
		}
	}
}

// take notes a sign of somebody.
func (f *Finder) take(index int, from netip.Addr, r int, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.links[index]
	if l == nil {
		return
	}
	from = from.WithZone("")
	old := l.heard[from]
	if at.Sub(old.at) > silence {
		old.rank = 0
	}
	l.heard[from] = sign{rank: max(r, old.rank), at: at}
	maps.DeleteFunc(l.heard, func(a netip.Addr, s sign) bool { return at.Sub(s.at) > silence && a != l.now })
	if next := l.choose(at); next != l.now {
		l.now = next
		signal(f.changed)
	}
}

// choose is the neighbour: the only one of the highest rank among those heard lately; with several, the one that
// was taken before, if it is one of them.
func (l *link) choose(at time.Time) netip.Addr {
	best, most := []netip.Addr(nil), 0
	for a, s := range l.heard {
		if at.Sub(s.at) > silence || s.rank < most {
			continue
		}
		if s.rank > most {
			best, most = nil, s.rank
		}
		best = append(best, a)
	}
	switch {
	case len(best) == 1:
		return best[0]
	case len(best) == 0 || slices.Contains(best, l.now):
		return l.now
	}
	return netip.Addr{}
}

// signal makes an empty, coalescing event.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
