package routes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Options are what a FIB is made of.
type Options struct {
	Log *slog.Logger

	writtenOut bool          // tests: as if the kernel had no nexthop objects
	plain      bool          // tests: as if it had no resilient groups
	calm       time.Duration // tests: see mergeAfter, which it is by default
}

// FIB owns our routes in the kernel. Its methods may be called from any goroutine.
type FIB struct {
	log     *slog.Logger
	inline  bool // no nexthop objects: next hops are written out in each route
	monitor *monitor
	changed chan struct{}
	calm    time.Duration // how long nothing must have changed before groups are merged
	stirred chan struct{} // something has

	mu    sync.Mutex
	conn  *conn
	table table
	sets  sets
	image image
	keep  bool           // the last Set's; until the first Set nothing may be removed
	round uint32         // counts Sets
	dirty bool           // the image is not to be believed
	check bool           // the image is to be compared with the nexthop objects
	again bool           // what was refused may be possible now
	lost  []netip.Prefix // destinations whose routes someone else has removed
	seen  surroundings
	news  uint64   // counts changes by others
	alien *foreign // what Foreign and Ways found, nil when it is out of date

	readers readers
	reading sync.Mutex
	reader  *conn
}

// New opens the sockets, in the network namespace of the calling thread, and starts to listen for
// changes. Close it after Run has returned.
func New(o Options) (*FIB, error) {
	f := &FIB{
		log: o.Log, inline: o.writtenOut, changed: make(chan struct{}, 1), stirred: make(chan struct{}, 1), calm: cmp.Or(o.calm, mergeAfter),
		table: newTable(), sets: newSets(), image: newImage(0), keep: true, dirty: true, seen: newSurroundings(),
		readers: readers{turned: map[int]bool{}},
	}
	var err error
	if f.conn, err = dial(); err != nil {
		return nil, err
	}
	if f.reader, err = dial(); err != nil {
		return nil, errors.Join(err, f.conn.close())
	}
	if f.monitor, err = listen(f.conn.port); err != nil {
		return nil, errors.Join(err, f.conn.close(), f.reader.close())
	}
	_, err = dumpObjects(context.Background(), f.reader)
	if errors.Is(err, unix.EOPNOTSUPP) {
		f.inline, err = true, nil
	}
	if err == nil {
		known := false
		known, err = resilient(context.Background(), f.conn)
		f.sets.plain = f.inline || o.plain || !known
	}
	if err == nil {
		err = f.look(context.Background())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Close closes the sockets. What is in the kernel stays.
func (f *FIB) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reading.Lock()
	defer f.reading.Unlock()
	return errors.Join(f.monitor.close(), f.conn.close(), f.reader.close())
}

// Changed says that something about the kernel changed that was not our doing: links, addresses,
// foreign routes, or our own routes, which Run has restored by then as far as it could. Read Links
// and Foreign again, and Set again.
func (f *FIB) Changed() <-chan struct{} { return f.changed }

func (f *FIB) signal() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// Set makes our routes in the kernel those of d. It is idempotent: where all is right it sends
// nothing. When some routes are impossible the others go in, and the error is an Errors of *RouteError
// and *NextHopError; any other error says that the kernel could not be asked.
func (f *FIB) Set(ctx context.Context, d Desired) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drain()
	if f.keep && !d.Keep {
		f.stir() // there may be groups that an earlier process has left so
	}
	f.keep = d.Keep
	errs := f.desire(d.Routes)
	done, err := f.converge(ctx, f.unfinished, true)
	if err != nil {
		return err
	}
	return join(append(errs, done...))
}

// desire notes the whole state.
func (f *FIB) desire(routes []Route) []error {
	var errs []error
	f.round++
	seen := recent{}
	for i := range routes {
		s, dst, err := f.judge(&routes[i], seen)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		e := f.table.add(dst)
		e.setWant(s)
		e.round = f.round
	}
	f.table.each(func(e *entry) {
		if e.round != f.round {
			e.setWant(nil)
		}
	})
	return errs
}

// judge finds the set of a route and its destination without host bits.
func (f *FIB) judge(r *Route, seen recent) (*set, netip.Prefix, error) {
	if !r.Dst.IsValid() {
		return nil, r.Dst, &RouteError{r.Dst, errors.New("has no destination")}
	}
	s, err := f.sets.of(r, seen)
	if err != nil {
		return nil, r.Dst.Masked(), &RouteError{r.Dst, err}
	}
	return s, r.Dst.Masked(), nil
}

