package interop

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// farAway is a node and a router that peer by their loopback addresses, with two routers between them that speak no BGP. Static
// routes lead to the loopback addresses: the node's over both of the routers, 10.0.1.0 and 10.0.2.0. A default route leads over the first.
type farAway struct {
	*node
	router   *routers.Router
	betweens []*nstest.NS
}

// Addresses of the router and the node, and, of both families, the next hops on the node's two links.
var (
	torLoopbacks  = []string{"10.255.1.1", "fd00:255:1::1"}
	nodeLoopbacks = []string{"10.255.2.1", "fd00:255:2::1"}
	nextHops      = [][]string{{"10.0.1.0", "10.0.2.0"}, {"fd00:0:0:1::", "fd00:0:0:2::"}}
)

// newFarAway builds it and waits for the sessions; the router's AS is 65001, as is the node's where it is inside. peer is added to the
// BGPPeers, change changes the router's neighbours.
func newFarAway(t *testing.T, kind routers.Kind, as uint32, peer string, change func(*routers.Neighbor)) *farAway {
	t.Helper()
	b := &farAway{node: newNode(t, "n1")}
	tor := nstest.New(t)
	b.wire(t, tor)
	c := routers.Config{AS: torAS, RouterID: netip.MustParseAddr("10.255.1.1"), Announce: outside}
	for i := range torLoopbacks {
		n := routers.Neighbor{Address: netip.MustParseAddr(nodeLoopbacks[i]), AS: as, Local: netip.MustParseAddr(torLoopbacks[i]), OwnFamily: true}
		if as != torAS {
			n.Multihop = 5
			// Where both call at once, FRR 8.4 may hold the other's IPv6 next hop to be inaccessible for good.
			n.Passive = kind == routers.FRR
		}
		if change != nil {
			change(&n)
		}
		c.Neighbors = append(c.Neighbors, n)
	}
	b.router = routers.Start(t, tor, kind, c)
	if as != torAS {
		peer += "  multihopTTL: 5\n"
	}
	b.configure(t, "multihop.yaml", fmt.Sprintf(farAwayManifests, as, peer))
	b.start(t)
	b.router.Established(waitSession)
	b.ready(t)
	return b
}

// farAwayManifests take the node's AS, and lines for both BGPPeers.
const farAwayManifests = `
apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec: {asNumber: %d, mesh: None, clusterCIDRs: [10.244.0.0/16, "fd00:244::/32"], nodeCIDRs: [10.255.0.0/16, "fd00:255::/32"]}
---
apiVersion: podroute.io/v1alpha1
kind: BGPPeer
metadata: {name: tor}
spec:
  address: 10.255.1.1
  asNumber: 65001
  sourceAddress: 10.255.2.1
  families: [IPv4]
%[2]s---
apiVersion: podroute.io/v1alpha1
kind: BGPPeer
metadata: {name: tor6}
spec:
  address: "fd00:255:1::1"
  asNumber: 65001
  sourceAddress: "fd00:255:2::1"
  families: [IPv6]
%[2]s---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.244.1.0/24, "fd00:244:0:1::/64"]}
status: {addresses: [{type: InternalIP, address: 10.255.2.1}, {type: InternalIP, address: "fd00:255:2::1"}]}
`

// wire puts the routers between, with all static routes.
func (b *farAway) wire(t *testing.T, tor *nstest.NS) {
	t.Helper()
	tor.Run(t, "ip addr add 10.255.1.1/32 dev lo", "ip addr add fd00:255:1::1/128 dev lo", "ip addr add 10.244.77.1/32 dev lo", "ip addr add fd00:244:0:77::1/128 dev lo")
	b.Run(t, "ip addr add 10.255.2.1/32 dev lo", "ip addr add fd00:255:2::1/128 dev lo")
	for i := 1; i <= 2; i++ {
		between, port, eth := nstest.New(t), fmt.Sprintf("port%d", i), fmt.Sprintf("eth%d", i)
		b.betweens = append(b.betweens, between)
		nstest.Veth(t, tor, port, between, "north")
		nstest.Veth(t, between, "south", b.NS, eth)
		between.Run(t, "sysctl -qw net.ipv4.ip_forward=1", "sysctl -qw net.ipv6.conf.all.forwarding=1",
			fmt.Sprintf("ip addr add 10.1.%d.1/31 dev north", i), fmt.Sprintf("ip addr add fd00:0:1:%d::1/127 dev north nodad", i),
			fmt.Sprintf("ip addr add 10.0.%d.0/31 dev south", i), fmt.Sprintf("ip addr add fd00:0:0:%d::/127 dev south nodad", i))
		tor.Run(t, fmt.Sprintf("ip addr add 10.1.%d.0/31 dev %s", i, port), fmt.Sprintf("ip addr add fd00:0:1:%d::/127 dev %s nodad", i, port))
		b.Run(t, fmt.Sprintf("ip addr add 10.0.%d.1/31 dev %s", i, eth), fmt.Sprintf("ip addr add fd00:0:0:%d::1/127 dev %s nodad", i, eth))
		for _, hop := range []struct {
			to  []string
			via string
		}{
			{[]string{"10.255.1.1/32", "10.244.77.0/24"}, fmt.Sprintf("10.1.%d.0", i)},
			{[]string{"10.255.2.1/32", "10.244.1.0/24"}, fmt.Sprintf("10.0.%d.1", i)},
			{[]string{"fd00:255:1::1/128", "fd00:244:0:77::/64"}, fmt.Sprintf("fd00:0:1:%d::", i)},
			{[]string{"fd00:255:2::1/128", "fd00:244:0:1::/64"}, fmt.Sprintf("fd00:0:0:%d::1", i)},
		} {
			between.Run(t, "ip route add "+hop.to[0]+" via "+hop.via, "ip route add "+hop.to[1]+" via "+hop.via)
		}
	}
	for _, p := range []string{"10.255.2.1/32", "10.244.1.0/24"} {
		tor.Run(t, "ip route add "+p+" nexthop via 10.1.1.1 nexthop via 10.1.2.1")
	}
	for _, p := range []string{"fd00:255:2::1/128", "fd00:244:0:1::/64"} { // before what the router finds of the same
		tor.Run(t, "ip route add "+p+" metric 1 nexthop via fd00:0:1:1::1 nexthop via fd00:0:1:2::1")
	}
	b.ways(t, "replace", 0, 1)
	b.Run(t, "ip route add default via 10.0.1.0", "ip route add default via fd00:0:0:1::")
}

