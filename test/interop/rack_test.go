package interop

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// outside is a prefix that the top-of-rack router tells the nodes about, inside the pods' ranges.
var outside = []netip.Prefix{netip.MustParsePrefix("10.244.77.0/24"), netip.MustParsePrefix("fd00:244:0:77::/64")}

const torAS = 65001

// rack is a top-of-rack router with nodes behind it, a link each: 10.0.N.0/31 and fd00:0:0:N::/127, the
// router's end first.
type rack struct {
	tor    *nstest.NS
	router *routers.Router
	nodes  []*node
}

// rackOptions are what tests vary.
type rackOptions struct {
	kind     routers.Kind
	nodes    int
	password string
	// peer is added to every BGPPeer's spec, a line each.
	peer string
	// config is added to RouterConfig's spec.
	config string
	// as is every node's AS number; 0: one a node, from 64601.
	as uint32
	// split: a session for each family, whatever the daemon.
	split bool
	// spared: the router's daemons come before all that merely computes; see spare.
	spared bool
	// router changes the router's configuration, tor is called with its namespace before that.
	router func(*routers.Config)
	tor    func(*nstest.NS)
	// rewrite changes the nodes' manifests.
	rewrite func(manifests string) string
}

// nodeAS is node i's AS number.
func (o rackOptions) nodeAS(i int) uint32 {
	if o.as != 0 {
		return o.as
	}
	return uint32(64600 + i)
}

// twoSessions: OpenBGPD cannot name a next hop of the other family, so it gets a session for each.
func (o rackOptions) twoSessions() bool { return o.split || o.kind == routers.OpenBGPD }

// newRack builds the rack and waits until every node is ready.
func newRack(t testing.TB, o rackOptions) *rack {
	t.Helper()
	r := &rack{tor: nstest.New(t)}
	r.tor.Run(t, "sysctl -qw net.ipv4.ip_forward=1", "sysctl -qw net.ipv6.conf.all.forwarding=1")
	c := routers.Config{AS: torAS, RouterID: netip.MustParseAddr("10.255.0.1"), Announce: outside, Multipath: true}
	for i := 1; i <= o.nodes; i++ {
		n := newNode(t, fmt.Sprintf("n%d", i))
		r.nodes = append(r.nodes, n)
		nstest.Veth(t, r.tor, fmt.Sprintf("port%d", i), n.NS, "eth0")
		r.tor.Run(t, fmt.Sprintf("ip addr add 10.0.%d.0/31 dev port%d", i, i),
			fmt.Sprintf("ip addr add fd00:0:0:%d::/127 dev port%d nodad", i, i))
		n.Run(t, fmt.Sprintf("ip addr add 10.0.%d.1/31 dev eth0", i),
			fmt.Sprintf("ip addr add fd00:0:0:%d::1/127 dev eth0 nodad", i),
			fmt.Sprintf("ip route add default via 10.0.%d.0", i),
			fmt.Sprintf("ip route add default via fd00:0:0:%d::", i))
		c.Neighbors = append(c.Neighbors, o.neighbors(i)...)
	}
	if o.tor != nil {
		o.tor(r.tor)
	}
	if o.router != nil {
		o.router(&c)
	}
	r.router = routers.Start(t, r.tor, o.kind, c)
	if o.spared {
		spare(t, r.tor)
	}
	for i, n := range r.nodes {
		n.configure(t, "rack.yaml", rackManifests(o, i+1))
		n.start(t)
	}
	r.router.Established(waitSession)
	for _, n := range r.nodes {
		n.ready(t)
	}
	return r
}

// neighbors are the router's sessions with node i.
func (o rackOptions) neighbors(i int) []routers.Neighbor {
	n := routers.Neighbor{
		Address: netip.MustParseAddr(fmt.Sprintf("10.0.%d.1", i)), AS: o.nodeAS(i), Password: o.password,
		GracefulRestart: true, NextHop6: netip.MustParseAddr(fmt.Sprintf("fd00:0:0:%d::", i)),
	}
	if !o.twoSessions() {
		return []routers.Neighbor{n}
	}
	n.OwnFamily, n.NextHop6 = true, netip.Addr{}
	six := n
	six.Address = netip.MustParseAddr(fmt.Sprintf("fd00:0:0:%d::1", i))
	return []routers.Neighbor{n, six}
}

