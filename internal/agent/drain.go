package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/podroute/podroute/internal/nft"
)

// A node that is drained leaves in two steps, so that nobody is without a way in between. First all that it advertises
// carries GRACEFUL_SHUTDOWN (RFC 8326), service addresses too: routers look for other ways, and find those that the better
// one has hidden from them, while this one still works. Then the service addresses are withdrawn. Pod subnets stay while
// pods stay. See docs/adr/0087.

// drainFile, in the run folder, is there while the operator wants this node drained; it holds since when. It is gone with
// the boot: a machine that has been worked on comes back by itself.
const drainFile = "drain"

// becauseOperator is the reason for a drain that podroute drain has asked for.
const becauseOperator = "podroute drain"

// drain is how far this node is with being drained. The loop owns it.
type drain struct {
	// wish is since when the operator wants it; zero: not.
	wish time.Time
	// since is when neighbours were first asked; zero: this node is not drained. because says who wants it.
	since   time.Time
	because []string
	// patience is how long neighbours are asked, if traffic does not fade before.
	patience time.Duration
	// withdrawn is when the service addresses were first left out.
	withdrawn time.Time
}

// set takes in who wants this node drained, and whether the asking is over anyway.
func (d *drain) set(config []string, over bool, now time.Time) {
	d.because = nil
	if !d.wish.IsZero() {
		d.because = append(d.because, becauseOperator)
	}
	d.because = append(d.because, config...)
	switch {
	case len(d.because) == 0:
		d.since, d.withdrawn = time.Time{}, time.Time{}
		return
	case d.since.IsZero():
		d.since = now
	}
	if d.withdrawn.IsZero() && (over || d.due(now)) {
		d.withdrawn = now
	}
}

// due tells whether it is time for the second step.
func (d *drain) due(now time.Time) bool {
	return !d.since.IsZero() && d.withdrawn.IsZero() && now.Sub(d.since) >= d.patience
}

// readWish reads the operator's wish of an earlier run; zero: there is none.
func readWish(dir string) (time.Time, error) {
	text, err := os.ReadFile(filepath.Join(dir, drainFile))
	if errors.Is(err, os.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read whether this node is drained: %w", err)
	}
	at, err := time.Parse(time.RFC3339, strings.TrimSpace(string(text)))
	if err != nil {
		return time.Now(), nil //nolint:nilerr // that the file is there is what counts
	}
	return at, nil
}

// writeWish notes the operator's wish for runs to come; zero: there is none any more.
func writeWish(dir string, at time.Time) error {
	path := filepath.Join(dir, drainFile)
	if at.IsZero() {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("forget that this node is drained: %w", err)
		}
		return nil
	}
	if err := os.WriteFile(path, []byte(at.UTC().Format(time.RFC3339)+"\n"), 0o600); err != nil {
		return fmt.Errorf("note that this node is drained: %w", err)
	}
	return nil
}

// wish takes the operator's wish in, or back, and applies it. It returns who else wants this node drained. What else a turn cannot
// do is no reason not to drain; status tells it.
func (a *Agent) wish(ctx context.Context, drained bool) (because []string, err error) {
	seen := a.view(ctx, func(l *loop) {
		at := l.drain.wish
		switch {
		case !drained:
			at = time.Time{}
		case at.IsZero():
			at = time.Now()
		}
		if err = writeWish(a.RunDir, at); err != nil {
			return
		}
		l.drain.wish = at
		a.reconcile(context.WithoutCancel(ctx))
		because = slices.Clone(l.drain.because)
	})
	if seen != nil {
		return nil, seen
	}
	return because, err
}

// drained settles for a turn whether this node is drained, and how far. In the first turn of an agent there is nobody to
// ask: what this node does not advertise yet it need not advertise at all.
func (a *Agent) drained(in *Inputs) {
	l, spec := &a.loop, in.Snapshot.Router.Spec
	first := l.resolver == nil
	l.drain.patience = spec.WithdrawAfter()
	l.drain.set(spec.DrainedBecause(l.node), first || a.vigil.quiet(), time.Now())
	in.Drain, in.Withdraw = !l.drain.since.IsZero(), !l.drain.withdrawn.IsZero()
}

// watch has the traffic watched that still comes.
func (a *Agent) watch(timeout time.Duration) {
	d := &a.loop.drain
	a.vigil.set(watched{
		Since: d.since, Withdrawn: d.withdrawn, Because: slices.Clone(d.because), Services: a.loop.desired.Served, Timeout: timeout,
	})
}

// withhold has a drained node say so with all that it advertises, and traffic to service addresses counted.
func (d *draft) withhold() {
	if !d.Drain {
		return
	}
	d.BGP.Drain = true
	d.NFT.Watch = &nft.Watch{Services: d.NFT.Services} // also those whose endpoints here have gone meanwhile
	for _, l := range d.uplinks {
		if l.Up && !strings.HasPrefix(l.Name, "kube-ipvs") {
			d.NFT.Watch.Uplinks = append(d.NFT.Watch.Uplinks, l.Name)
		}
	}
}
