package interop

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// TestInteropRackAS: two nodes behind a top-of-rack router, which tells each of the other: with an AS number a node; with one
// for all of them, where nodes accept their own in paths, or the router takes it out; and with the router's own, where it reflects.
func TestInteropRackAS(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		feature string
		options rackOptions
		path    []uint32 // of the other node's subnets, as the router has it
		change  func(*routers.Neighbor)
		lacks   map[routers.Kind]string
	}{
		{feature: "topologies: a rack with one AS a node", path: []uint32{64601}},
		{
			feature: "topologies: a rack with one AS, whose nodes accept it from the router (allowOwnAS)",
			options: rackOptions{as: 64600, peer: "  allowOwnAS: 1\n"}, path: []uint32{64600},
			lacks: map[routers.Kind]string{
				routers.GoBGP: "gobgpd sends no path to a neighbour whose AS is in it; what configuration.md has for that is replace-peer-as",
			},
		},
		{
			feature: "topologies: a rack with one AS, which the router takes out of paths (as-override)",
			options: rackOptions{as: 64600}, path: []uint32{64600}, change: func(n *routers.Neighbor) { n.OverrideAS = true },
		},
		{
			feature: "topologies: a rack with one AS, whose router reflects (iBGP)", options: rackOptions{as: torAS},
			change: func(n *routers.Neighbor) { n.ReflectorClient, n.NextHopSelf = true, true },
		},
	} {
		t.Run(strings.ReplaceAll(c.feature, " ", "-"), func(t *testing.T) {
			t.Parallel()
			routers.Feature{Name: c.feature, Lacks: c.lacks}.Each(t, func(t *testing.T, kind routers.Kind) {
				o := c.options
				o.kind, o.nodes, o.split = kind, 2, kind == routers.GoBGP // which passes IPv6 on with an IPv4 next hop, over IPv4
				if c.change != nil {
					o.router = func(conf *routers.Config) {
						for i := range conf.Neighbors {
							c.change(&conf.Neighbors[i])
						}
					}
				}
				r := newRack(t, o)
				var pods []*pod
				for i, n := range r.nodes {
					r.exchanged(t, i+1)
					pods = append(pods, n.add(t, "pod-"+n.name))
				}
				want := c.path
				if strings.Contains(c.feature, "as-override") && kind == routers.OpenBGPD {
					want = []uint32{torAS} // it does so when a path comes in
				}
				r.told(t, func(a routers.Attributes) error {
					if !slices.Equal(a.ASPath, want) {
						return fmt.Errorf("want the path %v", want)
					}
					return nil
				})
				for i, n := range r.nodes {
					for p := range subnets(2 - i) {
						through(t, n, p, gateways(i + 1)[p.Addr().Is6()])
					}
				}
				if _, lacks := noFIB()[kind]; lacks { // what the daemon does not tell its kernel, it is told
					for i := range r.nodes {
						for p, hop := range subnets(i + 1) {
							r.tor.Run(t, fmt.Sprintf("ip route add %v via %v", p, hop))
						}
					}
				}
				reach(t, pods)
			})
		})
	}
}

// gateways are the router's addresses on node i's link: the IPv4 one under false.
func gateways(i int) map[bool]netip.Addr {
	return map[bool]netip.Addr{false: netip.MustParseAddr(fmt.Sprintf("10.0.%d.0", i)), true: netip.MustParseAddr(fmt.Sprintf("fd00:0:0:%d::", i))}
}

// through waits until the node's kernel has a route of ours to p through one next hop alone.
func through(t *testing.T, n *node, p netip.Prefix, hop netip.Addr) {
	t.Helper()
	inKernel(t, n, p, 1)
	nstest.Within(t, waitRoute, func() error {
		out, err := n.Try(fmt.Sprintf("ip route get %v", p.Addr().Next()))
		if err == nil && !strings.Contains(out, " via "+hop.String()+" ") {
			err = fmt.Errorf("%v is not reached through %v: %s", p, hop, out)
		}
		return err
	})
}

// newSegment is an Ethernet with nodes n1, n2, ... at 10.0.9.N and fd00:0:0:9::N, and room for daemons.
func newSegment(t *testing.T, count int) (lan *nstest.NS, nodes []*node) {
	t.Helper()
	lan = nstest.New(t)
	lan.Run(t, "ip link add br0 type bridge", "ip link set br0 up")
	for i := 1; i <= count; i++ {
		n := newNode(t, fmt.Sprintf("n%d", i))
		joinSegment(t, lan, n.NS, i)
		nodes = append(nodes, n)
	}
	return lan, nodes
}

func joinSegment(t *testing.T, lan, ns *nstest.NS, host int) {
	t.Helper()
	port := fmt.Sprintf("port%d", host)
	nstest.Veth(t, lan, port, ns, "eth0")
	lan.Run(t, "ip link set "+port+" master br0")
	ns.Run(t, fmt.Sprintf("ip addr add 10.0.9.%d/24 dev eth0", host), fmt.Sprintf("ip addr add fd00:0:0:9::%d/64 dev eth0 nodad", host))
}

