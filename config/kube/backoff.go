package kube

import (
	"context"
	"math/rand/v2"
	"time"
)

// Bounds of the time between two tries of one thing. The longest is what an outage of the API is felt
// longer than it lasts.
const (
	backoffFirst = 500 * time.Millisecond
	backoffMost  = 30 * time.Second
)

// backoff spaces the tries of one thing out: each waits up to twice as long as the one before, at
// random, so that the nodes of a cluster do not come back to the API in step. The zero value is ready for
// use; it belongs to one goroutine.
type backoff struct{ most time.Duration }

// wait waits for the time of the next try. It returns ctx's error where that ends first.
func (b *backoff) wait(ctx context.Context) error { return b.waitOr(ctx, nil) }

// waitOr is wait that ends early when sooner does.
func (b *backoff) waitOr(ctx context.Context, sooner <-chan struct{}) error {
	timer := time.NewTimer(b.next())
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	case <-sooner:
		return nil
	}
}

// next is how long to wait: between half of the present bound and the whole.
func (b *backoff) next() time.Duration {
	b.most = min(max(2*b.most, backoffFirst), backoffMost)
	return b.most/2 + rand.N(b.most/2)
}

// reset is called after a success.
func (b *backoff) reset() { b.most = 0 }
