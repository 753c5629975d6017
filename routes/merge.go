package routes

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

// Routes move to another set by the groups that they have, a message each, and so several groups come to carry one set: of routes
// that were told in two parts, or that differed in a path which is lost. The next change of the set would take a message for each. When
// nothing has changed for a while their routes are moved into one of them, one by one; see docs/adr/0107.

const (
	mergeAfter = 10 * time.Second
	// mergeMost bounds how many routes are moved while others wait for the mutex.
	mergeMost  = 8192
	mergePause = 500 * time.Millisecond
)

// stir puts the merging off.
func (f *FIB) stir() {
	select {
	case f.stirred <- struct{}{}:
	default:
	}
}

// merges merges groups whenever it is calm, until the context is done.
func (f *FIB) merges(ctx context.Context) {
	timer := time.NewTimer(f.calm)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.stirred:
			timer.Reset(f.calm)
		case <-timer.C:
			if f.merge(ctx) {
				timer.Reset(mergePause)
			}
		}
	}
}

// merge moves routes out of groups too many, and tells whether there are more.
func (f *FIB) merge(ctx context.Context) (more bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drain()
	if f.keep || f.inline || f.dirty || f.check || len(f.lost) > 0 {
		return false // there is something better to do, which will stir
	}
	work := f.twins()
	if len(work) == 0 {
		return false
	}
	t := turn{f: f, ctx: ctx, first: true, merging: true, work: work}
	switch err := errors.Join(t.run(), join(t.errs)); {
	case ctx.Err() != nil:
		return false
	case err != nil:
		f.log.Info("routes of one set of next hops stay in several groups", "err", err)
		f.repair(ctx)
		return false
	}
	f.log.Debug("merged groups of next hops", "routes", len(work))
	return len(work) == mergeMost
}

// twins are the entries, mergeMost at most, whose groups are not the first of their sets, which is the one with most routes.
func (f *FIB) twins() []*entry {
	many := false
	for _, g := range f.image.groups {
		if g.set == nil || len(g.set.groups) < 2 {
			continue
		}
		many = true
		slices.SortStableFunc(g.set.groups, func(a, b *group) int {
			return cmp.Or(cmp.Compare(len(b.live), len(a.live)), cmp.Compare(b.refs, a.refs), cmp.Compare(a.id, b.id))
		})
	}
	if !many {
		return nil
	}
	var work []*entry
	f.table.each(func(e *entry) {
		if len(work) < mergeMost && e.right() && e.have != nil && e.have.id != 0 && e.have != e.have.set.groups[0] {
			work = append(work, e)
		}
	})
	return work
}
