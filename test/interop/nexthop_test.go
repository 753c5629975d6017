package interop

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// shared is an Ethernet with a podroute router, 10.0.9.1, and two daemons that have sessions with it and not with one
// another: leaf, 10.0.9.2, and spine, 10.0.9.3.
type shared struct {
	*node
	spine    *routers.Router
	manifest func(nextHop string) string
}

// newShared builds it; the daemons have these AS numbers, the router 64601.
func newShared(t *testing.T, kind routers.Kind, leafAS, spineAS uint32, role string) *shared {
	t.Helper()
	lan := nstest.New(t)
	lan.Run(t, "ip link add br0 type bridge", "ip link set br0 up")
	r := &shared{node: newNode(t, "r1")}
	join := func(ns *nstest.NS, host int) {
		port := fmt.Sprintf("port%d", host)
		nstest.Veth(t, lan, port, ns, "eth0")
		lan.Run(t, "ip link set "+port+" master br0")
		ns.Run(t, fmt.Sprintf("ip addr add 10.0.9.%d/24 dev eth0", host), fmt.Sprintf("ip addr add fd00:0:0:9::%d/64 dev eth0 nodad", host))
	}
	join(r.NS, 1)
	daemon := func(host int, as uint32, announce ...netip.Prefix) *routers.Router {
		ns := nstest.New(t)
		join(ns, host)
		n := routers.Neighbor{Address: netip.MustParseAddr("10.0.9.1"), AS: 64601, NextHop6: netip.MustParseAddr(fmt.Sprintf("fd00:0:0:9::%d", host))}
		c := routers.Config{AS: as, RouterID: netip.MustParseAddr(fmt.Sprintf("10.255.0.%d", host)), Announce: announce, Neighbors: []routers.Neighbor{n}}
		if kind == routers.OpenBGPD { // a session for each family
			n.OwnFamily, n.NextHop6 = true, netip.Addr{}
			six := n
			six.Address = netip.MustParseAddr("fd00:0:0:9::1")
			c.Neighbors = []routers.Neighbor{n, six}
		}
		return routers.Start(t, ns, kind, c)
	}
	leaf := daemon(2, leafAS, outside...)
	r.spine = daemon(3, spineAS)
	peer := func(name string, host int, as uint32, extra string) string {
		if role == "reflector" {
			extra += "  reflectorClient: true\n"
		}
		const text = "---\napiVersion: podroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: %s}\nspec:\n  address: %q\n  asNumber: %d\n%s"
		if kind != routers.OpenBGPD {
			return fmt.Sprintf(text, name, fmt.Sprintf("10.0.9.%d", host), as, extra)
		}
		return fmt.Sprintf(text, name, fmt.Sprintf("10.0.9.%d", host), as, extra+"  families: [IPv4]\n") +
			fmt.Sprintf(text, name+"6", fmt.Sprintf("fd00:0:0:9::%d", host), as, extra+"  families: [IPv6]\n")
	}
	r.manifest = func(nextHop string) string {
		if nextHop != "" {
			nextHop = "  nextHop: " + nextHop + "\n"
		}
		return `
apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec:
  asNumber: 64601
  mesh: None
  routerSelector: {matchExpressions: [{key: role, operator: Exists}]}
  clusterCIDRs: [10.244.0.0/16, "fd00:244::/32"]
  nodeCIDRs: [10.0.0.0/16, "fd00::/48"]
---
apiVersion: v1
kind: Node
metadata: {name: r1, labels: {role: ` + role + `}}
status: {addresses: [{type: InternalIP, address: 10.0.9.1}, {type: InternalIP, address: "fd00:0:0:9::1"}]}
` + peer("leaf", 2, leafAS, "") + peer("spine", 3, spineAS, nextHop)
	}
	r.configure(t, "fabric.yaml", r.manifest(""))
	r.start(t)
	leaf.Established(waitSession)
	r.spine.Established(waitSession)
	return r
}

// via waits until the spine has the leaf's prefixes through a host of the Ethernet.
func (r *shared) via(t *testing.T, host int) {
	t.Helper()
	r.spine.Learns(waitRoute, outside[0], netip.MustParseAddr(fmt.Sprintf("10.0.9.%d", host)))
	r.spine.Learns(waitRoute, outside[1], netip.MustParseAddr(fmt.Sprintf("fd00:0:0:9::%d", host)))
}

// TestInteropNextHop: the next hop of what is passed on, by default and as the peer wants it, changed under the session.
func TestInteropNextHop(t *testing.T) {
	t.Parallel()
	const us, leaf = 1, 2
	for _, c := range []struct {
		feature         string
		leafAS, spineAS uint32
		role            string
		byDefault       int
		nextHop         string
		then            int
	}{
		{"attributes: a router's next hop towards another AS, itself or a third party", 65001, 65002, "router", us, "Unchanged", leaf},
		{"attributes: a router's next hop inside its AS, itself or unchanged", 65001, 64601, "router", us, "Unchanged", leaf},
		{"attributes: a reflector's next hop, unchanged or itself (RFC 4456)", 64601, 64601, "reflector", leaf, "Self", us},
	} {
		t.Run(c.role+fmt.Sprint(c.spineAS), func(t *testing.T) {
			t.Parallel()
			routers.Feature{Name: c.feature}.Each(t, func(t *testing.T, kind routers.Kind) {
				r := newShared(t, kind, c.leafAS, c.spineAS, c.role)
				r.via(t, c.byDefault)
				before := r.snapshot(t)
				r.configure(t, "fabric.yaml", r.manifest(c.nextHop))
				r.via(t, c.then)
				r.configure(t, "fabric.yaml", r.manifest(""))
				r.via(t, c.byDefault)
				r.unmoved(t, before)
			})
		})
	}
}

// TestInteropThirdParty: of what an Advertisement names, traffic goes to whom it says.
func TestInteropThirdParty(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "attributes: a third party as the next hop of an advertised prefix"}.Each(t, func(t *testing.T, kind routers.Kind) {
		r := newShared(t, kind, 65001, 65002, "router")
		const advertisement = "apiVersion: podroute.io/v1alpha1\nkind: Advertisement\nmetadata: {name: far}\nspec: {prefixes: [10.244.99.0/24, \"fd00:244:0:99::/64\"], nextHops: %s}\n"
		for _, c := range []struct{ hops, four, six string }{
			{"[]", "10.0.9.1", "fd00:0:0:9::1"}, {`[10.0.9.77, "fd00:0:0:9::77"]`, "10.0.9.77", "fd00:0:0:9::77"}, {`["fd00:0:0:9::2"]`, "10.0.9.1", "fd00:0:0:9::2"},
		} {
			r.configure(t, "far.yaml", fmt.Sprintf(advertisement, c.hops))
			r.spine.Learns(waitRoute, netip.MustParsePrefix("10.244.99.0/24"), netip.MustParseAddr(c.four))
			r.spine.Learns(waitRoute, netip.MustParsePrefix("fd00:244:0:99::/64"), netip.MustParseAddr(c.six))
		}
	})
}
