package demo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/podroute/podroute/internal/lab/demo/probe"
)

// Routers that the spine and the top-of-rack switches can be.
func Routers() []string { return []string{"podroute", "frr", "bird"} }

// Limit is how long the demo may take.
const Limit = 60 * time.Second

// Options of Run and Failover.
type Options struct {
	Topology string   // path of two-racks.clab.yml
	Router   string   // one of Routers
	StateDir string   // see lab.Options
	PathDir  string   // see lab.Options; holds podroute and podroute-cni
	Probe    []string // command that calls probe.Serve, inside a node
	Keep     bool     // leave the lab up
	// Progress is told of every stage: before it with done false, after it with what came of it.
	Progress func(stage, result string, done bool)
}

// stage is a step of the demo. Its result is shown beside its name.
type stage struct {
	name string
	run  func(ctx context.Context, r *Report) (result string, err error)
}

// Run is the demo. The report is complete also when things went wrong; the lab is gone when Run
// returns, unless it is kept.
func Run(ctx context.Context, o Options) *Report {
	began := time.Now()
	r := &Report{Router: o.Router, Events: []Event{}}
	limited, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	f, err := up(limited, o, r)
	if f != nil {
		defer f.finish(ctx, o, r)
	}
	if err == nil {
		err = o.stages(limited, r, f.story())
	}
	switch {
	case ctx.Err() != nil:
		r.fail("interrupted")
	case limited.Err() != nil:
		r.fail("took longer than %v: %v", Limit, err)
	case err != nil:
		r.fail("%v", err)
	}
	r.Took = seconds(time.Since(began))
	r.Pass = len(r.Failures) == 0
	return r
}

// stages runs stages in order, up to the first that fails.
func (o Options) stages(ctx context.Context, r *Report, all []stage) error {
	for _, s := range all {
		o.Progress(s.name, "", false)
		result, err := s.run(ctx, r)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		o.Progress(s.name, result, true)
	}
	return nil
}

// up brings the lab to the point where pods run and every route is there.
func up(ctx context.Context, o Options, r *Report) (f *fleet, err error) {
	err = o.stages(ctx, r, []stage{{"lab", func(ctx context.Context, r *Report) (string, error) {
		if f, err = deploy(ctx, o); err != nil {
			return "", err
		}
		r.Nodes = len(f.role("node"))
		r.Lab = f.lab.Name()
		return fmt.Sprintf("%s: %d namespaces, %d links", r.Lab, len(f.lab.Topology().Nodes), len(f.lab.Topology().Links)), f.startProbes(ctx)
	}}})
	if err != nil {
		return f, err
	}
	return f, o.stages(ctx, r, []stage{
		{"pods", func(ctx context.Context, r *Report) (string, error) {
			took, err := f.wire(ctx, o.PathDir)
			r.Pods = len(f.pods)
			return fmt.Sprintf("%d wired by podroute-cni through libcni, %.1f ms each", len(f.pods), float64(took.Microseconds())/1000), err
		}},
		{"routes", func(ctx context.Context, _ *Report) (string, error) {
			err := until(ctx, f.converged)
			return "every node and router knows every pod subnet", err
		}},
	})
}

// patience is how long routes and sessions may take to come up.
const patience = 20 * time.Second

// story is everything after up.
func (f *fleet) story() []stage {
	proof := func(name string, prove func(context.Context, *Report) (string, error)) stage {
		return stage{name, func(ctx context.Context, r *Report) (string, error) {
			bad := len(r.Failures)
			result, err := prove(ctx, r)
			return mark(len(r.Failures) == bad, result), err
		}}
	}
	all := []stage{proof("inside", f.proveCluster), proof("outside", f.proveOutside)}
	for _, b := range f.breaks() {
		all = append(all, stage{b.name, func(ctx context.Context, r *Report) (string, error) {
			e, err := f.judge(ctx, b)
			if err != nil {
				return "", err
			}
			r.Events = append(r.Events, e)
			if !e.ok {
				r.fail("%s: %d of %d lost, longest gap %.0f ms, promised: %s", e.Name, e.Lost, e.Sent, e.LongestGap, e.limit)
			}
			return mark(e.ok, fmt.Sprintf("%d of %d lost, longest gap %.0f ms", e.Lost, e.Sent, e.LongestGap)), nil
		}})
	}
	return all
}

func mark(ok bool, text string) string {
	if ok {
		return text
	}
	return "FAILED: " + text
}

// wire gives every node three pods, the nodes at once, and returns the median time of an ADD.
func (f *fleet) wire(ctx context.Context, pathDir string) (time.Duration, error) {
	var mu sync.Mutex
	var times []time.Duration
	err := each(slices.Concat(f.role("node"), f.role("client")), func(n string) error {
		var names []string
		if slices.Contains(f.role("node"), n) {
			names = []string{n + "-a", n + "-b", n + "-c"}
		}
		pods, err := f.probes[n].Wire(ctx, probe.WireArgs{Pods: names, Plugins: []string{pathDir, "/opt/cni/bin"}})
		mu.Lock()
		defer mu.Unlock()
		for _, p := range pods {
			f.pods = append(f.pods, pod{name: p.Name, node: n, addresses: p.Addresses})
			times = append(times, p.Took)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	slices.SortFunc(f.pods, func(a, b pod) int { return strings.Compare(a.name, b.name) })
	slices.Sort(times)
	return times[len(times)/2], nil
}

// finish takes the lab down, also when ctx has ended, and adds what the probes complained about.
func (f *fleet) finish(ctx context.Context, o Options, r *Report) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	for _, text := range f.ended(ctx) {
		r.fail("%s", text)
		r.Pass = false
	}
	if err := f.close(ctx, o.Keep); err != nil {
		r.fail("taking the lab down: %v", err)
		r.Pass = false
	}
	if said := f.errors.String(); said != "" && !r.Pass {
		r.fail("probes say: %s", said)
	}
}

// Find looks for the demo's topology file below the working directory and beside the folder of exe.
func Find(exe string) (string, error) {
	const file = "deploy/containerlab/two-racks.clab.yml"
	for _, dir := range []string{".", filepath.Join(filepath.Dir(exe), "..")} {
		if found, err := filepath.Glob(filepath.Join(dir, file)); err == nil && len(found) == 1 {
			return found[0], nil
		}
	}
	return "", errors.New("cannot find " + file + ": run this in the repository, or name the file with -t")
}
