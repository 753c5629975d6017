package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/podroute/podroute/test/e2e/cluster"
	"github.com/podroute/podroute/test/e2e/report"
	"github.com/podroute/podroute/test/e2e/scenarios"
	"github.com/podroute/podroute/test/e2e/upstream"
)

// what is to be run.
type selection struct {
	names    *regexp.Regexp
	list     bool
	upstream bool
	focus    string
	procs    int
	existing bool // use the cluster that runs, and leave it
	keep     bool // leave the cluster up
}

func (h *harness) run(ctx context.Context, args []string) error {
	var s selection
	f := flag.NewFlagSet("run", flag.ExitOnError)
	h.flags(f)
	names := f.String("run", "", "run the scenarios whose name matches; default: all")
	f.BoolVar(&s.list, "list", false, "list the scenarios and do nothing")
	f.BoolVar(&s.upstream, "upstream", true, "run upstream's conformance tests")
	f.StringVar(&s.focus, "focus", upstream.Focus, "upstream's tests to run")
	f.IntVar(&s.procs, "procs", 5, "processes that run upstream's tests")
	f.BoolVar(&s.existing, "existing", false, "use the cluster that make cluster left up, and leave it")
	f.BoolVar(&s.keep, "keep", false, "leave the cluster up")
	if err := f.Parse(args); err != nil {
		return err
	}
	var err error
	if s.names, err = regexp.Compile(*names); err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	if s.existing && h.which == "" {
		h.which = torCluster
	}
	plans, err := h.plans(h.o)
	if err != nil {
		return err
	}
	if !s.list {
		return h.runAll(ctx, s)
	}
	for _, p := range plans {
		h.say("%s", p.title())
		for _, g := range s.of(p) {
			h.say("  %s", g.Title)
			for _, sc := range g.Scenarios {
				h.say("    %-30s %s", sc.Name, sc.Shows)
			}
		}
	}
	return nil
}

// of a plan's scenarios, those that are selected.
func (s selection) of(p plan) []scenarios.Group {
	return scenarios.Select(p.groups, func(sc scenarios.Scenario) bool { return s.names.MatchString(sc.Name) })
}

func (p plan) title() string { return "Cluster " + p.which + ": " + p.o.Installed() }

// runAll runs on one cluster after the other, and concludes.
func (h *harness) runAll(ctx context.Context, s selection) error {
	sum := report.Summary{Parts: map[string]float64{}}
	began := time.Now()
	o, err := h.prepare(ctx)
	if err != nil {
		return err
	}
	part(&sum, "programs and images", began)
	plans, err := h.plans(o)
	if err != nil {
		return err
	}
	for _, p := range plans {
		p.groups, p.upstream = s.of(p), p.upstream && s.upstream
		if len(p.groups) == 0 && !p.upstream || ctx.Err() != nil {
			continue
		}
		if err := h.runOn(ctx, s, p, &sum); err != nil {
			return fmt.Errorf("cluster %s: %w", p.which, err)
		}
	}
	sum.Took = time.Since(began).Round(100 * time.Millisecond).Seconds()
	return errors.Join(h.conclude(sum), ctx.Err())
}

func part(sum *report.Summary, name string, since time.Time) {
	sum.Parts[name] = time.Since(since).Round(100 * time.Millisecond).Seconds()
}

// runOn brings up a cluster, runs, and ends it again.
func (h *harness) runOn(ctx context.Context, s selection, p plan, sum *report.Summary) (err error) {
	h.say("\n%s", p.title())
	at := time.Now()
	c, err := h.open(ctx, s, p.o)
	if err != nil {
		return err
	}
	part(sum, p.which+": cluster", at)
	if !s.existing && !s.keep {
		defer func() {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			_, downErr := cluster.Down(undo, p.o)
			err = errors.Join(err, downErr)
		}()
	}
	at = time.Now()
	cases, err := h.runScenarios(ctx, c, p)
	if err != nil {
		return err
	}
	sum.Add(report.Count(cases))
	part(sum, p.which+": scenarios", at)
	if p.upstream && ctx.Err() == nil {
		at = time.Now()
		if sum.Upstream, err = h.runUpstream(ctx, c, p.o.Bin, s); err != nil {
			return err
		}
		part(sum, p.which+": upstream", at)
	}
	return nil
}

func (h *harness) open(ctx context.Context, s selection, o cluster.Options) (*cluster.Cluster, error) {
	if s.existing {
		return cluster.Open(o)
	}
	return cluster.Up(ctx, o)
}

func (h *harness) runScenarios(ctx context.Context, c *cluster.Cluster, p plan) ([]report.Case, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	titled := -1
	r := scenarios.Runner{Cluster: c, Self: self, Done: func(group int, c report.Case) {
		if group != titled {
			h.say("\n%s (cluster %s)", p.groups[group].Title, p.which)
			titled = group
		}
		report.Line(os.Stdout, c)
	}}
	var all []report.Case
	for _, cases := range r.Run(ctx, p.groups) {
		all = append(all, cases...)
	}
	return all, report.JUnit(filepath.Join(h.out(), "junit-scenarios-"+p.which+".xml"), "podroute "+p.which, all)
}

func (h *harness) runUpstream(ctx context.Context, c *cluster.Cluster, bin string, s selection) (*report.UpstreamCounts, error) {
	h.say("\nUpstream's conformance tests, sig-network")
	began := time.Now()
	cases, err := upstream.Run(ctx, c, bin, s.focus, s.procs)
	if err != nil {
		return nil, err
	}
	for _, c := range cases {
		if c.Failure != "" {
			c.Shows = "failed"
			report.Line(os.Stdout, c)
		}
	}
	n := report.Count(cases)
	mark := "✓"
	if n.Failed > 0 {
		mark = "✗"
	}
	h.say("  %s %-62s %6.1f s", mark, fmt.Sprintf("%d of %d pass", n.Passed, len(cases)), time.Since(began).Seconds())
	if s.focus == upstream.Focus && len(cases) < upstream.Specs {
		return nil, fmt.Errorf("upstream ran %d tests; this release has %d", len(cases), upstream.Specs)
	}
	err = report.JUnit(filepath.Join(h.out(), "junit-upstream.xml"), "sig-network conformance", cases)
	return &report.UpstreamCounts{Passed: n.Passed, Failed: n.Failed}, err
}

// conclude writes the summary and says it in a sentence.
func (h *harness) conclude(s report.Summary) error {
	if err := s.Write(filepath.Join(h.out(), "summary.json")); err != nil {
		return err
	}
	h.say("")
	for _, part := range slices.Sorted(maps.Keys(s.Parts)) {
		h.say("  %-24s %6.1f s", part, s.Parts[part])
	}
	failed := s.Failed
	text := fmt.Sprintf("%d scenarios passed, %d failed, %d skipped", s.Passed, s.Failed, s.Skipped)
	if s.Upstream != nil {
		failed += s.Upstream.Failed
		text += fmt.Sprintf("; upstream: %d passed, %d failed", s.Upstream.Passed, s.Upstream.Failed)
	}
	h.say("\n%s; %.0f s", text, s.Took)
	if failed > 0 {
		return fmt.Errorf("%d failed; logs are in %s*/logs", failed, h.out())
	}
	return nil
}
