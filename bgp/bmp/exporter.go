package bmp

import (
	"context"
	"iter"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Station is a monitoring station.
type Station struct {
	Addr netip.AddrPort
	// Statistics is how often it is told numbers; 0: never.
	Statistics time.Duration
}

// State is how it stands with a station.
type State struct {
	Station
	Connected bool
	// Since is when it was connected, or lost.
	Since time.Time
	// Error says why it is not connected, for people.
	Error string
	// Sent counts messages, of all connections.
	Sent uint64
}

// Source is what there is to tell.
type Source interface {
	// Dump calls follow, and yields all messages that lead to where things stood at that moment: of each neighbour
	// that is up Peer Up, its routes, and End-of-RIB where that has come.
	Dump(follow func()) iter.Seq[[]byte]
	// Numbers are statistics reports, one a neighbour.
	Numbers() [][]byte
}

// Options of an Exporter. All are required.
type Options struct {
	Log    *slog.Logger
	Source Source
	// Name and Description of this router (sysName and sysDescr).
	Name, Description string
}

// Exporter tells stations. Its methods may be called from any goroutine.
type Exporter struct {
	Options
	wake      chan struct{}
	following atomic.Int32 // stations that hear what is sent

	mu       sync.Mutex
	stations []*station
}

// New makes an exporter that tells nobody.
func New(o Options) *Exporter { return &Exporter{Options: o, wake: make(chan struct{}, 1)} }

// Set says who is told. Stations that stay keep their connections.
func (e *Exporter) Set(list []Station) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var next []*station
	for _, s := range list {
		i := slices.IndexFunc(e.stations, func(o *station) bool { return o.Station == s })
		if i >= 0 {
			next = append(next, e.stations[i])
		} else {
			next = append(next, newStation(e, s))
		}
	}
	e.stations = next
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Heeded tells whether anybody hears what is sent.
func (e *Exporter) Heeded() bool { return e.following.Load() > 0 }

// Send tells a message to all stations that follow. The message must not change any more.
func (e *Exporter) Send(msg []byte) {
	if !e.Heeded() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.stations {
		s.queue.add(msg)
	}
}

// States are the stations', in the order of Set.
func (e *Exporter) States() []State {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []State
	for _, s := range e.stations {
		out = append(out, s.look())
	}
	return out
}

// Run calls the stations until ctx ends, and then takes leave of them.
func (e *Exporter) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	running := map[*station]context.CancelFunc{}
	defer func() {
		for _, stop := range running {
			stop()
		}
	}()
	for {
		e.mu.Lock()
		wanted := slices.Clone(e.stations)
		e.mu.Unlock()
		for s, stop := range running {
			if !slices.Contains(wanted, s) {
				stop()
				delete(running, s)
			}
		}
		for _, s := range wanted {
			if running[s] == nil {
				one, stop := context.WithCancel(ctx)
				running[s] = stop
				all.Go(func() { s.run(one) })
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.wake:
		}
	}
}
