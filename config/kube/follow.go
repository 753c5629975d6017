package kube

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// follower keeps a shelf in step with the API: it reads everything once, and then only what changes. When
// the watch ends, whatever the reason, it goes on from the last version that it has seen; it reads
// everything again only when the API no longer knows that version.
//
// It stops and starts with run, and goes on where it was.
type follower struct {
	log   *slog.Logger
	want  want
	shelf *shelf
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
	list  func(context.Context, metav1.ListOptions) (page, error)
	// see is told of every object before it is trimmed, and with nil of one that is gone; may be nil.
	see func(key string, o runtime.Object)
	// read makes an entry of an object; nil: read for the Snapshot.
	read func(runtime.Object) entry

	version string // of the collection, as last seen
	listed  bool   // the shelf holds everything as of version
	// pages: the server cannot send everything as a watch: it is older than Kubernetes 1.32, has that switched off, or
	// its etcd cannot tell how far its watches are (before 3.4.31). What one follower learns holds for all.
	pages  *atomic.Bool
	outage *outage
}

// page is a part of a collection.
type page struct {
	items iter.Seq[runtime.Object]
	meta  metav1.ListMeta
}

const (
	// A watch is ended by the server after this time, so that watches spread over its replicas.
	watchLeast, watchMost = 5 * time.Minute, 10 * time.Minute
	// A watch that ends sooner than this counts as failed.
	watchShort = time.Second
	// pageSize is how many objects a request reads where everything is not read by a watch. A Node has some 12 kB, and
	// a page is in memory whole.
	pageSize = 100
	// initialEnd marks the bookmark after the last of the objects that were there when a watch began.
	initialEnd = "k8s.io/initial-events-end"
)

var (
	errShort   = errors.New("the watch ended at once")
	errInitial = errors.New("read everything by a watch")
)

// run follows until ctx ends.
func (f *follower) run(ctx context.Context) {
	var wait backoff
	for ctx.Err() == nil {
		began := time.Now()
		err := f.turn(ctx)
		lasted := time.Since(began)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errInitial) {
			continue // by pages
		}
		if lasted > watchShort || expired(err) { // the API answers
			wait.reset()
		}
		if err == nil && lasted > watchShort {
			continue
		}
		if err == nil {
			err = errShort
		}
		f.log.Debug("watch ended", "what", f.want.slot, "error", err)
		back := f.outage.over()
		f.shelf.state(err)
		if wait.waitOr(ctx, back) != nil {
			return
		}
	}
}

// turn is one watch, or reading everything by pages.
func (f *follower) turn(ctx context.Context) error {
	if !f.listed && f.pages.Load() {
		if err := f.readPages(ctx); err != nil {
			return f.judge(err)
		}
	}
	o := f.want.options()
	o.AllowWatchBookmarks = true
	seconds := int64((watchLeast + rand.N(watchMost-watchLeast)) / time.Second)
	o.TimeoutSeconds, o.ResourceVersion = &seconds, f.version
	var fresh map[string]entry
	if !f.listed {
		everything := true
		o.SendInitialEvents, o.ResourceVersionMatch = &everything, metav1.ResourceVersionMatchNotOlderThan
		fresh = map[string]entry{}
	}
	w, err := f.watch(ctx, o)
	if err != nil {
		return f.judge(err)
	}
	defer w.Stop()
	if fresh == nil {
		f.stands()
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event, open := <-w.ResultChan():
			if !open {
				return nil
			}
			if fresh, err = f.note(event, fresh); err != nil {
				return f.judge(err)
			}
		}
	}
}

// expired says that the API does not know the version any more that a watch is to go on from.
func expired(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

// stands notes that the watch stands.
func (f *follower) stands() {
	if f.shelf.state(nil) {
		f.outage.end()
	}
}

// outage is what the followers of a Source know together of the API being away: the first that gets through
// tells the others, which would wait on otherwise. The zero value is ready for use.
type outage struct {
	mu    sync.Mutex
	ended chan struct{}
}

// over is closed when a follower gets through.
func (o *outage) over() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended == nil {
		o.ended = make(chan struct{})
	}
	return o.ended
}

func (o *outage) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended != nil {
		close(o.ended)
		o.ended = nil
	}
}

// judge draws the consequences of an error.
func (f *follower) judge(err error) error {
	switch {
	case expired(err):
		f.listed = false
	case apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge):
		f.listed, f.version = false, "" // the cluster was restored from a backup
	case !f.listed && (apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || errors.Is(err, errInitial)):
		f.pages.Store(true)
	}
	return err
}

// note takes an event. fresh collects the objects that were there when the watch began; it is nil when
// those are all seen.
func (f *follower) note(event watch.Event, fresh map[string]entry) (map[string]entry, error) {
	if event.Type == watch.Error {
		if fresh != nil {
			return fresh, fmt.Errorf("%w of %s: %w", errInitial, f.want.slot, apierrors.FromObject(event.Object))
		}
		return fresh, fmt.Errorf("watch %s: %w", f.want.slot, apierrors.FromObject(event.Object))
	}
	o, ok := event.Object.(metav1.Object)
	if !ok {
		return fresh, fmt.Errorf("watch %s: event %s of a %T", f.want.slot, event.Type, event.Object)
	}
	if version := o.GetResourceVersion(); version != "" && fresh == nil {
		f.version = version
	}
	switch event.Type {
	case watch.Bookmark:
		if fresh != nil && o.GetAnnotations()[initialEnd] == "true" {
			f.version, f.listed = o.GetResourceVersion(), true
			f.replace(fresh)
			return nil, nil
		}
	case watch.Deleted:
		if fresh != nil {
			delete(fresh, keyOf(o))
		} else {
			f.shelf.drop(keyOf(o))
			f.seen(keyOf(o), nil)
		}
	default:
		f.seen(keyOf(o), event.Object)
		e := f.entry(event.Object)
		if fresh != nil {
			fresh[keyOf(o)] = e
		} else {
			f.shelf.put(keyOf(o), e)
		}
	}
	return fresh, nil
}

// readPages reads everything by pages, from the server's cache where that is as new as what was seen.
func (f *follower) readPages(ctx context.Context) error {
	o := f.want.options()
	o.ResourceVersion, o.Limit = f.version, pageSize
	if o.ResourceVersion != "" {
		o.ResourceVersionMatch = metav1.ResourceVersionMatchNotOlderThan
	}
	fresh := map[string]entry{}
	for {
		p, err := f.list(ctx, o)
		if err != nil {
			return err
		}
		for item := range p.items {
			if o, ok := item.(metav1.Object); ok {
				f.seen(keyOf(o), item)
				fresh[keyOf(o)] = f.entry(item)
			}
		}
		f.version = p.meta.ResourceVersion
		if p.meta.Continue == "" {
			break
		}
		o.Continue, o.ResourceVersion, o.ResourceVersionMatch = p.meta.Continue, "", ""
	}
	f.listed = true
	f.replace(fresh)
	return nil
}

// replace puts on the shelf what was read as a whole.
func (f *follower) replace(fresh map[string]entry) {
	for key := range f.shelf.copy() {
		if _, there := fresh[key]; !there {
			f.seen(key, nil)
		}
	}
	f.shelf.replace(fresh)
	f.stands()
}

func (f *follower) seen(key string, o runtime.Object) {
	if f.see != nil {
		f.see(key, o)
	}
}

func (f *follower) entry(o runtime.Object) entry {
	if f.read != nil {
		return f.read(o)
	}
	return read(f.want.kind, o)
}
