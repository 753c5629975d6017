package interop

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/podroute/podroute/internal/routers"
)

// TestReflectorPaths: two routers are neighbours of the mesh's reflector alone. The other node hears of both through it, over one session, and uses
// both, unless only the best is to be told.
func TestReflectorPaths(t *testing.T) {
	t.Parallel()
	hosts := newLAN(t, 4)
	reflector, client := hosts[0], hosts[1]
	for i, h := range hosts[2:] {
		id := netip.AddrFrom4([4]byte{192, 0, 2, byte(3 + i)})
		routers.Start(t, h.NS, routers.BIRD, routers.Config{
			AS: 64512, RouterID: id, Announce: outside[:1],
			Neighbors: []routers.Neighbor{{Address: netip.MustParseAddr("192.0.2.1"), AS: 64512, OwnFamily: true, GracefulRestart: true}},
		})
	}
	manifests := lanManifests(2, 1) + `---
apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec:
  mesh: Reflectors
  reflectorSelector: {matchLabels: {reflector: "yes"}}
  clusterCIDRs: [10.244.0.0/16, "fd00:244::/32"]
  reflectBestOnly: false
---
apiVersion: podroute.io/v1alpha1
kind: BGPPeer
metadata: {name: r3}
spec: {nodeSelector: {matchLabels: {reflector: "yes"}}, address: 192.0.2.3, asNumber: internal, families: [IPv4], reflectorClient: true}
---
apiVersion: podroute.io/v1alpha1
kind: BGPPeer
metadata: {name: r4}
spec: {nodeSelector: {matchLabels: {reflector: "yes"}}, address: 192.0.2.4, asNumber: internal, families: [IPv4], reflectorClient: true}
`
	for _, n := range []*node{reflector, client} {
		n.configure(t, "cluster.yaml", manifests)
		n.start(t)
	}
	inKernel(t, reflector, outside[0], 2)
	inKernel(t, client, outside[0], 2)
	if s := client.session(t, "mesh-n1"); !s.Receives {
		t.Errorf("session: %+v", s)
	}
	for _, n := range []*node{reflector, client} {
		n.configure(t, "cluster.yaml", strings.ReplaceAll(manifests, "reflectBestOnly: false", "reflectBestOnly: true"))
	}
	inKernel(t, client, outside[0], 1)
	inKernel(t, reflector, outside[0], 2)
}
