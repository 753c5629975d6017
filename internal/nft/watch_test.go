package nft

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/podroute/podroute/internal/nstest"
)

// TestWatch: packets from outside to service addresses are counted before they are translated, those of pods are
// not, and neither the begin nor the end of it touches the other chains.
func TestWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	services := [2]string{"10.50.0.1", "fd00:50::1"}
	nft(t, w.node, fmt.Sprintf("table inet proxy {\nchain services {\ntype nat hook prerouting priority dstnat;\n"+
		"ip daddr %s dnat ip to %s\nip6 daddr %s dnat ip6 to %s\n}\n}\n", services[0], w.podAddr[0], services[1], w.podAddr[1]))
	table := newTable(t, w.node)
	c := w.config()
	mustSet(t, table, c)
	rule, counts := handle(t, w.node, "forged source"), mustCount(t, table)
	if counts.Services+counts.Forwarded != 0 || len(counts.Uplinks) != 0 {
		t.Errorf("nothing is watched, and there is %+v", counts)
	}

	c.Watch = &Watch{Services: prefixes("10.50.0.1/32", "fd00:50::1/128"), Uplinks: []string{"up0"}}
	mustSet(t, table, c)
	expectDrift(t, table, false)
	const each = 7
	for family := range services {
		for _, to := range []string{services[family], w.podAddr[family], w.nodeAddr[family]} {
			w.outside.Run(t, fmt.Sprintf("ping -q -c %d -i 0.01 -W 2 %s", each, to))
		}
		w.pod2.Run(t, fmt.Sprintf("ping -q -c %d -i 0.01 -W 2 %s", each, services[family]))
	}
	counts = mustCount(t, table)
	if counts.Services != 2*each {
		t.Errorf("%d packets to service addresses, want %d", counts.Services, 2*each)
	}
	if counts.Forwarded != 4*each {
		t.Errorf("%d packets forwarded, want %d", counts.Forwarded, 4*each)
	}
	if n := counts.Uplinks["up0"]; n < 6*each || n > 9*each { // neighbour discovery, too
		t.Errorf("%d packets on up0, want %d and a few", n, 6*each)
	}

	c.Watch = nil
	mustSet(t, table, c)
	expectDrift(t, table, false)
	if got := handle(t, w.node, "forged source"); got != rule {
		t.Errorf("the anti-spoofing rule was written again: handle %s, was %s", got, rule)
	}
	if left := list(t, w.node); strings.Contains(left, "drain") || strings.Contains(left, "served") {
		t.Errorf("left behind:\n%s", left)
	}
}

// TestWatchAlone: a node without pods, which masquerades nothing, is watched as well.
func TestWatchAlone(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	table := newTable(t, ns)
	mustSet(t, table, Config{PodLinks: "pr", Watch: &Watch{Uplinks: []string{"eth0"}}})
	expectDrift(t, table, false)
	mustSet(t, table, exampleConfig())
	expectDrift(t, table, false)
}

func mustCount(t *testing.T, table *Table) Counts {
	t.Helper()
	c, err := table.Counts(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return c
}