// ways sets the node's static routes to the router: replace over these of its two links, or del.
func (b *farAway) ways(t *testing.T, verb string, links ...int) {
	t.Helper()
	for f, to := range torLoopbacks {
		line := "ip route " + verb + " " + to
		for _, l := range links {
			line += " nexthop via " + nextHops[f][l]
		}
		b.Run(t, line)
	}
}

// leads waits until what the router announces leads over these of the node's two links, and no others, and a pod, if given, reaches it.
func (b *farAway) leads(t *testing.T, from *pod, links ...int) {
	t.Helper()
	for f, p := range outside {
		want := []string{}
		for _, l := range links {
			want = append(want, nextHops[f][l])
		}
		nstest.Within(t, waitRoute, func() error {
			out, err := b.Try(fmt.Sprintf("ip %s route show %v proto 179", []string{"-4", "-6"}[f], p))
			if err != nil {
				return err
			}
			got, words := []string{}, strings.Fields(out)
			for i, w := range words {
				if w == "via" {
					got = append(got, words[i+1])
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				return fmt.Errorf("%v leads over %v, want %v:\n%s", p, got, want, out)
			}
			return nil
		})
	}
	if from != nil && len(links) > 0 {
		nstest.Within(t, waitRoute, func() error {
			return pings(from, []netip.Addr{netip.MustParseAddr("10.244.77.1"), netip.MustParseAddr("fd00:244:0:77::1")})
		})
	}
}

// unresolved waits until all that the router announces is reported as not installed, with why.
func (b *farAway) unresolved(t *testing.T, why string) {
	t.Helper()
	nstest.Within(t, waitRoute, func() error {
		out, err := b.ask("routes", "--learned")
		if err != nil {
			return err
		}
		if got := strings.Count(string(out), why); got != len(outside) {
			return fmt.Errorf("%d routes say %q, want %d:\n%s", got, why, len(outside), out)
		}
		return nil
	})
}

// changes walks through what can become of the routes to the router, under sessions that stay.
func (b *farAway) changes(t *testing.T) {
	t.Helper()
	p := b.add(t, "pod-a")
	b.leads(t, p, 0, 1)
	before := b.snapshot(t)
	b.ways(t, "replace", 1)
	b.leads(t, p, 1)
	b.ways(t, "replace", 0)
	b.leads(t, p, 0)
	b.ways(t, "del")
	b.leads(t, p) // the default route is none to resolve next hops by, though the sessions live by it
	b.unresolved(t, "is on none of this node's links: let the peer set itself as next hop, or give this node a route")
	b.ways(t, "replace", 0, 1)
	b.leads(t, p, 0, 1)
	b.unmoved(t, before)
}

// TestInteropMultihop: a router that is peered with on its loopback addresses, several hops away. Its routes are in the kernel by the
// static routes that lead there, change with them, and carry packets.
func TestInteropMultihop(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "sessions: multihop, from an address that we choose"}.Each(t, func(t *testing.T, kind routers.Kind) {
		b := newFarAway(t, kind, 64601, "", nil)
		for _, p := range []string{"10.244.1.0/24", "fd00:244:0:1::/64"} {
			// Those who follow next hops through static routes have it with the address on their link.
			nstest.Within(t, waitRoute, func() error {
				_, err := b.router.Attributes(netip.MustParsePrefix(p))
				return err
			})
		}
		b.changes(t)
	})
}

