package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/cni"
	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/routes"
)

// Failures are tried again after retryFirst, then ever later up to retryMost.
const (
	retryFirst = time.Second
	retryMost  = 30 * time.Second
)

// settleMost bounds how long an end waits for the restart before to be over.
const settleMost = 5 * time.Second

// loop is the state that the loop's goroutine owns.
type loop struct {
	desired  Desired
	links    []routes.Link
	resolver *resolver
	// learned is what BGP says of each prefix; unresolved, why a prefix of it is not installed, or
	// not over all its next hops.
	learned    map[netip.Prefix][]bgp.Via
	unresolved map[netip.Prefix]error
	// broken is why no route can be written to the kernel, unserved why no pod can be added.
	broken, unserved error
	// node is the last that was known of this node's Node.
	node config.Node
	// tabled: the nftables table was written.
	tabled bool
	// pruned: what an earlier run left in the kernel and nobody confirmed is gone.
	pruned bool
	// forwards is what the next run must know of the kernel's routes.
	forwards forwarding
	// failed is what the last turn could not do.
	failed error
	// begun: the speaker was told what it is to be; unset, what it refused of that the last time.
	begun bool
	unset error
	// mesh is the nodes' mesh, and the one before while it changes.
	mesh       meshChange
	drain      drain
	aggregates aggregates
	// applied are the blocks that are advertised, or may be.
	applied []netip.Prefix
	backoff time.Duration
	// call fires when the neighbours may be called, after lives that were cut short.
	call <-chan time.Time
}

// run turns the loop until told ends, or the operator wants this node to leave: then it returns where
// to say how that went. work bounds the loop's own doings.
//
// An end that comes while peers still hold this node's routes as stale, from the restart before, waits
// for a moment: peers delete what is stale when a session is lost a second time (RFC 4724 section 4.2).
func (a *Agent) run(told, work context.Context) chan<- error {
	a.loop.learned = map[netip.Prefix][]bgp.Via{}
	a.loop.unresolved = map[netip.Prefix]error{}
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	settle := time.NewTicker(time.Second)
	defer settle.Stop()
	ending := told.Done()
	var last <-chan time.Time
	a.reconcile(work)
	for {
		if last != nil && a.loop.pruned {
			return nil
		}
		if wait := a.loop.wait(); wait > 0 {
			retry.Reset(wait)
		}
		select {
		case <-ending:
			if a.departing() {
				return make(chan error, 1)
			}
			ending, last = nil, time.After(settleMost)
		case <-last:
			return nil
		case <-work.Done():
			return nil
		case look := <-a.views:
			look(&a.loop)
		case left := <-a.leave:
			return left
		case <-a.Source.Changed():
			a.reconcile(work)
		case <-a.fib.Changed():
			a.reconcile(work)
		case <-a.table.Changed():
			a.reconcile(work)
		case <-a.finder.Changed():
			a.reconcile(work)
		case <-retry.C:
			a.reconcile(work)
		case <-a.speaker.Changed():
			a.stream(work)
			a.prune(work)
		case <-a.speaker.SessionsChanged():
			a.prune(work)
			a.stir()
		case <-a.speaker.CallersChanged():
			a.called(work)
		case <-a.bfd.Changed():
			a.forsake(work)
		case <-a.loop.call:
			a.reconcile(work)
		case now := <-settle.C:
			a.tick(work, now)
		case <-a.pods.Changed():
		case <-a.claims.changed:
			a.reconcile(work)
		}
	}
}

// tick does what has become due by time.
func (a *Agent) tick(ctx context.Context, now time.Time) {
	a.prune(ctx)
	a.summarise(ctx)
	a.lives.settle(sinceBoot(), a.loop.pruned)
	due := a.loop.desired.Due
	if a.loop.mesh.over(now) || a.loop.drain.due(now) || a.vigil.quiet() || !due.IsZero() && !now.Before(due) {
		a.reconcile(ctx)
	}
}

// wait is how long to wait until what failed is tried again; 0: nothing did.
func (l *loop) wait() time.Duration {
	if l.failed == nil {
		l.backoff = 0
	} else {
		l.backoff = min(max(2*l.backoff, retryFirst), retryMost)
	}
	return l.backoff
}

