package kube

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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
	// RunDir is the agent's, where the last Snapshot is kept for an agent that starts while the API is away; empty:
	// none is.
	RunDir string
}

// worker runs until ctx ends, and then returns nil or ctx's error.
type worker func(ctx context.Context) error

// Source is the Kubernetes API as one node's agent sees it.
type Source struct {
	*client
	// workers run beside the watches, leaderWorkers only while this agent leads; see workers.go.
	workers, leaderWorkers []worker
	leading                atomic.Bool
	held                   atomic.Pointer[time.Time] // see candidate
	current                atomic.Bool               // everything was read by this agent
	pages                  atomic.Bool               // see follower
	outage                 outage
	desk                   desk
	keeper                 keeper
	herald                 *herald
	claims                 claimer
	routes                 atomic.Pointer[func(context.Context, netip.Prefix) (bool, error)] // see KnowRoutes

	touched chan struct{} // a shelf has changed
	changed chan struct{}
	told    chan struct{} // verdict has changed
	stirred chan struct{} // load balancers' addresses may have to be others

	mu       sync.Mutex
	snapshot *config.Snapshot // nil before the first
	judged   map[string]judgement
	fills    map[string]fill // of pools for load balancers, while this agent leads
}

// startPatience is how long a start waits for the API where an earlier agent has kept a Snapshot.
const startPatience = 5 * time.Second

// New waits until everything that a Snapshot needs was read once. Where the API does not answer and an
// earlier agent of this boot has kept its last Snapshot, that is in force until the API does.
func New(ctx context.Context, o Options) (*Source, error) {
	if o.Namespace == "" {
		o.Namespace = config.DefaultSecretNamespace
	}
	c, err := newClient(o)
	if err != nil {
		return nil, err
	}
	s := &Source{
		client: c, keeper: keeper{dir: o.RunDir, log: o.Log},
		touched: make(chan struct{}, 1), changed: make(chan struct{}, 1), told: make(chan struct{}, 1),
		stirred: make(chan struct{}, 1),
	}
	s.desk.followers = map[string]*following{}
	s.herald = newHerald(c)
	s.addWorkers()
	s.desk.kept = s.keeper.load()
	s.log.Info("reading the configuration from the Kubernetes API", "api", c.host, "node", c.node)
	once := func() bool { return true }
	if len(s.desk.kept) > 0 {
		last := s.desk.builder.Build(config.Input{Objects: s.desk.kept, Elsewhere: s.elsewhere()}) // what is in force
		s.desk.last = last
		soon, cancel := context.WithTimeout(ctx, startPatience)
		s.keep(soon, once)
		cancel()
		if !s.published() && ctx.Err() == nil {
			s.log.Warn("the Kubernetes API does not answer; starting with what was in force last", "file", s.keeper.path())
			s.publish(last, nil)
		}
	}
	if !s.published() {
		s.keep(ctx, once)
	}
	if !s.published() {
		return nil, fmt.Errorf("wait for the Kubernetes API at %s: %w", c.host, ctx.Err())
	}
	return s, nil
}

// Snapshot returns the configuration in force.
func (s *Source) Snapshot() config.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snapshot == nil {
		return config.Snapshot{}
	}
	return *s.snapshot
}

func (s *Source) published() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot != nil
}

// publish puts a Snapshot in force.
func (s *Source) publish(snapshot config.Snapshot, judged map[string]judgement) {
	before := s.Snapshot()
	s.desk.last = snapshot
	s.mu.Lock()
	first := s.snapshot == nil
	s.snapshot, s.judged = &snapshot, judged
	s.mu.Unlock()
	signal(s.told)
	signal(s.stirred)
	if !first && snapshot.Equal(before) {
		return
	}
	config.LogProblems(s.log, before.Problems, snapshot.Problems)
	s.keeper.save(snapshot)
	signal(s.changed)
}

// signal is an empty, coalescing one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Changed signals that Snapshot returns another value than before.
func (s *Source) Changed() <-chan struct{} { return s.changed }

// Run follows the API until ctx ends, and then returns nil.
func (s *Source) Run(ctx context.Context) error {
	g, work := errgroup.WithContext(ctx)
	g.Go(func() error {
		s.keep(work, func() bool { return false })
		return nil
	})
	for _, run := range append(slices.Clone(s.workers), s.lead) {
		g.Go(func() error { return run(work) })
	}
	err := g.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// slots are those that have a follower, in order.
func (s *Source) slots() []string { return slices.Sorted(maps.Keys(s.desk.followers)) }

// on are the objects of a slot.
func (s *Source) on(slot string) []config.Object {
	if f := s.desk.followers[slot]; f != nil {
		return f.shelf.objects()
	}
	return nil
}

// elsewhere tells of Secrets that no peer of this node refers to, as far as is known without a watch: going by
// what was kept.
func (s *Source) elsewhere() func(config.SecretKeyRef) bool {
	c := scope{node: s.node, known: true}
	for _, o := range s.desk.kept {
		c.add(o)
	}
	wants := c.wants()
	return func(ref config.SecretKeyRef) bool { return !slices.Contains(wants, secretWant(ref)) }
}

// known tells whether a slot holds what the API, or an earlier agent, said.
func (s *Source) known(slot string) bool {
	f := s.desk.followers[slot]
	if f == nil {
		return false
	}
	synced, _, _ := f.shelf.standing()
	return synced || len(s.desk.kept) > 0
}

// scope picks what decides on the wants.
func (s *Source) scope(objects []config.Object) scope {
	c := scope{node: s.node, leading: s.leading.Load(), known: s.known("RouterConfig"), router: s.desk.last.Router.Spec}
	c.advertisements = slices.Clone(s.desk.last.Advertisements) // one of them may have been broken by an edit, and kept
	for _, o := range objects {
		c.add(o)
	}
	return c
}
