package interop

import (
	"net/netip"
	"testing"

	"github.com/podroute/podroute/internal/routers"
)

// TestInteropImportByAttributes: what the router tags and sends is judged by it, again with every change, and the
// session stays.
func TestInteropImportByAttributes(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "filters: import by community, large community, AS path and family, changed under the session"}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 1, router: func(c *routers.Config) {
			c.Tags = routers.Tags{Communities: []string{"65010:100"}, Large: []string{"4200000000:1:2"}, Prepend: 1}
		}}
		r := newRack(t, o)
		n := r.nodes[0]
		r.exchanged(t, 1)
		before := n.snapshot(t)
		for _, x := range []struct {
			filter   string
			ip4, ip6 int // links in the kernel
		}{
			{`{reject: [{communities: ["65010:100"]}]}`, 0, 0},
			{`{reject: [{communities: ["65010:101"]}, {communities: ["65010:100", "65010:101"]}]}`, 1, 1},
			{`{reject: [{communities: ["*:100"], family: IPv6}]}`, 1, 0},
			{`{reject: [{communities: ["4200000000:*:2"], cidr: 10.244.0.0/16, le: 24}]}`, 0, 1},
			{`{only: true}`, 0, 0},
			{`{only: true, accept: [{asPath: {neighbor: 65001, origin: 65001, contains: 65001, maxLength: 2}}]}`, 1, 1},
			{`{only: true, accept: [{asPath: {maxLength: 1}}, {family: IPv6}]}`, 0, 1},
			{`{reject: [{asPath: {contains: 65009}}]}`, 1, 1},
			{`{reject: [{asPath: {origin: 65001}}]}`, 0, 0},
			{`{}`, 1, 1},
		} {
			o.peer = "  import: " + x.filter + "\n"
			n.configure(t, "rack.yaml", rackManifests(o, 1))
			t.Log(x.filter)
			inKernel(t, n, outside[0], x.ip4)
			inKernel(t, n, outside[1], x.ip6)
		}
		n.unmoved(t, before)
	})
}

// TestInteropExportByAttributes: which of its own routes a node sends depends on what its Advertisement puts on them.
func TestInteropExportByAttributes(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "filters: export by community, large community, AS path and family, changed under the session"}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 1}
		r := newRack(t, o)
		n := r.nodes[0]
		n.configure(t, "pods.yaml", "apiVersion: podroute.io/v1alpha1\nkind: Advertisement\nmetadata: {name: pods}\nspec: {podSubnets: true, communities: [\"65010:7\", \"4200000000:7:7\"], prepend: 1}\n")
		r.exchanged(t, 1)
		before := n.snapshot(t)
		for _, x := range []struct {
			filter   string
			ip4, ip6 bool
		}{
			{`{reject: [{communities: ["65010:*"]}]}`, false, false},
			{`{accept: [{communities: ["65010:7", "4200000000:7:7"]}]}`, true, true},
			{`{accept: [{communities: ["65010:8"]}, {family: IPv4}]}`, true, false},
			{`{reject: [{cidr: 10.244.0.0/16, le: 24, communities: ["*:7:*"]}]}`, false, true},
			{`{only: true}`, false, false},
			{`{accept: [{asPath: {origin: 64601, maxLength: 2}}]}`, true, true},
			{`{accept: [{asPath: {maxLength: 1}}]}`, false, false},
			{`{}`, true, true},
		} {
			o.peer = "  export: " + x.filter + "\n"
			n.configure(t, "rack.yaml", rackManifests(o, 1))
			t.Log(x.filter)
			for subnet, hop := range subnets(1) {
				var hops []netip.Addr
				if subnet.Addr().Is4() && x.ip4 || subnet.Addr().Is6() && x.ip6 {
					hops = append(hops, hop)
				}
				r.router.Learns(waitRoute, subnet, hops...)
			}
		}
		n.unmoved(t, before)
	})
}
