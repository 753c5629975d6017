package interop

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/podroute/podroute/internal/nstest"
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

// TestInteropWarn: more prefixes than wanted are told and do no harm; with the other action they end the session, and the
// router is admitted again after its time.
func TestInteropWarn(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "filters: too many prefixes are warned of; or end the session, which is back after the time for a retry"}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 1, peer: "  maxPrefixes: 6\n  maxPrefixesAction: Warn\n"}
		r := newRack(t, o)
		n := r.nodes[0]
		r.exchanged(t, 1)
		before := n.snapshot(t)
		few := append([]netip.Prefix{}, outside...)
		many := append([]netip.Prefix{}, few...)
		for i := range 9 {
			many = append(many, netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", 80+i)))
		}
		r.router.Announce(many...)
		inKernel(t, n, many[len(many)-1], 1)
		nstest.Within(t, waitRoute, func() error {
			if s := n.session(t, "tor"); !strings.Contains(strings.Join(s.Warnings, " "), "more than the 6 that maxPrefixes allows") {
				return fmt.Errorf("no warning: %+v", s)
			}
			return nil
		})
		if text := n.table(t); !strings.Contains(text, "warning: it has sent") {
			t.Errorf("podroute peers says\n%s", text)
		}
		if out, err := n.ask("status"); err != nil || !strings.Contains(string(out), "more than the 6 that maxPrefixes allows") {
			t.Errorf("podroute status says %s, %v", out, err)
		}
		n.unmoved(t, before)
		o.peer = "  maxPrefixes: 6\n  maxPrefixesRetry: 2s\n"
		n.configure(t, "rack.yaml", rackManifests(o, 1))
		inKernel(t, n, outside[0], 0)
		if s := n.session(t, "tor"); !strings.Contains(s.LastError, "it sent more than 6 prefixes of a family") {
			t.Errorf("session: %+v", s)
		}
		r.router.Announce(few...)
		r.exchanged(t, 1)
	})
}