// segmentNeighbors are a daemon's sessions with hosts of the Ethernet; it is one of them itself.
func segmentNeighbors(kind routers.Kind, self int, as uint32, change func(*routers.Neighbor), hosts ...int) []routers.Neighbor {
	var out []routers.Neighbor
	for _, h := range hosts {
		n := routers.Neighbor{
			Address: netip.MustParseAddr(fmt.Sprintf("10.0.9.%d", h)), AS: as, GracefulRestart: true,
			NextHop6: netip.MustParseAddr(fmt.Sprintf("fd00:0:0:9::%d", self)),
		}
		change(&n)
		out = append(out, n)
		if kind == routers.OpenBGPD { // a session for each family
			out[len(out)-1].OwnFamily, out[len(out)-1].NextHop6 = true, netip.Addr{}
			six := out[len(out)-1]
			six.Address = netip.MustParseAddr(fmt.Sprintf("fd00:0:0:9::%d", h))
			out = append(out, six)
		}
	}
	return out
}

// segmentManifests are the Nodes of an Ethernet, RouterConfig, and a BGPPeer for the daemon on a host of it; 0: none.
func segmentManifests(kind routers.Kind, count int, config string, host int, as uint32, peer string) string {
	var w strings.Builder
	fmt.Fprintf(&w, `
apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec:
  clusterCIDRs: [10.244.0.0/16, "fd00:244::/32"]
  nodeCIDRs: [10.0.0.0/16, "fd00::/48"]
%s`, config)
	for i := 1; i <= count; i++ {
		fmt.Fprintf(&w, `---
apiVersion: v1
kind: Node
metadata: {name: n%[1]d}
spec: {podCIDR: 10.244.%[1]d.0/24, podCIDRs: [10.244.%[1]d.0/24, "fd00:244:0:%[1]d::/64"]}
status: {addresses: [{type: InternalIP, address: 10.0.9.%[1]d}, {type: InternalIP, address: "fd00:0:0:9::%[1]d"}]}
`, i)
	}
	if host == 0 {
		return w.String()
	}
	const text = "---\napiVersion: podroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: %s}\nspec:\n  address: %q\n  asNumber: %d\n%s"
	four, six := fmt.Sprintf("10.0.9.%d", host), fmt.Sprintf("fd00:0:0:9::%d", host)
	if kind == routers.OpenBGPD {
		fmt.Fprintf(&w, text, "tor", four, as, peer+"  families: [IPv4]\n")
		fmt.Fprintf(&w, text, "tor6", six, as, peer+"  families: [IPv6]\n")
	} else {
		fmt.Fprintf(&w, text, "tor", four, as, peer)
	}
	return w.String()
}

// hosts are the addresses of a host of the Ethernet, the IPv4 one under false.
func segmentHost(i int) map[bool]netip.Addr {
	return map[bool]netip.Addr{false: netip.MustParseAddr(fmt.Sprintf("10.0.9.%d", i)), true: netip.MustParseAddr(fmt.Sprintf("fd00:0:0:9::%d", i))}
}

// TestInteropClients: two nodes and a router of the same kind are clients of a reflector, on one Ethernet. Pods reach each
// other directly: the reflector leaves next hops alone, and says whose route it is.
func TestInteropClients(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "topologies: nodes as clients of the router's reflector (RFC 4456)"}.Each(t, func(t *testing.T, kind routers.Kind) {
		const reflector, client = 8, 9
		cluster := netip.MustParseAddr("192.0.2.100")
		lan, nodes := newSegment(t, 2)
		daemon := func(host int, change func(*routers.Config)) *routers.Router {
			ns := nstest.New(t)
			joinSegment(t, lan, ns, host)
			c := routers.Config{AS: 64512, RouterID: netip.MustParseAddr(fmt.Sprintf("10.255.0.%d", host))}
			change(&c)
			return routers.Start(t, ns, kind, c)
		}
		rr := daemon(reflector, func(c *routers.Config) {
			c.ClusterID = cluster
			c.Neighbors = segmentNeighbors(kind, reflector, 64512, func(n *routers.Neighbor) { n.ReflectorClient = true }, 1, 2, client)
		})
		other := daemon(client, func(c *routers.Config) {
			c.Announce = outside
			c.Neighbors = segmentNeighbors(kind, client, 64512, func(*routers.Neighbor) {}, reflector)
		})
		var pods []*pod
		for _, n := range nodes {
			n.configure(t, "cluster.yaml", segmentManifests(kind, 2, "  mesh: None\n", reflector, 64512, ""))
			n.start(t)
		}
		rr.Established(waitSession)
		for i, n := range nodes {
			n.ready(t)
			pods = append(pods, n.add(t, "pod-"+n.name))
			for p := range subnets(2 - i) {
				through(t, n, p, segmentHost(2 - i)[p.Addr().Is6()])
			}
			for _, p := range outside {
				through(t, n, p, segmentHost(client)[p.Addr().Is6()])
			}
		}
		for p := range subnets(1) {
			other.Learns(waitRoute, p, segmentHost(1)[p.Addr().Is6()])
		}
		reflected(t, other, netip.MustParsePrefix("10.244.1.0/24"), netip.MustParseAddr("10.0.9.1"), cluster)
		reach(t, pods)
	})
}

