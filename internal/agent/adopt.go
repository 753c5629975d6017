package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/routes"
)

// A start is a restart, in the sense of RFC 4724, only if the forwarding state of the earlier run is
// still there: the kernel holds routes of ours, and this is the same boot. The mark of the boot lies
// in the run folder, which does not outlive a boot either; both are asked, because some hosts keep
// /run on disk.
//
// Neighbours are told family by family (RFC 4724 section 3). A family that has no routes has lost them
// if it had some: each run notes in which families it has routes.

const (
	bootMark       = "boot-id"
	forwardingMark = "forwarding"
)

// adopted tells whether this start is a restart, and of which families the routes are gone all the same; it leaves the mark
// for the next.
func (a *Agent) adopted(ctx context.Context) (restart bool, flushed []bgp.Family, err error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return false, nil, fmt.Errorf("read the boot ID: %w", err)
	}
	file := filepath.Join(a.RunDir, bootMark)
	mark, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, nil, fmt.Errorf("read the mark of the last run: %w", err)
	}
	installed, err := a.fib.Installed(ctx)
	if err != nil {
		return false, nil, fmt.Errorf("read the kernel's routes: %w", err)
	}
	var there families
	a.loop.aggregates = newAggregates()
	for _, r := range installed {
		if !r.Pod {
			there.add(r.Dst)
		}
		if r.Unreachable {
			a.loop.aggregates.before[r.Dst] = true
		}
	}
	if err := os.WriteFile(file, boot, 0o600); err != nil {
		return false, nil, fmt.Errorf("mark this boot: %w", err)
	}
	a.loop.forwards = forwarding{file: filepath.Join(a.RunDir, forwardingMark), log: a.Log}
	had := a.loop.forwards.recall()
	if there == 0 || strings.TrimSpace(string(mark)) != strings.TrimSpace(string(boot)) {
		return false, nil, nil
	}
	flushed = (had &^ there).list()
	for _, f := range flushed {
		a.Log.Warn("the routes of the run before are gone from the kernel: neighbours will not keep this node's routes of this family, nor at the next restart unless their session ends before", "family", f)
	}
	return true, flushed, nil
}

// forget takes the marks away: the next start is a first one.
func (a *Agent) forget() error {
	a.lives.inOrder()
	for _, mark := range []string{bootMark, forwardingMark} {
		if err := os.Remove(filepath.Join(a.RunDir, mark)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("forget this run: %w", err)
		}
	}
	return nil
}

// families is a set of address families.
type families uint8

func (f *families) add(p netip.Prefix) {
	if p.Addr().Is4() {
		*f |= 1 << bgp.IPv4
	} else {
		*f |= 1 << bgp.IPv6
	}
}

func (f families) list() (out []bgp.Family) {
	for _, fam := range []bgp.Family{bgp.IPv4, bgp.IPv6} {
		if f&(1<<fam) != 0 {
			out = append(out, fam)
		}
	}
	return out
}

func familiesOf(rs []routes.Route) (f families) {
	for _, r := range rs {
		f.add(r.Dst)
	}
	return f
}

// forwarding is the note of the families that have routes in the kernel. What cannot be noted is no reason to stop: a family that the
// next run does not find in the note has lost nothing, as far as that one knows.
type forwarding struct {
	file  string
	log   *slog.Logger
	noted families
}

// recall is what the run before has noted.
func (f *forwarding) recall() families {
	f.noted = 0
	text, err := os.ReadFile(f.file)
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	var names []string
	if err == nil {
		err = json.Unmarshal(text, &names)
	}
	if err != nil {
		f.log.Warn("what the run before noted of its routes cannot be read", "file", f.file, "err", err)
		return 0
	}
	for _, fam := range []bgp.Family{bgp.IPv4, bgp.IPv6} {
		if slices.Contains(names, fam.String()) {
			f.noted |= 1 << fam
		}
	}
	return f.noted
}

// note notes them, where they are others than before. It comes before the routes: a run may end at any time.
func (f *forwarding) note(now families) {
	if now == f.noted || f.file == "" {
		return
	}
	f.noted = now
	names := []string{}
	for _, fam := range now.list() {
		names = append(names, fam.String())
	}
	if err := writeNote(f.file, names); err != nil {
		f.log.Warn("this run cannot note in which families it has routes", "err", err)
	}
}
