package kube

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/podroute/podroute/config"
)

// What the cluster is told of this node is three things: the condition NetworkUnavailable and the startup
// taint of its Node (node.go), its NodeRouting (routing.go), and Events (events.go). One goroutine writes
// them all, from what the agent handed over last; while the API is away, that is all there is to catch up on.

// verifyEvery is how often what was written is compared with what is there, which costs a read.
const verifyEvery = 10 * time.Minute

// refusedLeast is how long the API refuses before that is a problem.
const refusedLeast = 30 * time.Second

// herald tells the cluster of this node.
type herald struct {
	*client
	wake chan struct{}

	mu     sync.Mutex
	report *config.NodeReport // the last that was handed over
	fresh  bool               // and is not written yet
	own    sighting
	// refused is what the API says no to; troubled, since when.
	refused  error
	troubled time.Time

	events events
	// What follows belongs to run's goroutine.
	corrected time.Time // when the Node's condition was last written without a new report
	published published
	told      *config.NodeReport // the last that Events were made from
}

func newHerald(c *client) *herald {
	return &herald{client: c, wake: make(chan struct{}, 1)}
}

// take takes in a report.
func (h *herald) take(r config.NodeReport) {
	h.mu.Lock()
	h.report, h.fresh = &r, true
	h.mu.Unlock()
	signal(h.wake)
}

// see takes in the own Node as a watch tells it; nil: it is gone.
func (h *herald) see(n *corev1.Node) {
	h.mu.Lock()
	moved := h.own.take(n)
	h.mu.Unlock()
	if moved {
		signal(h.wake)
	}
}

// run writes until ctx ends.
func (h *herald) run(ctx context.Context) error {
	verify := time.NewTicker(verifyEvery)
	defer verify.Stop()
	var b backoff
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-verify.C:
			h.published.verified = false
		case <-h.wake:
		}
		for said := ""; ; {
			err := h.write(ctx)
			h.note(err)
			if err == nil {
				b.reset()
				break
			}
			if ctx.Err() != nil {
				return nil
			}
			if err.Error() != said { // once, not with every try
				said = err.Error()
				h.log.Warn("the cluster cannot be told of this node; trying again", "error", err)
			}
			if b.wait(ctx) != nil {
				return nil
			}
		}
	}
}

// note keeps what the API refuses. That it is away is a problem of the Snapshot already.
func (h *herald) note(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) && !apierrors.IsNotFound(err) {
		h.refused = nil
		return
	}
	if h.refused == nil {
		h.troubled = time.Now()
	}
	h.refused = err
}

// problems are those that last: an API server that has just started knows neither permissions nor kinds.
func (h *herald) problems() []config.Problem {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refused == nil || time.Since(h.troubled) < refusedLeast {
		return nil
	}
	return []config.Problem{{
		Object: "Node/" + h.node, Message: "the cluster cannot be told of this node: " + h.refused.Error(),
		Mend: "apply podroute's CustomResourceDefinitions and the permissions of its service account anew",
	}}
}

// write brings the API up to date with the last report.
func (h *herald) write(ctx context.Context) error {
	h.mu.Lock()
	r, fresh, own := h.report, h.fresh, h.own
	h.mu.Unlock()
	if r == nil || own.gone {
		return nil // what is said of a Node that is gone would outlive it
	}
	if !own.seen {
		n, err := h.nodes.get(ctx, h.node)
		if err != nil {
			return err
		}
		h.see(n)
		own.take(n)
	}
	// One thing that the API refuses does not keep the others from being said.
	if err := errors.Join(h.writeNode(ctx, *r, own, fresh), h.publish(ctx, r, own.uid)); err != nil {
		return err
	}
	h.mu.Lock()
	if h.report == r {
		h.fresh = false
	}
	h.mu.Unlock()
	if h.told != r {
		for _, e := range happenings(h.told, *r) {
			h.events.add(own.reference(h.node), e)
		}
		h.told = r
	}
	return h.events.write(ctx, h.client)
}
