package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Results of a cell.
const (
	passed = "pass"
	failed = "fail"
	lacked = "the daemon lacks it"
)

// cell is what came of a feature with a daemon.
type cell struct {
	Feature string `json:"feature"`
	Daemon  string `json:"daemon"`
	Result  string `json:"result"`
	// Why it failed, what the daemon's documentation says, or what has been measured; empty: nothing has.
	Why string `json:"why"`
}

// event is a line of `go test -json`; see `go doc test2json`.
type event struct {
	Action, Package, Test, Output, Key, Value string
}

// trial is one test.
type trial struct {
	pkg, name string
	attrs     map[string]string
	output    strings.Builder
	action    string // the last of pass, fail, skip; empty: it never ended
}

// results are the tests as they were told of.
type results struct {
	trials map[[2]string]*trial
}

func newResults() *results { return &results{trials: map[[2]string]*trial{}} }

func (r *results) take(e event) {
	key := [2]string{e.Package, e.Test}
	t := r.trials[key]
	if t == nil {
		t = &trial{pkg: e.Package, name: e.Test, attrs: map[string]string{}}
		r.trials[key] = t
	}
	switch e.Action {
	case "attr":
		if old := t.attrs[e.Key]; e.Key == "measured" && old != "" {
			e.Value = old + "; " + e.Value
		}
		t.attrs[e.Key] = e.Value
	case "output":
		t.output.WriteString(e.Output)
	case "pass", "fail", "skip":
		t.action = e.Action
	}
}

// cells are sorted by feature and daemon. Of several tests of one cell, the worst result counts. Tests that were only asked for
// their names have passed if they have skipped the rest.
func (r *results) cells(listed bool) []cell {
	all := map[[2]string]cell{}
	for _, t := range r.trials {
		c := cell{Feature: t.attrs["feature"], Daemon: t.attrs["daemon"]}
		if c.Feature == "" {
			continue
		}
		switch {
		case t.action != "pass" && (!listed || t.action != "skip"):
			c.Result, c.Why = failed, r.story(t)
		case t.attrs["lacks"] != "":
			c.Result, c.Why = lacked, t.attrs["lacks"]
		default:
			c.Result, c.Why = passed, t.attrs["measured"]
		}
		key := [2]string{c.Feature, c.Daemon}
		old, ok := all[key]
		if ok && old.Result == passed && c.Result == passed {
			c.Why = both(old.Why, c.Why)
		}
		if !ok || c.Result == failed || old.Result == passed {
			all[key] = c
		}
	}
	out := make([]cell, 0, len(all))
	for _, c := range all {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b cell) int { return cmp.Or(cmp.Compare(a.Feature, b.Feature), cmp.Compare(a.Daemon, b.Daemon)) })
	return out
}

// both are the figures of two tests.
func both(a, b string) string {
	s := []string{a, b}
	slices.Sort(s)
	return strings.TrimPrefix(strings.Join(s, "; "), "; ")
}

// story is what a test and the subtests in it printed.
func (r *results) story(t *trial) string {
	var out strings.Builder
	var inside []*trial
	for _, x := range r.trials {
		if x.pkg == t.pkg && (x == t || strings.HasPrefix(x.name, t.name+"/") && x.action != "pass") {
			inside = append(inside, x)
		}
	}
	slices.SortFunc(inside, func(a, b *trial) int { return cmp.Compare(a.name, b.name) })
	for _, x := range inside {
		out.WriteString(x.output.String())
	}
	return strings.TrimSpace(out.String())
}

// others names the tests that failed and are no cells, nor hold any that failed.
func (r *results) others() error {
	var names []string
	for _, t := range r.trials {
		if t.action == "pass" || t.attrs["feature"] != "" || t.name == "" {
			continue
		}
		known := false
		for _, x := range r.trials {
			known = known || x.pkg == t.pkg && x.attrs["feature"] != "" && x.action != "pass" &&
				(strings.HasPrefix(x.name, t.name+"/") || strings.HasPrefix(t.name, x.name+"/"))
		}
		if !known {
			names = append(names, fmt.Sprintf("%s %s\n%s", t.pkg, t.name, t.output.String()))
		}
	}
	if names == nil {
		return nil
	}
	slices.Sort(names)
	return fmt.Errorf("outside the matrix:\n%s", strings.Join(names, "\n"))
}
