package interop

import (
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// twoNodes is all that two nodes on one link need: no RouterConfig, so AS 64512 and full mesh.
const twoNodes = `
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, "fd00:244:0:1::/64"]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}, {type: InternalIP, address: "2001:db8::1"}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
spec: {podCIDR: 10.244.2.0/24, podCIDRs: [10.244.2.0/24, "fd00:244:0:2::/64"]}
status: {addresses: [{type: InternalIP, address: 192.0.2.2}, {type: InternalIP, address: "2001:db8::2"}]}
`

// TestZeroConfiguration: two nodes on one link and their Node objects, nothing else, make a network.
func TestZeroConfiguration(t *testing.T) {
	t.Parallel()
	a, b := newNode(t, "n1"), newNode(t, "n2")
	nstest.Veth(t, a.NS, "eth0", b.NS, "eth0")
	a.Run(t, "ip addr add 192.0.2.1/24 dev eth0", "ip addr add 2001:db8::1/64 dev eth0 nodad")
	b.Run(t, "ip addr add 192.0.2.2/24 dev eth0", "ip addr add 2001:db8::2/64 dev eth0 nodad")
	for _, n := range []*node{a, b} {
		n.configure(t, "nodes.yaml", twoNodes)
		n.start(t)
	}
	a.ready(t)
	b.ready(t)
	reach(t, []*pod{a.add(t, "pod-n1"), b.add(t, "pod-n2")})
}

// reach proves that every pod reaches every other over all its addresses.
func reach(t *testing.T, pods []*pod) {
	t.Helper()
	for _, from := range pods {
		for _, to := range pods {
			for _, addr := range to.addrs {
				nstest.Within(t, 15*time.Second, func() error {
					_, err := from.Try("ping -c 1 -W 1 " + addr.String())
					return err
				})
			}
		}
	}
}
