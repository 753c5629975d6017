package kube

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// One agent of the cluster leads: it writes the conditions of objects and collects blocks of nodes that are
// gone. It holds a Lease. None of that is urgent, and every agent is a candidate, so the election is made
// cheap rather than quick: a candidate looks once or twice a minute, at what the API server has in memory, and
// takes the Lease over when it has not moved for its whole duration by the candidate's own clock.
const (
	leaseName = "podroute"
	// leaseLasts is how long a Lease holds without being renewed, and the least time between two looks.
	leaseLasts = 60 * time.Second
	leaseRenew = 15 * time.Second
	// leaseLost is when a leader that cannot renew gives up: before others may take over.
	leaseLost = 40 * time.Second
)

// lead runs the leader's workers while this agent leads, until ctx ends.
func (s *Source) lead(ctx context.Context) error {
	c := candidate{leases: s.leases(s.namespace), name: s.node, held: &s.held}
	for {
		took, err := c.take(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.Debug("cannot look after the leader's Lease", "error", err)
		}
		if took {
			s.log.Info("leading: this agent writes the conditions of objects")
			if err := s.office(ctx, &c); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(leaseLasts + rand.N(leaseLasts/2)):
		}
	}
}

// office is the time of leading: it ends with ctx, or when the Lease is lost.
func (s *Source) office(ctx context.Context, c *candidate) error {
	g, work := errgroup.WithContext(ctx)
	work, resign := context.WithCancel(work)
	s.leading.Store(true)
	signal(s.touched) // a leader reads the Secrets of all peers
	for _, run := range s.leaderWorkers {
		g.Go(func() error { return run(work) })
	}
	g.Go(func() error {
		defer resign()
		if err := c.renew(work); err != nil && work.Err() == nil {
			s.log.Info("no longer leading", "reason", err)
		}
		return nil
	})
	err := g.Wait()
	s.leading.Store(false)
	signal(s.touched)
	if ctx.Err() != nil {
		c.release(context.WithoutCancel(ctx))
		return nil
	}
	return err
}

// leads tells whether nobody else may have taken the Lease yet, also where this process stood still for a while.
func (s *Source) leads() bool {
	at := s.held.Load()
	return at != nil && time.Since(*at) < leaseLost
}

// candidate is this agent's view of the Lease.
type candidate struct {
	leases resource[coordinationv1.Lease, *coordinationv1.Lease]
	name   string // of the node: the agent that comes after this one goes on leading
	// held is when the Lease was last known to be ours.
	held *atomic.Pointer[time.Time]

	seen   string    // version of the Lease that another holds
	seenAt time.Time // when it was first seen
}

// take takes the Lease if it is free, or ours already, or has not moved for its duration.
func (c *candidate) take(ctx context.Context) (bool, error) {
	begun := time.Now()
	lease, err := c.leases.cached(ctx, leaseName)
	if apierrors.IsNotFound(err) {
		lease = &coordinationv1.Lease{}
		lease.Name, lease.Namespace = leaseName, c.leases.namespace
		c.sign(lease)
		if _, err = c.leases.create(ctx, lease); err != nil {
			return false, err
		}
		c.held.Store(&begun)
		return true, nil
	}
	if err != nil {
		return false, err
	}
	switch holder := deref(lease.Spec.HolderIdentity); {
	case holder == "" || holder == c.name:
	case lease.ResourceVersion != c.seen:
		c.seen, c.seenAt = lease.ResourceVersion, time.Now()
		return false, nil
	case time.Since(c.seenAt) < leaseLasts:
		return false, nil
	}
	c.sign(lease)
	if _, err := c.leases.update(ctx, lease); err != nil {
		return false, err // a conflict: another was quicker, or the holder is alive
	}
	c.held.Store(&begun)
	return true, nil
}

// sign makes a Lease ours from now on.
func (c *candidate) sign(lease *coordinationv1.Lease) {
	now, seconds := metav1.NowMicro(), int32(leaseLasts/time.Second)
	if deref(lease.Spec.HolderIdentity) != c.name {
		changes := deref(lease.Spec.LeaseTransitions) + 1
		lease.Spec.HolderIdentity, lease.Spec.AcquireTime, lease.Spec.LeaseTransitions = &c.name, &now, &changes
	}
	lease.Spec.RenewTime, lease.Spec.LeaseDurationSeconds = &now, &seconds
}

// renew keeps the Lease until ctx ends, or returns why it is lost.
func (c *candidate) renew(ctx context.Context) error {
	ticker := time.NewTicker(leaseRenew)
	defer ticker.Stop()
	renewed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		begun := time.Now()
		err := c.again(ctx)
		switch {
		case err == nil:
			renewed = begun
			c.held.Store(&begun)
		case apierrors.IsConflict(err) || time.Since(renewed) > leaseLost:
			return err
		}
	}
}

// again renews the Lease once, if it is ours still.
func (c *candidate) again(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaseRenew)
	defer cancel()
	lease, err := c.leases.get(ctx, leaseName)
	if err != nil {
		return err
	}
	if holder := deref(lease.Spec.HolderIdentity); holder != c.name {
		return apierrors.NewConflict(coordinationv1.Resource("leases"), leaseName, fmt.Errorf("%s holds it", holder))
	}
	c.sign(lease)
	_, err = c.leases.update(ctx, lease)
	return err
}

// release gives the Lease back, so that another need not wait for it to run out.
func (c *candidate) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	lease, err := c.leases.get(ctx, leaseName)
	if err != nil || deref(lease.Spec.HolderIdentity) != c.name {
		return
	}
	lease.Spec.HolderIdentity = nil
	_, _ = c.leases.update(ctx, lease) // it runs out by itself
}

func deref[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}
