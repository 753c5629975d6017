package interop

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
)

// TestMultihopMany: of thousands of routes with one next hop that a static route leads to. When that changes, or its link is gone, the kernel is
// told of their set of next hops, and of no route; when another changes, of nothing.
func TestMultihopMany(t *testing.T) {
	t.Parallel()
	const count = 30_000
	far, n := nstest.New(t), newNode(t, "n1")
	loopback := netip.MustParseAddr("10.1.1.1")
	far.Run(t, "ip addr add 10.1.1.1/32 dev lo")
	for i := 1; i <= 2; i++ {
		eth := fmt.Sprintf("eth%d", i)
		nstest.Veth(t, far, eth, n.NS, eth)
		far.Run(t, fmt.Sprintf("ip addr add 10.0.%d.0/31 dev %s", i, eth))
		n.Run(t, fmt.Sprintf("ip addr add 10.0.%d.1/31 dev %s", i, eth))
	}
	// A route of the kernel's that changes with its group would be told as if it had been written.
	n.Run(t, "ip addr add 10.1.2.1/32 dev lo", "ip route add 10.1.0.0/16 via 10.0.1.0", "sysctl -qw net.ipv4.nexthop_compat_mode=0")
	far.Run(t, "ip route add 10.1.2.1/32 nexthop via 10.0.1.1 nexthop via 10.0.2.1")
	n.configure(t, "many.yaml", fmt.Sprintf(`
apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec: {asNumber: 64601, mesh: None, clusterCIDRs: [10.128.0.0/9], nodeCIDRs: [10.1.0.0/16]}
---
apiVersion: podroute.io/v1alpha1
kind: BGPPeer
metadata: {name: far}
spec: {address: %v, asNumber: 65001, passive: true, multihopTTL: 5, sourceAddress: 10.1.2.1, families: [IPv4], maxPrefixes: 100000}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.244.1.0/24}
status: {addresses: [{type: InternalIP, address: 10.1.2.1}]}
`, loopback))
	n.start(t)
	s := callTo(t, far, loopback, netip.MustParseAddr("10.1.2.1"), 65001)
	all := prefixes(0, count)
	var msgs []byte
	for some := range slices.Chunk(all, 1000) {
		msgs = append(msgs, rawbgp.Announce([]uint32{65001}, loopback, some)...)
	}
	if err := s.Send(msgs, rawbgp.EndOfRIB(false)); err != nil {
		t.Fatal(err)
	}
	leads := func(want string) time.Duration {
		t.Helper()
		start := time.Now()
		for _, p := range []netip.Prefix{all[0], all[count/2], all[count-1]} {
			nstest.Within(t, waitRoute, func() error {
				out, err := n.Try(fmt.Sprintf("ip route get %v", p.Addr().Next()))
				if want == "" && err != nil {
					return nil // it is unreachable
				}
				if err != nil || want == "" || !strings.Contains(out, want) {
					return fmt.Errorf("%v leads %q (%w), want %q", p, out, err, want)
				}
				return nil
			})
		}
		return time.Since(start)
	}
	leads("via 10.0.1.0 ")
	w := watchKernel(t, n)
	for _, step := range []struct {
		do, want string
		most     int
	}{
		{"ip route replace 10.1.0.0/16 via 10.0.2.0", "via 10.0.2.0 ", 6},
		{"ip route add 192.0.2.0/24 via 10.0.1.0", "via 10.0.2.0 ", 0},
		{"ip route add 10.1.1.1/32 metric 5 via 10.0.1.0", "via 10.0.1.0 ", 6},
		{"ip route del 10.1.1.1/32", "via 10.0.2.0 ", 6},
	} {
		w.settled(t)
		n.Run(t, step.do)
		took := leads(step.want)
		lines := w.settled(t)
		t.Logf("%s: %v, %d messages", step.do, took.Round(time.Millisecond), len(lines))
		if len(lines) > step.most {
			t.Errorf("%s: %d messages about routes and next hops of ours, want at most %d, first %s", step.do, len(lines), step.most, strings.Join(lines[:step.most+1], "\n"))
		}
	}
	n.Run(t, "ip route del 10.1.0.0/16")
	t.Logf("without a way: %v", leads("").Round(time.Millisecond))
	n.Run(t, "ip route add 10.1.0.0/16 via 10.0.2.0")
	t.Logf("with one: %v", leads("via 10.0.2.0 ").Round(time.Millisecond))
}
