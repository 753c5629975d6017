package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/podroute/podroute/config"
)

// errLeft is the answer of an agent whose node has left the network.
var errLeft = errors.New("this node has left the network: restart its agent to bring it back")

// view runs fn in the loop's goroutine, between two turns: what it reads is of one moment. An answer is
// thus a sign that the loop turns. After leaving there is none: errLeft.
func (a *Agent) view(ctx context.Context, fn func(*loop)) error {
	done := make(chan struct{})
	look := func(l *loop) {
		defer close(done)
		fn(l)
	}
	if a.left.Load() {
		return errLeft
	}
	select {
	case a.views <- look:
		<-done
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the agent's loop is busy: %w", ctx.Err())
	}
}

// problems are those of the configuration, of the last turn, and of routes whose next hop is of no use.
func (a *Agent) problems(l *loop) []config.Problem {
	out := slices.Clone(l.desired.Problems)
	for _, err := range split(l.failed) {
		out = append(out, config.Problem{Object: "Node/" + a.NodeName, Message: err.Error()})
	}
	if a.Cluster != nil {
		out = append(out, a.Cluster.Problems()...)
	}
	out = append(out, unheard(l.desired.BGP.Ranges, a.speaker.Callers())...)
	why := map[string][]netip.Prefix{}
	for p, err := range l.unresolved {
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
