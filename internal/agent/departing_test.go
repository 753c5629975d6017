package agent

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/podroute/podroute/config"
)

// TestOrphan: the Node object of a running agent is deleted. What is in force stays, and is said to.
func TestOrphan(t *testing.T) {
	t.Parallel()
	mine, other := netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:244:0:1::/64")
	gone := config.Node{Name: "a", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, PodCIDRs: []netip.Prefix{mine, other}}
	for _, c := range []struct {
		name  string
		nodes []config.Node
		want  []netip.Prefix
	}{
		{"nobody has its subnets", []config.Node{{Name: "b", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.2.0/24")}}}, gone.PodCIDRs},
		{"another node was given one", []config.Node{{Name: "b", PodCIDRs: []netip.Prefix{mine}}}, []netip.Prefix{other}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := desired(Inputs{NodeName: "a", Gone: gone, Snapshot: config.Snapshot{Nodes: c.nodes}})
			if !slices.Equal(d.Blocks, c.want) || d.CNI.NotReady != nil {
				t.Errorf("blocks %v (not ready: %v), want %v", d.Blocks, d.CNI.NotReady, c.want)
			}
			if !slices.ContainsFunc(d.Problems, func(p config.Problem) bool { return strings.Contains(p.Message, "was deleted") }) {
				t.Errorf("nobody is told: %v", d.Problems)
			}
		})
	}
	if len(gone.PodCIDRs) != 2 || gone.PodCIDRs[0] != mine {
		t.Errorf("the Node that was known has changed: %v", gone)
	}
}
