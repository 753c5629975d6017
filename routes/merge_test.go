package routes

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// TestMerge: two sets of next hops become one, a message each; the routes then come into one group by themselves, without
// one being away meanwhile, and the next change of the set is one message.
func TestMerge(t *testing.T) {
	t.Parallel()
	for _, v6 := range []bool{false, true} {
		t.Run(map[bool]string{false: "IPv4", true: "IPv6"}[v6], func(t *testing.T) {
			t.Parallel()
			testMerge(t, v6)
		})
	}
}

func testMerge(t *testing.T, v6 bool) {
	t.Helper()
	w := newWorld(t, 2, Options{calm: 200 * time.Millisecond})
	hops := []NextHop{w.via(0, "10.0.0.2"), w.via(0, "10.0.0.3"), w.via(1, "10.0.1.2")}
	if v6 {
		hops = []NextHop{w.via(0, "fd00:0::2"), w.via(0, "fd00:0::3"), w.via(1, "fd00:1::2")}
	}
	const half = 2 * few
	all := manyRoutes(2*half, v6, hops...)
	lead := func(from []Route, hops []NextHop) []Route {
		out := slices.Clone(from)
		for i := range out {
			out[i].NextHops = hops
		}
		return out
	}
	first, second := all[:half], lead(all[half:], hops[1:])
	w.set(t, append(slices.Clone(first), second...)...)
	groups := func() (n int) {
		for _, o := range w.objects(t) {
			n += strings.Count(o, "_group_")
		}
		return n
	}
	before := w.sent()
	if err := w.fib.Update(t.Context(), lead(first, hops[1:]), nil); err != nil {
		t.Fatal(err)
	}
	if n := w.sent() - before; groups() != 2 || n != 2 { // the group, and the next hop that nobody has any more
		t.Fatalf("%d groups after %d messages, want 2 after 2", groups(), n)
	}
	w.run(t)
	missed := map[netip.Prefix]bool{}
	nstest.Within(t, within, func() error {
		installed, err := w.fib.Installed(t.Context())
		if err != nil {
			return err
		}
		here := map[netip.Prefix]bool{}
		for _, r := range installed {
			here[r.Dst] = true
		}
		for _, r := range all {
			if !here[r.Dst] {
				missed[r.Dst] = true
			}
		}
		if n := groups(); n != 1 {
			return fmt.Errorf("%d groups", n)
		}
		return nil
	})
	if len(missed) > 0 {
		t.Errorf("%d routes were away meanwhile", len(missed))
	}
	w.check(t, lead(all, hops[1:])...)
	before = w.sent()
	if err := w.fib.Update(t.Context(), lead(all, hops[2:]), nil); err != nil {
		t.Fatal(err)
	}
	if n := w.sent() - before; n != 2 {
		t.Errorf("%d messages for the change of a set, want 1, and 1 for the next hop that is left", n)
	}
	w.check(t, lead(all, hops[2:])...)
}

// TestMergeLater: nothing is merged before the first whole Set; then also what an earlier process has left is.
func TestMergeLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, Options{})
	hop := w.via(0, "10.0.0.2")
	all := manyRoutes(2*few, false, hop)
	w.set(t, all...)
	hopID, groupID := idBase+1, idBase+2
	w.Run(t, fmt.Sprintf("ip nexthop add id %d group %d proto %d", groupID+1, hopID, protocol))
	for _, r := range all[:few] {
		w.Run(t, fmt.Sprintf("ip route del %v nhid %d", r.Dst, groupID), fmt.Sprintf("ip route add %v nhid %d proto %d metric %d", r.Dst, groupID+1, protocol, metric))
	}
	w.fib = w.open(t, Options{calm: 100 * time.Millisecond})
	w.run(t)
	if err := w.fib.Set(t.Context(), Desired{Routes: all, Keep: true}); err != nil {
		t.Fatal(err)
	}
	groups := func() int { return strings.Count(strings.Join(w.objects(t), "\n"), "_group_") }
	if n := w.sent(); groups() != 2 || n != 0 || w.fib.merge(t.Context()) {
		t.Errorf("before the first Set was over: %d groups, %d messages", groups(), n)
	}
	w.set(t, all...)
	nstest.Within(t, within, func() error {
		if n := groups(); n != 1 {
			return fmt.Errorf("%d groups", n)
		}
		return nil
	})
	w.check(t, all...)
}