// reflected waits until a router has a route as a reflector tells it: whose it is, and through which clusters it has come.
func reflected(t *testing.T, r *routers.Router, p netip.Prefix, originator netip.Addr, clusters ...netip.Addr) {
	t.Helper()
	nstest.Within(t, waitRoute, func() error {
		a, err := r.Attributes(p)
		if err == nil && (a.Originator != originator || !slices.Equal(a.Clusters, clusters)) {
			err = fmt.Errorf("%v: originator %v, clusters %v; want %v, %v", p, a.Originator, a.Clusters, originator, clusters)
		}
		return err
	})
}

// TestInteropReflects: podroute reflects between two routers of the daemon's kind, with its router ID as the cluster's and
// with one that is set.
func TestInteropReflects(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "topologies: the router as a client of ours, its originator and our cluster ID (RFC 4456)"}.Each(t, func(t *testing.T, kind routers.Kind) {
		r := newShared(t, kind, 64601, 64601, "reflector")
		leaf := netip.MustParseAddr("10.255.0.2")
		r.via(t, 2)
		for _, p := range outside {
			reflected(t, r.spine, p, leaf, netip.MustParseAddr("10.0.9.1"))
		}
		r.configure(t, "fabric.yaml", strings.Replace(r.manifest(""), "  mesh: None\n", "  mesh: None\n  clusterID: 192.0.2.100\n", 1))
		for _, p := range outside {
			reflected(t, r.spine, p, leaf, netip.MustParseAddr("192.0.2.100"))
		}
		r.via(t, 2)
	})
}

// TestInteropMesh: two nodes in a mesh, and a router that is a peer of one of them and knows nothing of the other: pods go
// directly from node to node, although the router announces one's subnet too, and it is told the other's alone.
func TestInteropMesh(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "topologies: a full mesh beside a router"}.Each(t, func(t *testing.T, kind routers.Kind) {
		const host = 8
		lan, nodes := newSegment(t, 2)
		ns := nstest.New(t)
		joinSegment(t, lan, ns, host)
		tor := routers.Start(t, ns, kind, routers.Config{
			AS: torAS, RouterID: netip.MustParseAddr("10.255.0.8"), Announce: append([]netip.Prefix{netip.MustParsePrefix("10.244.2.0/24")}, outside...),
			Neighbors: segmentNeighbors(kind, host, 64512, func(*routers.Neighbor) {}, 1),
		})
		manifests := segmentManifests(kind, 2, "  mesh: Full\n", host, torAS, "  nodeSelector: {matchLabels: {edge: \"yes\"}}\n")
		manifests = strings.Replace(manifests, "{name: n1}", "{name: n1, labels: {edge: \"yes\"}}", 1)
		var pods []*pod
		for _, n := range nodes {
			n.configure(t, "cluster.yaml", manifests)
			n.start(t)
		}
		tor.Established(waitSession)
		for i, n := range nodes {
			n.ready(t)
			pods = append(pods, n.add(t, "pod-"+n.name))
			for p := range subnets(2 - i) {
				through(t, n, p, segmentHost(2 - i)[p.Addr().Is6()])
			}
		}
		for _, p := range outside {
			through(t, nodes[0], p, segmentHost(host)[p.Addr().Is6()])
			inKernel(t, nodes[1], p, 0) // a node passes nothing on
		}
		for p := range subnets(1) {
			tor.Learns(waitRoute, p, segmentHost(1)[p.Addr().Is6()])
		}
		reach(t, pods)
		tor.Learns(waitRoute, netip.MustParsePrefix("fd00:244:0:2::/64"))
		if err := nodes[1].hasPeers("mesh-n1"); err != nil {
			t.Error(err)
		}
	})
}

// TestInteropOverrideAS: two routers of one AS, of the daemon's kind, learn of each other through a podroute router.
func TestInteropOverrideAS(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "topologies: neighbours of one AS behind a router of ours (overrideAS)"}.Each(t, func(t *testing.T, kind routers.Kind) {
		r := newShared(t, kind, 65001, 65001, "router")
		for _, p := range outside {
			inKernel(t, r.node, p, 1)
		}
		manifests := strings.ReplaceAll(r.manifest(""), "  asNumber: 65001\n", "  asNumber: 65001\n  overrideAS: true\n")
		r.configure(t, "fabric.yaml", manifests)
		r.via(t, 1)
		nstest.Within(t, waitRoute, func() error {
			a, err := r.spine.Attributes(outside[0])
			if err == nil && !slices.Equal(a.ASPath, []uint32{64601, 64601}) {
				err = fmt.Errorf("the AS path is %v, want our own AS twice", a.ASPath)
			}
			return err
		})
	})
}
