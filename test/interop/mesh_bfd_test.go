package interop

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// TestMeshBFD: the nodes of a mesh watch one another, from when all of them do; one whose packets stop is out of the others'
// kernels long before the hold time is over, and the others' sessions stay. It is switched on and off under the sessions.
func TestMeshBFD(t *testing.T) {
	t.Parallel()
	const (
		plain   = "---\napiVersion: podroute.io/v1alpha1\nkind: RouterConfig\nmetadata: {name: default}\nspec: {clusterCIDRs: [10.244.0.0/16, \"fd00:244::/32\"]}\n"
		watched = "---\napiVersion: podroute.io/v1alpha1\nkind: RouterConfig\nmetadata: {name: default}\nspec:\n" +
			"  clusterCIDRs: [10.244.0.0/16, \"fd00:244::/32\"]\n  meshBFD: {transmitInterval: 100ms, receiveInterval: 100ms}\n"
	)
	nodes := newLAN(t, 3)
	lanWorks(t, nodes, lanManifests(3)+plain)
	a, b, c := nodes[0], nodes[1], nodes[2]
	before := a.snapshot(t)
	state := func(n *node, peer string, want string, off bool) {
		t.Helper()
		nstest.Within(t, waitSession, func() error {
			if s := n.session(t, peer).BFD; s.State != want || s.Off != off || want == "Up" && s.Detect != 300 {
				return fmt.Errorf("BFD of %s with %s: %+v, want %s", n.name, peer, s, want)
			}
			return nil
		})
	}
	for _, n := range nodes { // one after the other
		n.configure(t, "cluster.yaml", lanManifests(3)+watched)
		time.Sleep(400 * time.Millisecond) // more than a detection time
	}
	for _, n := range nodes {
		for _, m := range nodes {
			if n != m {
				state(n, "mesh-"+m.name, "Up", false)
			}
		}
	}
	a.unmoved(t, before)

	end := silence(t, c.NS)
	silent := time.Now()
	for p := range subnets(3) {
		inKernel(t, a, p, 0)
		inKernel(t, b, p, 0)
	}
	t.Logf("a silent node is out of the others' kernels after %v", time.Since(silent))
	if d := time.Since(silent); d > 5*time.Second {
		t.Errorf("a silent node is out of the others' kernels after %v; BFD's detection time is 300 ms", d)
	}
	if s := a.session(t, "mesh-n3"); s.BFD.Losses != 1 || s.State == "Established" {
		t.Errorf("the silent node: %+v", s)
	}
	a.unmoved(t, before[:1]) // with the other
	end()
	for _, n := range []*node{a, b} {
		state(n, "mesh-n3", "Up", false)
		for p := range subnets(3) {
			inKernel(t, n, p, 1)
		}
	}

	before = a.snapshot(t)
	a.configure(t, "cluster.yaml", lanManifests(3)+plain)
	state(a, "mesh-n2", "Up", true)
	time.Sleep(time.Second) // three detection times in which nothing may happen
	b.unmovedWith(t, "mesh-n1", 0)
	for _, n := range []*node{b, c} {
		n.configure(t, "cluster.yaml", lanManifests(3)+plain)
	}
	nstest.Within(t, waitSession, func() error {
		all, err := b.sessions()
		if err == nil && slices.ContainsFunc(all, func(s session) bool { return s.BFD.State == "Up" && !s.BFD.Off }) {
			err = fmt.Errorf("BFD is still on: %+v", all)
		}
		return err
	})
	a.unmoved(t, before)
	inKernel(t, b, netip.MustParsePrefix("10.244.1.0/24"), 1)
}

// unmovedWith checks that a session is up and was lost so many times.
func (n *node) unmovedWith(t *testing.T, peer string, flaps int) {
	t.Helper()
	if s := n.session(t, peer); s.State != "Established" || s.Flaps != flaps {
		t.Errorf("session %s of %s: %+v", peer, n.name, s)
	}
}
