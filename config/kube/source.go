package kube

import (
	"context"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/podroute/podroute/config"
)

// Options of a Source.
type Options struct {
	Log      *slog.Logger
	NodeName string
	// Kubeconfig says where the API is; empty: the service account's, in a pod.
	Kubeconfig string
	// Namespace of the agent's Lease and Events; empty: kube-system.
	Namespace string
}

// worker runs until ctx ends, and then returns nil or ctx's error.
type worker func(ctx context.Context) error

// Source is the Kubernetes API as one node's agent sees it.
type Source struct {
	*client
	changed chan struct{}
	// workers run beside the watches, leaderWorkers only while this agent leads; see workers.go.
	workers, leaderWorkers []worker

	mu       sync.Mutex
	snapshot config.Snapshot
}

// New waits until everything that a Snapshot needs was read once.
func New(ctx context.Context, o Options) (*Source, error) {
	if o.Namespace == "" {
		o.Namespace = config.DefaultSecretNamespace
	}
	c, err := newClient(o)
	if err != nil {
		return nil, err
	}
	s := &Source{client: c, changed: make(chan struct{}, 1)}
	s.addWorkers()
	return s, ctx.Err()
}

// Snapshot returns the configuration in force.
func (s *Source) Snapshot() config.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot
}

// Changed signals that Snapshot returns another value than before.
func (s *Source) Changed() <-chan struct{} { return s.changed }

// Run follows the API until ctx ends, and then returns nil.
func (s *Source) Run(ctx context.Context) error {
	g, work := errgroup.WithContext(ctx)
	for _, run := range s.workers {
		g.Go(func() error { return run(work) })
	}
	err := g.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}