// TestMultihopInside: the same inside an AS, where no number of hops has to be allowed; a link that goes down takes its share with it.
func TestMultihopInside(t *testing.T) {
	t.Parallel()
	b := newFarAway(t, routers.BIRD, torAS, "", nil)
	b.changes(t)
	b.betweens[1].Run(t, "ip link set south down")
	b.leads(t, nil, 0)
}

// TestMultihopBFD: with BFD over several hops the session ends, too, when nothing leads to the router any more, and all comes back
// with the way there.
func TestMultihopBFD(t *testing.T) {
	t.Parallel()
	b := newFarAway(t, routers.BIRD, 64601, watched, func(n *routers.Neighbor) { n.BFD = &routers.BFD{Interval: 50, Multiplier: 3} })
	p := b.add(t, "pod-a")
	b.leads(t, p, 0, 1)
	for _, name := range []string{"tor", "tor6"} {
		b.alive(t, name)
	}
	b.Run(t, "ip route del default", "ip -6 route del default")
	b.ways(t, "del")
	b.leads(t, p)
	for _, name := range []string{"tor", "tor6"} {
		nstest.Within(t, waitRoute, func() error {
			if s := b.session(t, name); s.State == "Established" || s.BFD.Losses == 0 {
				return fmt.Errorf("nobody is missed: %+v", s)
			}
			return nil
		})
	}
	b.ways(t, "replace", 1)
	b.router.Established(waitSession)
	b.leads(t, p, 1)
}

// TestMultihopOSPF: the way to the router is another daemon's, BIRD's by OSPF, over IPv6 through link-local addresses. It loses a
// link, and then ends.
func TestMultihopOSPF(t *testing.T) {
	t.Parallel()
	b := newFarAway(t, routers.BIRD, 64601, "", nil)
	p := b.add(t, "pod-a")
	b.ways(t, "del")
	b.leads(t, p)
	for i, ns := range b.betweens {
		ospf(t, ns, "10.255.3."+fmt.Sprint(i+1), "south", fmt.Sprintf("route 10.255.1.1/32 via 10.1.%d.0;", i+1), fmt.Sprintf("route fd00:255:1::1/128 via fd00:0:1:%d::;", i+1))
	}
	daemon := ospf(t, b.NS, "10.255.2.1", "eth*", "", "")
	links := func(want ...string) {
		t.Helper()
		for f, prefix := range outside {
			nstest.Within(t, 2*waitRoute, func() error {
				out, err := b.Try(fmt.Sprintf("ip %s route show %v proto 179", []string{"-4", "-6"}[f], prefix))
				if err != nil {
					return err
				}
				got, words := []string{}, strings.Fields(out)
				for i, w := range words {
					if w == "dev" {
						got = append(got, words[i+1])
					}
				}
				slices.Sort(got)
				if !slices.Equal(got, want) {
					others, _ := b.Try("ip route show proto bird")
					return fmt.Errorf("%v leads over %v, want %v:\n%s%s", prefix, got, want, out, others)
				}
				return nil
			})
		}
	}
	links("eth1", "eth2")
	nstest.Within(t, waitRoute, func() error {
		return pings(p, []netip.Addr{netip.MustParseAddr("10.244.77.1"), netip.MustParseAddr("fd00:244:0:77::1")})
	})
	b.betweens[1].Run(t, "ip link set south down")
	links("eth1")
	if err := daemon.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	links()
}

// ospf starts a BIRD that speaks OSPF of both families on a link, tells these static routes, and writes to the kernel what it hears.
func ospf(t *testing.T, ns *nstest.NS, id, link, four, six string) *nstest.Process {
	t.Helper()
	dir := t.TempDir()
	var s strings.Builder
	fmt.Fprintf(&s, "router id %s;\nprotocol device {}\n", id)
	for _, f := range []struct{ family, version, static string }{{"ipv4", "v2", four}, {"ipv6", "v3", six}} {
		fmt.Fprintf(&s, "protocol kernel { merge paths on; %s { import none; export where source ~ [RTS_OSPF, RTS_OSPF_IA, RTS_OSPF_EXT1, RTS_OSPF_EXT2]; }; }\n", f.family)
		fmt.Fprintf(&s, "protocol static { %s; %s }\n", f.family, f.static)
		fmt.Fprintf(&s, "protocol ospf %s { ecmp on; merge external on; %s { import all; export where source = RTS_STATIC; }; area 0 { interface %q { type ptp; hello 1; dead count 4; }; }; }\n", f.version, f.family, link)
	}
	conf := filepath.Join(dir, "bird.conf")
	if err := os.WriteFile(conf, []byte(s.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	out := &nstest.Output{}
	p, err := ns.Launch(t.Context(), out, "bird", "-f", "-c", conf, "-s", filepath.Join(dir, "bird.ctl"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("bird %s:\n%s", id, out)
		}
	})
	return p
}
