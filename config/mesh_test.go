package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestLargeMesh: a full mesh of more than a hundred nodes is reported on the RouterConfig, whether it is written or not.
func TestLargeMesh(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		router string
		nodes  int
		want   bool
	}{
		{"", 100, false},
		{"", 101, true},
		{"mesh: Full", 101, true},
		{"mesh: Full, routerSelector: {matchLabels: {n: \"7\"}}", 101, false},
		{"mesh: Reflectors, reflectorSelector: {matchLabels: {n: \"1\"}}", 300, false},
		{"mesh: None, clusterCIDRs: [10.0.0.0/8], nodeCIDRs: [192.0.2.0/24]", 300, false},
	} {
		var w strings.Builder
		for i := range c.nodes {
			fmt.Fprintf(&w, "---\napiVersion: v1\nkind: Node\nmetadata: {name: n%d, labels: {n: \"%d\"}}\nstatus: {addresses: [{type: InternalIP, address: \"2001:db8::%x\"}]}\n", i, i, i+1)
		}
		if c.router != "" {
			fmt.Fprintf(&w, "---\napiVersion: %s\nkind: RouterConfig\nmetadata: {name: default}\nspec: {%s}\n", APIVersion, c.router)
		}
		f := Parse("all.yaml", []byte(w.String()))
		var b Builder
		s := b.Build(Input{Objects: f.Objects, Problems: f.Problems})
		got := 0
		for _, p := range s.Problems {
			if p.Object == "RouterConfig/default" && p.Field == "spec.mesh" && strings.Contains(p.Mend, "Reflectors") {
				got++
			}
		}
		if len(s.Nodes) != c.nodes || got != map[bool]int{true: 1}[c.want] {
			t.Errorf("%q with %d nodes: problems %v", c.router, len(s.Nodes), s.Problems)
		}
	}
}
