package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// ipv6Manifests are the Nodes n1, n2, ... with these InternalIPs, and what else there is to say.
func ipv6Manifests(spec string, addrs ...string) string {
	var w strings.Builder
	fmt.Fprintf(&w, `
apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec:
  clusterCIDRs: ["fd00:244::/32"]
  nodeCIDRs: ["fd00::/48"]
  serviceCIDRs: ["fd00:96::/108"]
%s`, spec)
	for i, a := range addrs {
		fmt.Fprintf(&w, `---
apiVersion: v1
kind: Node
metadata: {name: n%[1]d}
spec: {podCIDR: "fd00:244:0:%[1]d::/64", podCIDRs: ["fd00:244:0:%[1]d::/64"]}
status: {addresses: [{type: InternalIP, address: %[2]q}]}
`, i+1, a)
	}
	return w.String()
}

// onlyIPv6 takes the last IPv4 addresses away, those of the loopback, and fails if one comes back.
func onlyIPv6(t *testing.T, n *node) {
	t.Helper()
	n.Run(t, "ip -4 addr flush dev lo")
	t.Cleanup(func() {
		if out, err := n.Try("ip -4 -o addr show"); err != nil || out != "" {
			t.Errorf("%s has IPv4 addresses: %s, %v", n.name, out, err)
		}
	})
}

// routerID is a node's BGP identifier, as status tells it.
func (n *node) routerID(t *testing.T) netip.Addr {
	t.Helper()
	var s struct {
		RouterID netip.Addr `json:"router_id"`
	}
	out, err := n.ask("status")
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.RouterID
}

// TestInteropIPv6Only: a rack without any IPv4: sessions, routes, pods, and what pods send outside with their node's address.
func TestInteropIPv6Only(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "topologies: a cluster of IPv6 alone, router IDs of no address"}.Each(t, func(t *testing.T, kind routers.Kind) {
		const count = 2
		tor := nstest.New(t)
		tor.Run(t, "sysctl -qw net.ipv6.conf.all.forwarding=1", "ip addr add 2001:db8:99::1/128 dev lo nodad",
			"nft add table inet outside", "nft add chain inet outside in { type filter hook input priority 0 ; }",
			"nft add rule inet outside in ip6 daddr 2001:db8:99::1 ip6 saddr fd00:244::/32 drop") // what is not masqueraded
		c := routers.Config{AS: torAS, RouterID: netip.MustParseAddr("10.255.0.1"), Announce: outside[1:]}
		var nodes []*node
		for i := 1; i <= count; i++ {
			n := newNode(t, fmt.Sprintf("n%d", i))
			nodes = append(nodes, n)
			nstest.Veth(t, tor, fmt.Sprintf("port%d", i), n.NS, "eth0")
			tor.Run(t, fmt.Sprintf("ip addr add fd00:0:0:%d::/127 dev port%d nodad", i, i))
			n.Run(t, fmt.Sprintf("ip addr add fd00:0:0:%d::1/127 dev eth0 nodad", i), fmt.Sprintf("ip route add default via fd00:0:0:%d::", i))
			onlyIPv6(t, n)
			c.Neighbors = append(c.Neighbors, routers.Neighbor{
				Address: netip.MustParseAddr(fmt.Sprintf("fd00:0:0:%d::1", i)), AS: uint32(64600 + i), OwnFamily: true, GracefulRestart: true,
			})
			if _, ok := noFIB()[kind]; ok {
				tor.Run(t, fmt.Sprintf("ip route add fd00:244:0:%d::/64 via fd00:0:0:%d::1", i, i))
			}
		}
		router := routers.Start(t, tor, kind, c)
		for i, n := range nodes {
			n.configure(t, "rack.yaml", ipv6Manifests(fmt.Sprintf(`  asNumber: %d
  mesh: None
---
apiVersion: podroute.io/v1alpha1
kind: BGPPeer
metadata: {name: tor}
spec: {address: "fd00:0:0:%d::", asNumber: %d}
`, 64601+i, i+1, torAS), "fd00:0:0:1::1", "fd00:0:0:2::1"))
			n.start(t)
		}
		router.Established(waitSession)
		var pods []*pod
		for i, n := range nodes {
			n.ready(t)
			router.Learns(waitRoute, netip.MustParsePrefix(fmt.Sprintf("fd00:244:0:%d::/64", i+1)), netip.MustParseAddr(fmt.Sprintf("fd00:0:0:%d::1", i+1)))
			inKernel(t, n, outside[1], 1)
			pods = append(pods, n.add(t, "pod-"+n.name))
		}
		for _, p := range pods {
			if len(p.addrs) != 1 || !p.addrs[0].Is6() {
				t.Errorf("%s has addresses %v", p.id, p.addrs)
			}
			nstest.Within(t, waitRoute, func() error {
				_, err := p.Try("ping -c 1 -W 1 2001:db8:99::1")
				return err
			})
		}
		reach(t, pods)
		if a, b := nodes[0].routerID(t), nodes[1].routerID(t); !a.Is4() || !b.Is4() || a == b {
			t.Errorf("router IDs are %v and %v", a, b)
		}
		for _, n := range nodes {
			out, _ := n.Try(n.bin + "/podroute doctor --run-dir " + n.dir + "/run --cni-conf-dir " + n.dir + "/net.d --cni-bin-dir " + n.bin)
			for line := range strings.Lines(out) { // of the container runtime's folders it may complain, there is none
				if !strings.HasPrefix(line, "WHAT") && !strings.HasPrefix(line, "plugin") && !strings.HasPrefix(line, "/etc/containerd") {
					t.Errorf("doctor on %s: %s", n.name, line)
				}
			}
		}
	})
}

// TestMeshIPv6Only: nodes on one Ethernet without IPv4, in a full mesh by themselves.
func TestMeshIPv6Only(t *testing.T) {
	t.Parallel()
	nodes := newLAN(t, 3)
	var addrs []string
	for i, n := range nodes {
		n.Run(t, "ip -4 addr flush dev eth0")
		onlyIPv6(t, n)
		addrs = append(addrs, fmt.Sprintf("2001:db8::%d", i+1))
	}
	lanWorks(t, nodes, strings.Replace(ipv6Manifests("", addrs...), `"fd00::/48"`, `"2001:db8::/64"`, 1))
	nstest.Within(t, waitSession, func() error {
		if s, err := nodes[0].status(); err != nil || s.SessionsEstablished != 2 {
			return errors.Join(fmt.Errorf("%d sessions", s.SessionsEstablished), err)
		}
		return nil
	})
}