// reconcile computes the desired state anew and applies all of it. What fails is reported and tried
// again; it does not stop the rest.
func (a *Agent) reconcile(ctx context.Context) {
	links, err := a.fib.Links(ctx)
	if err != nil {
		a.fail(fmt.Errorf("read the host's links: %w", err))
		return
	}
	hung := a.hangUp(ctx, links)
	foreign, err := a.fib.Foreign(ctx)
	if err != nil {
		a.fail(errors.Join(hung, fmt.Errorf("read the host's routes: %w", err)))
		return
	}
	l := &a.loop
	l.links = links
	in := Inputs{NodeName: a.NodeName, Snapshot: a.Source.Snapshot(), Links: links, Foreign: foreign, Restarting: a.restarted, Flushed: a.flushed}
	if n, ok := in.Snapshot.Node(a.NodeName); ok {
		l.node = n
	} else if a.Cluster != nil {
		in.Gone = l.node
	}
	in.Lost = a.losses()
	in.Callers = a.speaker.Callers()
	in.Claiming = a.Cluster != nil
	in.Releasing, in.Waiting = a.claims.inputs()
	in.Before = l.mesh.set(planOf(in.Snapshot), time.Now())
	in.Neighbours = a.finder.Neighbours()
	if in.Gateways, err = a.gateways(ctx, in); err == nil {
		in.Ways, err = a.fib.Ways(ctx)
	}
	if err != nil {
		a.fail(errors.Join(hung, fmt.Errorf("read where the host's routes lead: %w", err)))
		return
	}
	a.drained(&in)
	in.Now, in.Since = time.Now(), l.since(a.restarted)
	l.desired = desired(in)
	a.lookFor(l.desired.Unnumbered, links)
	l.resolver = newResolver(in, l.desired.BGP.Peers)
	err = a.apply(ctx)
	a.watch(in.Snapshot.Router.Spec.DrainTimeout())
	a.settle(err)
	a.fail(errors.Join(hung, err))
	a.stir()
}

// hangUp ends the sessions over links that just went down, before anything else is done: until our
// other neighbours hear of it, they send us what we cannot deliver.
func (a *Agent) hangUp(ctx context.Context, links []routes.Link) error {
	cfg, up := a.advertisable(), uplinks(links)
	cfg.Peers = slices.Clone(cfg.Peers)
	hang := false
	for i, p := range cfg.Peers {
		if l, ok := onLink(up, p.Address); ok && !l.Up && !p.Down {
			cfg.Peers[i].Down = true
			hang = true
		}
	}
	if !hang || !a.lives.calling {
		return nil
	}
	if err := a.speaker.Set(ctx, cfg); err != nil {
		return fmt.Errorf("end the sessions over links that are down: %w", err)
	}
	return nil
}

// apply brings the desired state about, in the order that keeps every promise: nothing is advertised
// before its unreachable route, the table and the CNI server are in place.
func (a *Agent) apply(ctx context.Context) error {
	d := &a.loop.desired
	var errs []error
	add := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	add("routes", a.program(ctx))
	if len(d.Blocks) > 0 || d.NFT.Watch != nil || len(d.NFT.Services) > 0 || a.loop.tabled {
		a.loop.tabled = true
		add("nftables", a.table.Set(ctx, d.NFT))
	}
	a.blocks.Set(d.Addressing)
	add("CNI", a.pods.Set(ctx, d.CNI))
	a.loop.unserved = d.CNI.NotReady
	if d.CNI.NotReady == nil {
		a.loop.unserved = cni.InstallConflist(a.ConfDir, cni.Conflist{BinDir: a.BinDir, Socket: a.cniSocket()})
		add("CNI configuration", a.loop.unserved)
	}
	if wait := a.held(); wait > 0 {
		a.hold(wait)
		return errors.Join(errs...)
	}
	if len(d.BGP.Peers) > 0 { // who is found on a link is found later
		a.lives.call(sinceBoot())
	}
	add("BFD", a.bfd.Set(ctx, d.BFD)) // before BGP: its first packet ends what neighbours have of an earlier life
	add("BGP", a.announce(ctx))
	return errors.Join(errs...)
}

// advertisable is the BGP configuration without the blocks and aggregates whose unreachable route the kernel does
// not hold: their unassigned addresses would loop between this node and its router. Aggregates that nothing is
// known inside of are left out, too.
func (a *Agent) advertisable() bgp.Config {
	l := &a.loop
	cfg := l.desired.BGP
	cfg.Paths = slices.DeleteFunc(slices.Clone(cfg.Paths), func(p bgp.Path) bool {
		sum := slices.Contains(l.desired.Aggregates, p.Prefix)
		return sum && !l.aggregates.alive[p.Prefix] || l.unresolved[p.Prefix] != nil && (sum || slices.Contains(l.desired.Blocks, p.Prefix))
	})
	return cfg
}

// prune ends the time after a restart in which nothing is removed: the peers have said all
// (End-of-RIB), or the deferral is over.
func (a *Agent) prune(ctx context.Context) {
	if a.loop.pruned {
		return
	}
	a.stream(ctx)
	if a.speaker.Synced() {
		a.fail(a.program(ctx))
	}
}

// fail notes what this turn could not do, and says so once.
func (a *Agent) fail(err error) {
	if err != nil && (a.loop.failed == nil || a.loop.failed.Error() != err.Error()) {
		a.Log.Error("not all could be done; trying again", "err", err)
	}
	a.loop.failed = err
}
