package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podroute/podroute/config"
)

// An Event costs a write, and what goes wrong often goes wrong over and over. So: what is said again within
// the time of repeatWithin is counted on the Event that is there; there may be burst writes at once and one more
// every refill; what is too much is dropped, and counted with the next of its kind.
const (
	burst        = 10
	refill       = time.Minute
	repeatWithin = time.Hour
	waitingMost  = 32
	namesMost    = 3
)

// happening is something that a person may want to know.
type happening struct{ kind, reason, message string }

// turned is what a change of the Node's condition is.
func turned(c corev1.NodeCondition) happening {
	if c.Status == corev1.ConditionFalse {
		return happening{corev1.EventTypeNormal, "NetworkReady", c.Message}
	}
	return happening{corev1.EventTypeWarning, "NetworkNotReady", c.Message}
}

// happenings are what has happened between two reports; nil: between nothing and the first, which is no news.
func happenings(before *config.NodeReport, r config.NodeReport) []happening {
	if before == nil {
		return nil
	}
	up := map[string]bool{}
	for _, s := range before.Routing.Sessions {
		up[s.Peer] = s.State == config.SessionEstablished
	}
	var lost, found []string
	for _, s := range r.Routing.Sessions {
		was, known := up[s.Peer]
		name := fmt.Sprintf("%s (%s, AS %d)", s.Peer, s.Address, s.ASNumber)
		switch is := s.State == config.SessionEstablished; {
		case was && !is:
			if s.LastError != "" {
				name += ": " + s.LastError
			}
			lost = append(lost, name)
		case known && !was && is:
			found = append(found, name)
		}
	}
	var out []happening
	if len(lost) > 0 {
		out = append(out, happening{corev1.EventTypeWarning, "BGPSessionLost", "lost the session with " + some(lost)})
	}
	if len(found) > 0 {
		out = append(out, happening{corev1.EventTypeNormal, "BGPSessionEstablished", "established the session with " + some(found)})
	}
	for _, p := range r.Routing.Problems {
		if !slices.Contains(before.Routing.Problems, p) {
			out = append(out, happening{corev1.EventTypeWarning, "RoutingProblem", p})
		}
	}
	return out
}

func some(names []string) string {
	if n := len(names); n > namesMost {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:namesMost], "; "), n-namesMost)
	}
	return strings.Join(names, "; ")
}

// events are those that wait to be written, and those that were written lately. The zero value is ready for use.
type events struct {
	// bounds in place of the usual ones, where there is more to say; nil: these.
	bounds *eventBounds

	mu      sync.Mutex
	waiting []*record

	// What follows belongs to the goroutine that writes.
	known  map[recordKey]*record
	tokens float64
	filled time.Time
}

// eventBounds bound the writes and what waits for them.
type eventBounds struct {
	burst   float64
	refill  time.Duration
	waiting int
}

func (e *events) limits() eventBounds {
	if e.bounds != nil {
		return *e.bounds
	}
	return eventBounds{burst, refill, waitingMost}
}

type recordKey struct {
	object types.UID
	happening
}

// record is an Event to be, or one that is.
type record struct {
	object      corev1.ObjectReference
	what        happening
	first, last time.Time
	count       int32
	name        string // of the Event; empty: there is none yet
}

// add has a happening written, as soon as possible and if there are not too many.
func (e *events) add(object corev1.ObjectReference, what happening) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	for _, w := range e.waiting {
		if w.object == object && w.what == what {
			w.last = now
			w.count++
			return
		}
	}
	if len(e.waiting) < e.limits().waiting {
		e.waiting = append(e.waiting, &record{object: object, what: what, first: now, last: now, count: 1})
	}
}

// write writes what waits. What cannot be written stays for the next time.
func (e *events) write(ctx context.Context, c *client) error {
	for {
		w := e.head()
		if w == nil {
			return nil
		}
		switch err := e.writeOne(ctx, c, w); {
		case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
			c.log.Warn("an Event is lost", "error", err, "event", w.what.message) // trying again would not help
		case err != nil:
			return err
		}
		e.mu.Lock()
		e.waiting = slices.DeleteFunc(e.waiting, func(x *record) bool { return x.object == w.object && x.what == w.what })
		e.mu.Unlock()
	}
}

// head is a copy of the first that waits.
func (e *events) head() *record {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) == 0 {
		return nil
	}
	w := *e.waiting[0]
	return &w
}

func (e *events) writeOne(ctx context.Context, c *client, w *record) error {
	if e.known == nil {
		e.known, e.tokens = map[recordKey]*record{}, e.limits().burst
	}
	now := time.Now()
	for key, x := range e.known {
		if now.Sub(x.last) > repeatWithin {
			delete(e.known, key)
		}
	}
	key := recordKey{w.object.UID, w.what}
	x := e.known[key]
	if x == nil {
		x = &record{object: w.object, what: w.what, first: w.first}
		e.known[key] = x
	}
	x.last = w.last
	x.count += w.count
	if !e.allow(now) {
		return nil
	}
	if err := x.put(ctx, c); err != nil {
		x.count -= w.count // it is tried again
		return err
	}
	return nil
}

// allow tells whether a write is within the rate.
func (e *events) allow(now time.Time) bool {
	b := e.limits()
	e.tokens = min(b.burst, e.tokens+now.Sub(e.filled).Seconds()/b.refill.Seconds())
	e.filled = now
	if e.tokens < 1 {
		return false
	}
	e.tokens--
	return true
}

// put writes an Event, or counts on the one that is there.
func (x *record) put(ctx context.Context, c *client) error {
	// An Event of a cluster-scoped object has to be in namespace default.
	namespace := cmp.Or(x.object.Namespace, metav1.NamespaceDefault)
	in := c.events(namespace)
	if x.name != "" {
		patch, err := json.Marshal(map[string]any{"count": x.count, "lastTimestamp": metav1.NewTime(x.last)})
		if err != nil {
			return fmt.Errorf("write an Event: %w", err)
		}
		_, err = in.patch(ctx, x.name, types.MergePatchType, patch)
		if !apierrors.IsNotFound(err) {
			return err
		}
		x.name = "" // it has expired
	}
	name := fmt.Sprintf("%s.%x", x.object.Name, x.last.UnixNano())
	_, err := in.create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		// kubectl describe finds the Events of an object by this.
		InvolvedObject: x.object,
		Type:           x.what.kind, Reason: x.what.reason, Message: x.what.message,
		FirstTimestamp: metav1.NewTime(x.first), LastTimestamp: metav1.NewTime(x.last), Count: x.count,
		Source:              corev1.EventSource{Component: "podroute", Host: c.node},
		ReportingController: config.Group + "/agent", ReportingInstance: c.node,
	})
	if apierrors.IsAlreadyExists(err) { // an answer got lost on the way
		err = nil
	}
	if err == nil {
		x.name = name
	}
	return err
}
