package pool_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/podroute/podroute/ipam/pool"
)

var now = time.Unix(1_700_000_000, 0)

func prefixes(s ...string) []netip.Prefix {
	p := make([]netip.Prefix, len(s))
	for i := range s {
		p[i] = netip.MustParsePrefix(s[i])
	}
	return p
}

func block(p, of string, free uint64) pool.Block {
	return pool.Block{Prefix: netip.MustParsePrefix(p), Pool: of, Free: free, Claimed: true}
}

// idle is a block that has been empty long enough.
func idle(p, of string, free uint64) pool.Block {
	b := block(p, of, free)
	b.EmptySince = now.Add(-pool.Idle)
	return b
}

// text writes a plan with at most three candidates of each claim.
func text(p pool.Plan) string {
	var s string
	for _, claims := range p.Claims {
		for _, c := range claims {
			s += fmt.Sprintf("%s %s", c.Demand.Family, c.Pool)
			if c.Value != "" {
				s += " range of " + c.Value
			}
			n := 0
			for q := range c.Candidates {
				if n++; n > 3 {
					break
				}
				s += " " + q.String()
			}
			s += "; "
		}
	}
	for _, r := range p.Releases {
		s += fmt.Sprintf("release %s; ", r)
	}
	return s
}

func TestPlan(t *testing.T) {
	t.Parallel()
	// Four blocks of 14 addresses: the low-water mark is 3.
	a := pool.Pool{Name: "a", CIDR: netip.MustParsePrefix("10.0.0.0/26"), BlockSize: 28, Open: true}
	one := func(p pool.Pool) []pool.Pool { return []pool.Pool{p} }
	closed, excluded, cut, mine := a, a, a, a
	closed.Open = false
	excluded.Excluded, excluded.Reserved = prefixes("10.0.0.0/27", "10.0.0.32/29"), prefixes("10.0.0.48/28")
	cut.Value, cut.RangeSize = "rack1", 27
	mine.Value, mine.RangeSize, mine.Range = "rack1", 27, netip.MustParsePrefix("10.0.0.32/27")
	b := pool.Pool{Name: "b", CIDR: netip.MustParsePrefix("10.1.0.0/27"), BlockSize: 28, Open: true}
	v6 := pool.Pool{Name: "v6", CIDR: netip.MustParsePrefix("fd00::/40"), BlockSize: 122, Open: true}
	fromA := []pool.Demand{{Family: "IPv4", Pools: []string{"a"}}}
	fromBoth := []pool.Demand{{Family: "IPv4", Pools: []string{"a", "b", ""}}}
	for _, tt := range []struct {
		name  string
		state pool.State
		want  string
	}{
		{"first block", pool.State{Pools: one(a), Demands: fromA}, "IPv4 a 10.0.0.0/28 10.0.0.16/28 10.0.0.32/28; "},
		{"above the mark", pool.State{Pools: one(a), Demands: fromA, Own: []pool.Block{block("10.0.0.0/28", "a", 3)}}, ""},
		{"below the mark", pool.State{Pools: one(a), Demands: fromA, Own: []pool.Block{block("10.0.0.32/28", "a", 2)}}, "IPv4 a 10.0.0.0/28 10.0.0.16/28 10.0.0.48/28; "},
		{"known taken ones are passed over", pool.State{Pools: one(a), Demands: fromA, Taken: prefixes("10.0.0.48/30", "10.0.0.0/27")}, "IPv4 a 10.0.0.32/28; "},
		{"nothing in exclusions and reservations", pool.State{Pools: one(excluded), Demands: fromA}, "IPv4 a 10.0.0.32/28; "},
		{"a closed pool", pool.State{Pools: one(closed), Demands: fromA}, ""},
		{"the next pool, when the first fails", pool.State{Pools: []pool.Pool{a, b}, Demands: fromBoth, Taken: prefixes("10.0.0.16/28", "10.0.0.32/27", "10.1.0.0/28")}, "IPv4 a 10.0.0.0/28; IPv4 b 10.1.0.16/28; "},
		{"a closed pool's addresses do not count", pool.State{Pools: []pool.Pool{closed, b}, Demands: fromBoth, Own: []pool.Block{block("10.0.0.0/28", "a", 14)}}, "IPv4 b 10.1.0.16/28 10.1.0.0/28; "},
		{"first the range", pool.State{Pools: one(cut), Demands: fromA}, "IPv4 a range of rack1 10.0.0.32/27 10.0.0.0/27; "},
		{"then blocks in it", pool.State{Pools: one(mine), Demands: fromA}, "IPv4 a 10.0.0.32/28 10.0.0.48/28; "},
		{"a family of its own", pool.State{
			Pools:   []pool.Pool{a, v6},
			Demands: append(slices.Clone(fromA), pool.Demand{Family: "IPv6", Pools: []string{"a", "v6"}}),
			Own:     []pool.Block{block("10.0.0.0/28", "a", 14), block("fd00::/122", "v6", 14)},
		}, "IPv6 v6 fd00:0:b3:b3e0:9938:d2b4:d600:0/122 fd00:0:d4:897c:6f12:f6b4:4d00:0/122 fd00:0:f5:5f18:44ed:1ab3:c400:0/122; "},
		{"no demand", pool.State{Pools: one(a), Own: []pool.Block{block("10.0.0.0/28", "a", 0)}}, ""},

		{"a spare block goes", pool.State{Pools: one(a), Demands: fromA, Own: []pool.Block{block("10.0.0.0/28", "a", 6), idle("10.0.0.16/28", "a", 14)}}, "release 10.0.0.16/28; "},
		{"not near the mark", pool.State{Pools: one(a), Demands: fromA, Own: []pool.Block{block("10.0.0.0/28", "a", 5), idle("10.0.0.16/28", "a", 14)}}, ""},
		{"not the last", pool.State{Pools: one(a), Demands: fromA, Own: []pool.Block{idle("10.0.0.0/28", "a", 14)}}, ""},
		{"of two empty ones the later", pool.State{Pools: one(a), Demands: fromA, Own: []pool.Block{idle("10.0.0.0/28", "a", 14), idle("10.0.0.16/28", "a", 14)}}, "release 10.0.0.16/28; "},
		{"not somebody's manifest", pool.State{Pools: one(a), Demands: fromA, Own: []pool.Block{
			block("10.0.0.0/28", "a", 14), {Prefix: netip.MustParsePrefix("10.0.0.16/28"), Pool: "a", Free: 14, EmptySince: now.Add(-pool.Idle)},
		}}, ""},
		{"not before its time", pool.State{Pools: one(a), Demands: fromA, Own: []pool.Block{
			block("10.0.0.0/28", "a", 14), {Prefix: netip.MustParsePrefix("10.0.0.16/28"), Pool: "a", Free: 14, EmptySince: now.Add(time.Second - pool.Idle), Claimed: true},
		}}, ""},
		{"nobody needs it", pool.State{Pools: one(a), Own: []pool.Block{idle("10.0.0.0/28", "a", 14)}}, "release 10.0.0.0/28; "},
		{"a closed pool's last block, while another serves", pool.State{Pools: []pool.Pool{closed, b}, Demands: fromBoth, Own: []pool.Block{block("10.1.0.0/28", "b", 4), idle("10.0.0.0/28", "a", 14)}}, "release 10.0.0.0/28; "},
		{"a closed pool's last block, while nothing else serves", pool.State{Pools: one(closed), Demands: fromBoth, Own: []pool.Block{idle("10.0.0.0/28", "a", 14)}}, ""},
		{"a block of a pool that is gone", pool.State{Pools: one(b), Demands: fromBoth, Own: []pool.Block{block("10.1.0.0/28", "b", 4), idle("10.9.0.0/28", "", 14)}}, "release 10.9.0.0/28; "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.state.Node, tt.state.Now = "n1", now
			if got := text(pool.Make(tt.state)); got != tt.want {
				t.Errorf("plan %q, want %q", got, tt.want)
			}
		})
	}
}
