package scenarios

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/podroute/podroute/test/e2e/cluster"
)

// Scenario is one thing to show.
type Scenario struct {
	// Name is what -run selects by, lower case with hyphens; also the name of its namespace.
	Name string
	// Shows is the sentence that holds if Run returns nil, for the report.
	Shows string
	// Disturbs says that others would notice: it restarts, breaks, drains or fills something.
	Disturbs bool
	// Timeout is how long it may take. Default: two minutes.
	Timeout time.Duration
	Run     func(context.Context, *T) error
}

// Group is scenarios of one subject.
type Group struct {
	Title     string
	Scenarios []Scenario
}

// All there are, in the order in which they are reported.
func All() []Group {
	return []Group{
		{"The Kubernetes network model", model()},
		{"Services, probes", append(services(), advertised()...)},
		{"Operation, under traffic", slices.Concat(operation(), draining(), memory())},
		{"Nodes that come and go, under traffic", nodes()},
		{"Crowds of pods", crowds()},
		{"Configuration", configuration()},
	}
}

// T is what a scenario works with. Its methods may be called from several goroutines, but for Note and Afterwards.
type T struct {
	*cluster.Cluster
	Namespace  string
	bin        string
	notes      []string
	afterwards []func(context.Context) error
}

// Note adds a figure to the report.
func (t *T) Note(format string, args ...any) { t.notes = append(t.notes, fmt.Sprintf(format, args...)) }

// Afterwards has something done when the scenario has ended and, if it failed, what it left has been looked at. What
// was asked for last is done first.
func (t *T) Afterwards(do func(context.Context) error) { t.afterwards = append(t.afterwards, do) }

// Select keeps the scenarios that match.
func Select(groups []Group, match func(Scenario) bool) []Group {
	var out []Group
	for _, g := range groups {
		g.Scenarios = slices.DeleteFunc(slices.Clone(g.Scenarios), func(s Scenario) bool { return !match(s) })
		if len(g.Scenarios) > 0 {
			out = append(out, g)
		}
	}
	return out
}
