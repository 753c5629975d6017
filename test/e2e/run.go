package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
	groups := scenarios.Select(scenarios.All(), func(sc scenarios.Scenario) bool { return s.names.MatchString(sc.Name) })
	if s.list {
		for _, g := range groups {
			h.say("%s", g.Title)
			for _, sc := range g.Scenarios {
				h.say("  %-30s %s", sc.Name, sc.Shows)
			}
		}
		return nil
	}
	return h.runOn(ctx, s, groups)
}

// runOn brings up the cluster, runs, and ends it again.
func (h *harness) runOn(ctx context.Context, s selection, groups []scenarios.Group) (err error) {
	began := time.Now()
	sum := report.Summary{Parts: map[string]float64{}}
	part := func(name string, since time.Time) {
		sum.Parts[name] = time.Since(since).Round(100 * time.Millisecond).Seconds()
	}
	o, err := h.prepare(ctx)
	if err != nil {
		return err
	}
	part("programs and images", began)
	at := time.Now()
	c, err := h.cluster(ctx, s, o)
	if err != nil {
		return err
	}
	part("cluster", at)
	if !s.existing && !s.keep {
		defer func() {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			_, downErr := cluster.Down(undo, o)
			err = errors.Join(err, downErr)
		}()
	}
	at = time.Now()
	cases, err := h.runScenarios(ctx, c, groups)
	if err != nil {
		return err
	}
	sum.Counts = report.Count(cases)
	part("scenarios", at)
	if s.upstream && ctx.Err() == nil {
		at = time.Now()
		if sum.Upstream, err = h.runUpstream(ctx, c, o.Bin, s); err != nil {
			return err
		}
		part("upstream", at)
	}
	sum.Took = time.Since(began).Round(100 * time.Millisecond).Seconds()
	return errors.Join(h.conclude(sum), ctx.Err())
}

func (h *harness) cluster(ctx context.Context, s selection, o cluster.Options) (*cluster.Cluster, error) {
	if s.existing {
		return cluster.Open(o)
	}
	return cluster.Up(ctx, o)
}

func (h *harness) runScenarios(ctx context.Context, c *cluster.Cluster, groups []scenarios.Group) ([]report.Case, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	titled := -1
	r := scenarios.Runner{Cluster: c, Self: self, Done: func(group int, c report.Case) {
		if group != titled {
			h.say("\n%s", groups[group].Title)
			titled = group
		}
		report.Line(os.Stdout, c)
	}}
	var all []report.Case
	for _, cases := range r.Run(ctx, groups) {
		all = append(all, cases...)
	}
	return all, report.JUnit(filepath.Join(h.out(), "junit-scenarios.xml"), "podroute", all)
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
	for _, part := range []string{"programs and images", "cluster", "scenarios", "upstream"} {
		if took, ok := s.Parts[part]; ok {
			h.say("  %-24s %6.1f s", part, took)
		}
	}
	failed := s.Failed
	text := fmt.Sprintf("%d scenarios passed, %d failed, %d skipped", s.Passed, s.Failed, s.Skipped)
	if s.Upstream != nil {
		failed += s.Upstream.Failed
		text += fmt.Sprintf("; upstream: %d passed, %d failed", s.Upstream.Passed, s.Upstream.Failed)
	}
	h.say("\n%s; %.0f s", text, s.Took)
	if failed > 0 {
		return fmt.Errorf("%d failed; logs are in %s", failed, filepath.Join(h.out(), "logs"))
	}
	return nil
}