// Update is Set for a stream: it changes the last desired state by some routes and takes some
// destinations out of it (one that is in both stays), at a cost that depends on these alone. Before
// the first Set the desired state is empty and Keep is true.
func (f *FIB) Update(ctx context.Context, changed []Route, gone []netip.Prefix) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drain()
	f.round = max(f.round, 1)
	var errs []error
	work := make([]*entry, 0, len(changed)+len(gone))
	for _, dst := range gone {
		if e := f.table.get(dst.Masked()); e != nil && e.want != nil {
			e.setWant(nil)
			work = append(work, e)
		}
	}
	seen := recent{}
	for i := range changed {
		s, dst, err := f.judge(&changed[i], seen)
		if err != nil {
			errs = append(errs, err)
		}
		if dst.IsValid() {
			e := f.table.add(dst)
			e.setWant(s)
			work = append(work, e)
		}
	}
	done, err := f.converge(ctx, func() []*entry { return f.queue(append(work, f.missing()...)) }, false)
	if err != nil {
		return err
	}
	return join(append(errs, done...))
}

// Remove takes away everything of ours and nothing else, and desires nothing from then on.
func (f *FIB) Remove(ctx context.Context) error {
	f.mu.Lock()
	f.dirty = true
	f.mu.Unlock()
	return f.Set(ctx, Desired{})
}

// Run restores what others take from us, at once, and signals every change by others, until the
// context is done. Between two repairs it rests for as long as the first took twice over, so that a
// fight with another program leaves the processor to others; the signals do not wait. When nothing has changed for a while it
// merges groups.
func (f *FIB) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var merging sync.WaitGroup
	merging.Go(func() { f.merges(ctx) })
	defer merging.Wait()
	defer cancel()
	var rest time.Time
	return f.monitor.run(ctx, func() (int, time.Duration) {
		f.mu.Lock()
		defer f.mu.Unlock()
		n := f.drain()
		if f.round == 0 || !f.dirty && !f.check && !f.again && len(f.lost) == 0 {
			return n, 0
		}
		start := time.Now()
		if start.Before(rest) {
			return n, rest.Sub(start)
		}
		f.repair(ctx)
		took := time.Since(start)
		rest = start.Add(took + min(2*took, time.Second))
		return n, 0
	})
}

// repair brings back what is desired where events say that it is not there any more, or that it may
// be possible now.
func (f *FIB) repair(ctx context.Context) {
	work, full := f.missing, f.again
	if full {
		work = f.unfinished
	}
	before := f.conn.sent
	errs, err := f.converge(ctx, work, full)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		f.log.Error("our routes could not be restored", "err", err)
	case len(errs) > 0:
		f.log.Info("some of our routes could not be restored", "err", join(errs)) // the next Set returns them
	case f.conn.sent > before:
		f.log.Info("restored routes that others have changed", "messages", f.conn.sent-before)
	}
}

// turns is how often a call looks at the kernel again when what it does surprises it.
const turns = 3

// converge makes the kernel as desired. work lists the entries to look at, which is asked for again
// after every turn.
func (f *FIB) converge(ctx context.Context, work func() []*entry, full bool) ([]error, error) {
	var errs []error
	before := f.conn.sent
	defer func() {
		if f.conn.sent > before {
			f.stir()
		}
	}()
	for i := range turns {
		if f.check && !f.dirty {
			if err := f.verify(ctx); err != nil {
				f.dirty = true
				return nil, fmt.Errorf("routes: %w", err)
			}
		}
		if f.dirty {
			if err := f.rebuild(ctx); err != nil {
				return nil, fmt.Errorf("routes: %w", err)
			}
			work, full = f.unfinished, true
		} else if i > 0 {
			break
		}
		t := turn{f: f, ctx: ctx, first: i == 0, full: full, work: work()}
		if err := t.run(); err != nil {
			if errors.Is(err, unix.ENOBUFS) && i < turns-1 {
				continue // answers were dropped: what they said is in the kernel
			}
			return nil, fmt.Errorf("routes: %w", err)
		}
		errs = t.errs
	}
	f.again = f.again && !full
	f.sets.forget()
	return errs, nil
}

// unfinished lists all entries that are not as desired.
func (f *FIB) unfinished() []*entry {
	var work []*entry
	f.table.each(func(e *entry) { work = f.enqueue(work, e) })
	return dequeued(work)
}

// missing lists the entries whose routes someone else has removed.
func (f *FIB) missing() []*entry {
	work := make([]*entry, 0, len(f.lost))
	for _, dst := range f.lost {
		if e := f.table.get(dst); e != nil {
			work = append(work, e)
		}
	}
	f.lost = nil
	return f.queue(work)
}

// queue lists those of the entries that are not as desired, each once.
func (f *FIB) queue(from []*entry) []*entry {
	work := from[:0:0]
	for _, e := range from {
		work = f.enqueue(work, e)
	}
	return dequeued(work)
}

func (f *FIB) enqueue(work []*entry, e *entry) []*entry {
	switch {
	case e.queued:
	case e.want == nil && e.have == nil:
		if e.dst.IsValid() {
			f.table.drop(e)
		}
	case e.right(), e.want == nil && f.keep:
	default:
		e.queued = true
		work = append(work, e)
	}
	return work
}

func dequeued(work []*entry) []*entry {
	for _, e := range work {
		e.queued = false
	}
	return work
}
