package interop

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// beyond adds a router of the daemon's kind behind a rack's router, in another AS, to what a test builds; the returned
// function waits for it.
func beyond(t *testing.T, o *rackOptions) func() *routers.Router {
	t.Helper()
	ns := nstest.New(t)
	o.tor = func(tor *nstest.NS) {
		nstest.Veth(t, tor, "uplink", ns, "eth0")
		tor.Run(t, "ip addr add 10.0.9.0/31 dev uplink")
		ns.Run(t, "ip addr add 10.0.9.1/31 dev eth0")
	}
	var far *routers.Router
	o.router = func(c *routers.Config) {
		c.Neighbors = append(c.Neighbors, routers.Neighbor{Address: netip.MustParseAddr("10.0.9.1"), AS: 65099, OwnFamily: true})
		far = routers.Start(t, ns, o.kind, routers.Config{
			AS: 65099, RouterID: netip.MustParseAddr("10.255.0.9"),
			Neighbors: []routers.Neighbor{{Address: netip.MustParseAddr("10.0.9.0"), AS: torAS, OwnFamily: true}},
		})
	}
	return func() *routers.Router { far.Established(waitSession); return far }
}

// TestInteropWellKnown: what the well-known communities of an Advertisement make of the node's routes at a router, and behind
// it: NO_EXPORT and NO_EXPORT_SUBCONFED go no further than its AS, NO_ADVERTISE no further than the router itself. The other
// ones arrive, and are for the router's filters.
func TestInteropWellKnown(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "attributes: well-known communities: no-export, no-export-subconfed, no-advertise, no-peer, blackhole", Lacks: map[routers.Kind]string{
		routers.GoBGP: "gobgpd, policy.md: what becomes of communities is for policies that one writes; no chapter has it act on one by itself",
	}}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 1}
		wait := beyond(t, &o)
		r := newRack(t, o)
		far, subnet, hop := wait(), netip.MustParsePrefix("10.244.1.0/24"), netip.MustParseAddr("10.0.9.0")
		far.Learns(waitRoute, subnet, hop)
		for _, c := range []struct {
			name, number string
			goesOn       bool
		}{
			{"no-export", "65535:65281", false},
			{"no-advertise", "65535:65282", false},
			{"no-peer", "65535:65284", true},
			{"no-export-subconfed", "65535:65283", false},
			{"blackhole", "65535:666", kind != routers.FRR}, // FRR adds no-export to it (RFC 7999 section 3.2)
			{"65010:1", "65010:1", true},
		} {
			r.nodes[0].configure(t, "pods.yaml", fmt.Sprintf(
				"apiVersion: podroute.io/v1alpha1\nkind: Advertisement\nmetadata: {name: pods}\nspec: {podSubnets: true, communities: [%q]}\n", c.name))
			r.told(t, func(a routers.Attributes) error {
				if !slices.ContainsFunc(a.Communities, func(s string) bool { return number(s) == c.number }) {
					return errors.New("want " + c.number)
				}
				return nil
			})
			t.Log(c.name)
			if c.goesOn {
				far.Learns(waitRoute, subnet, hop)
			} else {
				far.Learns(waitRoute, subnet)
			}
		}
	})
}

// number is a community by its number, however a daemon calls it.
func number(c string) string {
	names := map[string]string{
		"no-export": "65535:65281", "no-advertise": "65535:65282", "no-export-subconfed": "65535:65283", "local-as": "65535:65283",
		"no-peer": "65535:65284", "blackhole": "65535:666",
	}
	if n, ok := names[strings.ToLower(strings.ReplaceAll(c, "_", "-"))]; ok {
		return n
	}
	return c
}

// TestInteropWellKnownHere: the same communities on a router's routes: a podroute router does not pass them on, and uses them.
func TestInteropWellKnownHere(t *testing.T) {
	t.Parallel()
	for name, community := range map[string]string{"NO_EXPORT": "65535:65281", "NO_EXPORT_SUBCONFED": "65535:65283", "NO_ADVERTISE": "65535:65282"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			routers.Feature{Name: "attributes: " + name + " of the router's is obeyed where we pass on"}.Each(t, func(t *testing.T, kind routers.Kind) {
				// The last route of all shows that all others have been told.
				const last = "apiVersion: podroute.io/v1alpha1\nkind: Advertisement\nmetadata: {name: last}\nspec: {prefixes: [10.244.99.0/24, \"fd00:244:0:99::/64\"]}\n"
				r := newTransit(t, kind, "", func(leaf, _ *routers.Config) { leaf.Tags = routers.Tags{Communities: []string{community}} })
				for _, p := range outside {
					inKernel(t, r.node, p, 1)
				}
				r.configure(t, "last.yaml", last)
				r.spine.Learns(waitRoute, netip.MustParsePrefix("10.244.99.0/24"), netip.MustParseAddr("10.0.2.1"))
				r.spine.Learns(waitRoute, netip.MustParsePrefix("fd00:244:0:99::/64"), netip.MustParseAddr("fd00:0:0:2::1"))
				for _, p := range outside {
					r.spine.Learns(waitRoute, p)
				}
			})
		})
	}
}
