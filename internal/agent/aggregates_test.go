package agent

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestAggregates: an aggregate lives while something is inside, and lingers; its unreachable route is there from before
// it is told until after.
func TestAggregates(t *testing.T) {
	t.Parallel()
	var (
		rack, wider, other = netip.MustParsePrefix("10.244.0.0/20"), netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00::/56")
		node               = netip.MustParsePrefix("10.244.1.0/24")
		now                = time.Now()
		g                  = newAggregates()
	)
	step := func(what string, want ...netip.Prefix) {
		t.Helper()
		g.judge(now, true)
		if got := slices.SortedFunc(maps.Keys(g.alive), comparePrefixes); !slices.Equal(got, want) {
			t.Errorf("%s: alive are %v, want %v", what, got, want)
		}
		for p := range g.alive {
			if !g.held[p] {
				t.Errorf("%s: %v would be told without an unreachable route", what, p)
			}
		}
	}
	g.recount([]netip.Prefix{rack, wider, other}, nil)
	step("nothing known")
	g.count(rack, 1)
	step("a rack's range is inside the wider one, not in itself", wider)
	g.count(node, 1)
	step("a node", wider, rack)
	if g.release() || len(g.told) != 2 {
		t.Errorf("told are %v", g.told)
	}
	g.count(node, -1)
	step("the node has gone", wider, rack)
	now = now.Add(lingerTime - time.Millisecond)
	step("not for long", wider, rack)
	g.count(node, 1)
	step("it is back", wider, rack)
	g.count(node, -1)
	step("gone again", wider, rack)
	now = now.Add(lingerTime)
	step("for long", wider)
	if !g.held[rack] {
		t.Error("the unreachable route goes before the aggregate is withdrawn")
	}
	if !g.release() || g.held[rack] {
		t.Error("the unreachable route stays after the aggregate was withdrawn")
	}
	g.recount([]netip.Prefix{rack}, []netip.Prefix{node})
	step("the wider one is not configured any more, a block of our own counts", rack)
	if !g.release() || len(g.held) != 1 {
		t.Errorf("held are %v", g.held)
	}

	g = newAggregates()
	g.before[rack] = true
	g.recount([]netip.Prefix{rack, other}, nil)
	g.judge(now, false)
	if !g.alive[rack] || g.alive[other] {
		t.Errorf("after a restart, before all is known, alive are %v", g.alive)
	}
	step("all is known", rack)
	now = now.Add(lingerTime)
	step("and nobody is inside")
}
