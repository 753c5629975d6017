package agent

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/routes"
)

// report is what the loop shows the world after each turn. It is never changed once published.
type report struct {
	node       string
	desired    Desired
	links      map[int]string
	learned    map[netip.Prefix][]bgp.Via
	unresolved map[netip.Prefix]error
	failed     []error
}

// publishEvery bounds how often the learned routes are copied for readers while they pour in.
const publishEvery = 200 * time.Millisecond

// publish shows the loop's state to readers. While routes pour in, it does so a few times a second
// only; run turns at least once a second, so that the last state is always shown.
func (a *Agent) publish() {
	l := &a.loop
	if time.Since(l.published) < publishEvery {
		return
	}
	l.published = time.Now()
	a.report.Store(&report{
		node:    a.NodeName,
		desired: l.desired, links: linkNames(l.links), failed: split(l.failed),
		learned: maps.Clone(l.learned), unresolved: maps.Clone(l.unresolved),
	})
}

func linkNames(links []routes.Link) map[int]string {
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Index] = l.Name
	}
	return names
}

// problems are those of the configuration, of this turn, and of routes whose next hop is of no use.
func (r *report) problems() []config.Problem {
	out := slices.Clone(r.desired.Problems)
	for _, err := range r.failed {
		out = append(out, config.Problem{Object: "Node/" + r.node, Message: err.Error()})
	}
	why := map[string][]netip.Prefix{}
	for p, err := range r.unresolved {
		why[err.Error()] = append(why[err.Error()], p)
	}
	for _, reason := range slices.Sorted(maps.Keys(why)) {
		prefixes := why[reason]
		slices.SortFunc(prefixes, comparePrefixes)
		out = append(out, config.Problem{Object: someOf(prefixes), Message: reason})
	}
	return out
}

// someOf names a set of prefixes without filling the screen.
func someOf(p []netip.Prefix) string {
	if len(p) == 1 {
		return "route " + p[0].String()
	}
	return fmt.Sprintf("%d routes, %v first", len(p), p[0])
}
