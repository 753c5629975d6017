package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/bgp/bfd"
	"github.com/podroute/podroute/cni"
	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/internal/ndp"
	"github.com/podroute/podroute/internal/nft"
	"github.com/podroute/podroute/routes"
)

// Source is where the configuration comes from: a folder of manifests or the Kubernetes API.
type Source interface {
	Run(ctx context.Context) error
	Snapshot() config.Snapshot
	Changed() <-chan struct{}
}

// Options of an agent.
type Options struct {
	Log      *slog.Logger
	NodeName string
	Version  string
	Source   Source
	// Cluster is told of this node's state; nil where the configuration is a folder.
	Cluster Cluster
	// HealthAddress is where kubelet's probes are answered, 127.0.0.1:9179; empty: nowhere.
	HealthAddress string
	// RunDir holds the sockets and the mark of this boot, /run/podroute.
	RunDir string
	// ConfDir and BinDir are the container runtime's: /etc/cni/net.d and /opt/cni/bin.
	ConfDir, BinDir string
	// BFD is the command that calls bfd.Serve; empty: BFD lives in this process.
	BFD []string
	// ProcSys is where settings of network namespaces are written, /proc/sys; in a container that is
	// read-only, and this is where the host's is mounted.
	ProcSys string
}

// Agent is one node's agent.
type Agent struct {
	Options
	fib     *routes.FIB
	table   *nft.Table
	pods    *cni.Server
	blocks  *addresses
	claims  *claims
	speaker *bgp.Speaker
	bfd     *bfd.System
	finder  *ndp.Finder
	vigil   *vigil
	started time.Time
	// restarted: this start adopted the routes of an earlier one.
	restarted bool
	flushed   []bgp.Family // and of which families they were gone
	lives     *lives
	views     chan func(*loop)
	leave     chan chan<- error
	// stirred wakes the reporter.
	stirred chan struct{}
	// left: this node has left the network, and the loop has ended.
	left   atomic.Bool
	probes net.Listener
	loop   loop
}

// coolDown is how long a freed address rests before another pod gets it, so that late packets and
// caches of the old pod do not meet the new one.
const coolDown = 30 * time.Second

// stopTimeout bounds the orderly part of stopping.
const stopTimeout = 5 * time.Second

// Run runs an agent until ctx ends, which is a restart in the eyes of its peers: the kernel goes on
// forwarding and the peers keep our routes for the restart time. It opens its sockets in the network
// namespace of the calling thread.
func Run(ctx context.Context, o Options) error {
	a, err := start(ctx, o)
	if err != nil {
		return err
	}
	defer a.fib.Close()
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	g, work := errgroup.WithContext(work)
	for _, run := range []func(context.Context) error{
		o.Source.Run, a.fib.Run, a.table.Run, a.pods.Run, a.speaker.Run, a.bfd.Run, a.finder.Run, a.serve, a.health, a.report, a.claims.run, a.vigil.run,
	} {
		g.Go(func() error { return run(work) })
	}
	g.Go(func() error {
		defer cancel()
		left := a.run(ctx, work)
		if work.Err() != nil {
			return nil // another part failed and says why
		}
		if err := a.stop(work, left); err != nil || left == nil {
			return err
		}
		return a.stayAway(ctx, work)
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// start is the first half of the order of starting; the loop's first turn (loop.reconcile) is the
// second: own subnet and its unreachable route, nftables table, CNI server and conflist, paths and
// policies, neighbours.
func start(ctx context.Context, o Options) (*Agent, error) {
	a := &Agent{
		Options: o, started: time.Now(), leave: make(chan chan<- error), views: make(chan func(*loop)), stirred: make(chan struct{}, 1),
	}
	var err error
	// Validate: what could never work is refused before anything is touched.
	if err = o.Source.Snapshot().Fatal(o.NodeName); err != nil {
		return nil, err
	}
	if err = os.MkdirAll(o.RunDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the run folder: %w", err)
	}
	if a.probes, err = listenHealth(ctx, o.HealthAddress); err != nil {
		return nil, err
	}
	// Host: forwarding and what goes with it.
	if err = routes.ApplyHost(ctx, o.ProcSys); err != nil {
		o.Log.Warn("not all host settings could be made; podroute doctor names them", "err", err)
	}
	// Adopt kernel state: routes, then pods.
	if a.fib, err = routes.New(routes.Options{Log: o.Log.With("part", "routes")}); err != nil { //nolint:contextcheck // it lives longer
		return nil, fmt.Errorf("open the kernel's routes: %w", err)
	}
	if a.restarted, a.flushed, err = a.adopted(ctx); err != nil {
		return nil, err
	}
	a.lives = readLives(o.RunDir, o.Log, a.restarted)
	a.blocks = newAddresses()
	a.claims = newClaims(o.Log.With("part", "claims"), o.Cluster, a.blocks)
	a.pods, err = cni.New(cni.Options{
		Log: o.Log.With("part", "cni"), Socket: a.cniSocket(), Allocator: a.blocks, ProcSys: o.ProcSys,
	})
	if err != nil {
		return nil, fmt.Errorf("start the CNI server: %w", err)
	}
	if err = a.pods.Restore(ctx); err != nil {
		return nil, fmt.Errorf("adopt the pods' links: %w", err)
	}
	if a.table, err = nft.New(nft.Options{Log: o.Log.With("part", "nft")}); err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	a.speaker = bgp.New(bgp.Options{Log: o.Log.With("part", "bgp"), Name: o.NodeName, Version: o.Version})
	a.recall()
	a.finder = ndp.New(ndp.Options{Log: o.Log.With("part", "ndp")})
	a.bfd = bfd.New(bfd.Options{Log: o.Log.With("part", "bfd"), Apart: o.BFD})
	a.vigil = &vigil{log: o.Log.With("part", "drain"), counts: a.table.Counts, changed: a.stir, begun: make(chan struct{}, 1)}
	if a.loop.drain.wish, err = readWish(o.RunDir); err != nil {
		return nil, err
	}
	if o.Cluster != nil {
		o.Cluster.KnowRoutes(a.routed)
	}
	return a, nil
}

// cniSocket is where the plugin finds this agent.
func (a *Agent) cniSocket() string { return filepath.Join(a.RunDir, "cni.sock") }

// stop is the order of stopping, after the loop has ended: nothing that the sessions' end brings about
// reaches the kernel. A restart (left is nil) closes the sessions and touches nothing else; leaving
// withdraws, removes all that is ours, and answers whoever asked.
func (a *Agent) stop(ctx context.Context, left chan<- error) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if left == nil {
		a.Log.Info("stopping; peers keep this node's routes for the restart time")
		if a.loop.pruned {
			a.lives.inOrder()
		}
		return a.speaker.Restart(ctx)
	}
	a.Log.Info("leaving; withdrawing this node's routes")
	a.left.Store(true)
	err := errors.Join(
		a.pods.Set(ctx, cni.Settings{NotReady: errLeft}),
		a.speaker.Leave(ctx),
		a.bfd.Set(ctx, bfd.Config{}),
		cni.RemoveConflist(a.ConfDir),
		a.table.Remove(ctx),
		a.fib.Remove(ctx),
		a.forget(),
		writeWish(a.RunDir, time.Time{}),
	)
	left <- err
	return err
}

// stayAway keeps an agent that has left from being started again at once, where somebody, kubelet, does that: until
// told ends it holds still. The cluster is told meanwhile that pods have no network here.
func (a *Agent) stayAway(told, work context.Context) error {
	if a.Cluster == nil {
		return nil
	}
	a.stir()
	select {
	case <-told.Done():
	case <-work.Done():
	}
	return nil
}