// rackManifests are the manifests of node i.
func rackManifests(o rackOptions, i int) string {
	var w strings.Builder
	fmt.Fprintf(&w, `
apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec:
  mesh: None
  clusterCIDRs: [10.244.0.0/16, "fd00:244::/32"]
  nodeCIDRs: [10.0.0.0/16, "fd00::/48"]
  serviceCIDRs: [10.96.0.0/16, "fd00:96::/108"]
%s`, o.config)
	w.WriteString(o.peers("", i, torAS))
	if o.password != "" {
		fmt.Fprintf(&w, "---\napiVersion: v1\nkind: Secret\nmetadata: {name: tor, namespace: kube-system}\nstringData: {password: %s}\n", o.password)
	}
	for j := 1; j <= o.nodes; j++ {
		fmt.Fprintf(&w, `---
apiVersion: v1
kind: Node
metadata: {name: n%[1]d, annotations: {podroute.io/as-number: "%[2]d"}}
spec: {podCIDR: 10.244.%[1]d.0/24, podCIDRs: [10.244.%[1]d.0/24, "fd00:244:0:%[1]d::/64"]}
status: {addresses: [{type: InternalIP, address: 10.0.%[1]d.1}, {type: InternalIP, address: "fd00:0:0:%[1]d::1"}]}
`, j, o.nodeAS(j))
	}
	if o.rewrite != nil {
		return o.rewrite(w.String())
	}
	return w.String()
}

// peers are the BGPPeers for the router on link i: tor and, for a session of its own for IPv6, tor6.
func (o rackOptions) peers(suffix string, i int, as uint32) string {
	var w strings.Builder
	peer := func(name, address, families string) {
		fmt.Fprintf(&w, "---\napiVersion: podroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: %s}\nspec:\n  address: %q\n  asNumber: %d\n%s%s",
			name, address, as, families, o.peer)
		if o.password != "" {
			w.WriteString("  password: {secretRef: {name: tor}}\n")
		}
	}
	if o.twoSessions() {
		peer("tor"+suffix, fmt.Sprintf("10.0.%d.0", i), "  families: [IPv4]\n")
		peer("tor6"+suffix, fmt.Sprintf("fd00:0:0:%d::", i), "  families: [IPv6]\n")
	} else {
		peer("tor"+suffix, fmt.Sprintf("10.0.%d.0", i), "")
	}
	return w.String()
}

// newDualHomed is a node with two routers, each on a link of its own, which announce the same prefixes; change
// says what each is like.
func newDualHomed(t testing.TB, kind routers.Kind, change func(i int, c *routers.Config), options ...func(*rackOptions)) (*node, []*routers.Router) {
	t.Helper()
	n := newNode(t, "n1")
	o := rackOptions{kind: kind, nodes: 1, as: 64601}
	for _, option := range options {
		option(&o)
	}
	var manifests strings.Builder
	var both []*routers.Router
	for i := 1; i <= 2; i++ {
		tor := nstest.New(t)
		nstest.Veth(t, tor, "port", n.NS, fmt.Sprintf("eth%d", i))
		tor.Run(t, fmt.Sprintf("ip addr add 10.0.%d.0/31 dev port", i), fmt.Sprintf("ip addr add fd00:0:0:%d::/127 dev port nodad", i))
		n.Run(t, fmt.Sprintf("ip addr add 10.0.%d.1/31 dev eth%d", i, i), fmt.Sprintf("ip addr add fd00:0:0:%d::1/127 dev eth%d nodad", i, i))
		c := routers.Config{
			AS: torAS, RouterID: netip.MustParseAddr(fmt.Sprintf("10.255.0.%d", i)), Announce: outside, Neighbors: o.neighbors(i),
		}
		change(i, &c)
		both = append(both, routers.Start(t, tor, kind, c))
		if i == 1 {
			manifests.WriteString(strings.ReplaceAll(rackManifests(o, i), fmt.Sprintf("asNumber: %d", torAS), fmt.Sprintf("asNumber: %d", c.AS)))
		} else {
			manifests.WriteString(o.peers("-b", i, c.AS))
		}
	}
	n.configure(t, "rack.yaml", manifests.String())
	n.start(t)
	return n, both
}

// subnets are node i's pod subnets, and gateway its link's address of the same family, for what a
// router learns of node i.
func subnets(i int) map[netip.Prefix]netip.Addr {
	return map[netip.Prefix]netip.Addr{
		netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", i)):     netip.MustParseAddr(fmt.Sprintf("10.0.%d.1", i)),
		netip.MustParsePrefix(fmt.Sprintf("fd00:244:0:%d::/64", i)): netip.MustParseAddr(fmt.Sprintf("fd00:0:0:%d::1", i)),
	}
}
